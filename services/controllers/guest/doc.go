// Package guest looks into hosted clusters: one small cache of Nodes and certificate requests for each, and what a fresh cluster needs inside.
//
//	guests := guest.New(mgr.GetClient())
//	err := guests.SetupWithManager(mgr)          // follows HostedControlPlanes
//	guests.Bootstrap(ctx, kubeconfig)            // hostedcontrolplane.Guests
//	guests.NodeReady(ctx, cluster, "worker-0")   // agent.Nodes
//
// A cluster is named as Agent.spec.clusterDeploymentName names it: by namespace and name of its HostedControlPlane.
package guest
