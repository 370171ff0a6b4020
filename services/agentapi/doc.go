// Package agentapi is the REST protocol with slipway-agent.
//
// It speaks the part of the assisted service's v2 API that hosts use, under wire.BasePath; everything else is answered
// with a problem document that says so. Wiring:
//
//	store := agentapi.Kube{Client: mgr.GetClient(), Reader: mgr.GetAPIReader()}
//	err := agentapi.Index(ctx, mgr.GetFieldIndexer())           // before the manager starts
//	server := agentapi.New(agentapi.Config{
//		Tokens: tokens, InfraEnvs: infraenv.Lookup{…}, Agents: store, Secrets: store, Images: …, Ignition: …,
//		Requirements: host.DefaultRequirements(), Log: log})
//	err = server.Follow(ctx, mgr.GetCache())                    // wakes waiting hosts when their Agent changes
//	group.Add("agentapi", server.Run)                           // ends the long polls at the stop
//	mux.Handle(wire.BasePath+"/", server)
//	agent.Reconciler{Seen: server, …}                           // last contact of each host
package agentapi
