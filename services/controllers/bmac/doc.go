// Package bmac is the controller between BareMetalHost and Agent: it gives a declared machine its InfraEnv's discovery image,
// knows the Agent that comes of it, and has the machine's BMC do what the Agent's life asks for.
//
//	err := (&bmac.Reconciler{Client: mgr.GetClient(), Now: time.Now}).SetupWithManager(mgr)
//
// It is the only writer of spec.image on a BareMetalHost with the label infraenvs.agent-install.openshift.io and of the
// annotations that api/names.go gives to it; of an Agent it writes what its BareMetalHost says: approval, hostname, role,
// arguments, overrides, disk and labels. decide.go, agent.go and disks.go are pure.
package bmac
