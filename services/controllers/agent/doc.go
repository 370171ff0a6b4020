// Package agent is the controller of Agent: it follows spec and contact, and writes status; services/host decides.
//
//	err := (&agent.Reconciler{
//		Client: mgr.GetClient(), Seen: agentapiServer, Nodes: guestClients, Requirements: host.DefaultRequirements(),
//	}).SetupWithManager(mgr)
package agent
