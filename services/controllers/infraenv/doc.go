// Package infraenv is the controller of InfraEnv: it publishes the boot artifacts' URLs; Lookup answers who boots what.
//
//	err := (&infraenv.Reconciler{
//		Client: mgr.GetClient(), URLs: infraenv.URLs{HTTP: "http://10.7.0.2:8080", HTTPS: "https://10.7.0.2:8443"},
//		Tokens: tokens, Images: images,
//	}).SetupWithManager(mgr)
//	lookup := infraenv.Lookup{Client: mgr.GetClient(), DefaultName: config.DefaultInfraEnv}
package infraenv
