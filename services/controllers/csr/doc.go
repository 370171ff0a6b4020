// Package csr is the approver of kubelet certificates: a request is signed when it is for the Node of an Agent that was given to the cluster.
//
// Everything else stays unsigned and is logged once. Decide is pure; the reconciler carries out.
package csr
