// Package agentmachine is the controller of AgentMachine: it claims a free Agent for a Machine of Cluster API and gives it back.
//
//	err := (&agentmachine.Reconciler{Client: mgr.GetClient(), Live: mgr.GetAPIReader()}).SetupWithManager(mgr)
//
// It is the only writer of what binds an Agent: the label agentMachineRef and its annotation, clusterDeploymentName,
// machineConfigPool, ignitionEndpointTokenReference and ignitionEndpointHTTPHeaders. It reads the Ignition token out of the
// Machine's bootstrap data, so that any owner of Machines will do. The machine counts as provisioned when its host boots
// from the disk that was written. A deleted Machine keeps a pre-terminate hook until its host is back in the inventory.
package agentmachine
