// Package controlplane is components, PKI, etcd; driver/process and driver/kubernetes.
//
// It describes what a control plane is made of and runs nothing itself: [Hosted] and
// [Management] return one description, drivers carry it out. A controller uses it like this:
//
//	spec := controlplane.Spec{
//		Name:             "clusters-demo",
//		ClusterName:      "demo",
//		BaseDomain:       "site.example",
//		AdvertiseAddress: netip.MustParseAddr("192.0.2.10"),
//		APIPort:          30443,
//		ServiceCIDRs:     []netip.Prefix{netip.MustParsePrefix("172.31.0.0/16")},
//		ClusterCIDRs:     []netip.Prefix{netip.MustParsePrefix("10.132.0.0/14")},
//	}.Defaulted()
//	if err := spec.Validate(); err != nil { … }            // the user's mistake: a condition, no retry
//
//	secrets, next, err := pki.Desired(spec.PKI(), existing, now)
//	…                                                     // create or update those that differ, requeue at next
//
//	err = driver.Apply(ctx, controlplane.ControlPlane{
//		Name:       spec.Name,
//		Components: controlplane.Hosted(spec),
//		Images:     release.Components,                   // component name -> reference by digest
//		Secrets:    secrets,                              // by secret name, as pki.Desired returned them
//	})
//	status, err := driver.Status(ctx, spec.Name)
//	status.Ready()                                        // all of them
//	status.Component(controlplane.Etcd).Ready             // EtcdAvailable
//	status.Component(controlplane.KubeAPIServer).Ready    // KubeAPIServerAvailable
//
// Apply returns as soon as the description is handed over; readiness comes by Status. The process
// driver calls its Config.OnChange with the control plane's name whenever a status changes.
// secrets[pki.AdminKubeconfig].Data["kubeconfig"] reaches the API from outside,
// secrets[pki.LocalhostKubeconfig] from the appliance itself.
// Nodes get secrets[pki.RootCA].Data["ca.crt"] as the API's CA and
// secrets[pki.KubeletClientCA].Data["ca.crt"] as the kubelet's client CA. The API server talks only
// to kubelets whose serving certificate was signed through a kubernetes.io/kubelet-serving request.
package controlplane
