// Package approval lets policies of an InfraEnv approve hosts that nobody declared; without one of them that is a person's to do.
//
//	err := (&approval.Reconciler{Client: mgr.GetClient(), Peers: agentapiServer, Events: recorder}).SetupWithManager(mgr)
//
// The policies are annotations of the InfraEnv (api/names.go): networks that a host registers from, serial numbers, and a token
// that a host without a TPM shows. One that fits is enough, and an Event on the Agent says which it was. The condition
// ApprovalPolicies of the InfraEnv, which this package alone writes, says what is in force or what is wrong with it.
package approval
