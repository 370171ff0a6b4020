// Package pki decides which certificates, keys and kubeconfigs a control plane has: [Desired] is a
// function of what is wanted, what there is and the time. It also keeps the site's own CA ([OpenSiteCA]).
//
// Certificate authorities live for ten years and keep their key when they are renewed; leaves live for
// a year and are renewed when thirty days are left. All keys are ECDSA P-256.
package pki
