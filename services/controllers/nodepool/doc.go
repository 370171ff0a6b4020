// Package nodepool is the controller of NodePool: it turns one into a MachineDeployment of Cluster API and into the Ignition of its nodes.
//
//	pools := &nodepool.Reconciler{
//		Client: mgr.GetClient(), Releases: releases, Guests: guests, Now: time.Now,
//		Site: nodepool.Site{IgnitionURL: "https://10.7.0.2:8443/ignition", CA: siteCA, Registry: "registry.site.example:5000"},
//	}
//	err := pools.SetupWithManager(mgr)
//	handler := ignition.NewHandler(pools, log) // Reconciler is also the Payloads of the Ignition endpoint
//
// In the control plane namespace it writes, named with the hash of what the nodes' Ignition is made from, the Secrets
// token-<nodepool>-<hash> and user-data-<nodepool>-<hash>; a new hash is a rollout. bootstrap-<nodepool> holds the bootstrap
// token that it puts into the hosted cluster and renews. AgentMachineTemplates are named with the hash of their selector.
package nodepool
