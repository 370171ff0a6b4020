package controlplane

import (
	"slices"
	"strings"
	"time"

	"github.com/slipway-io/slipway/services/controlplane/pki"
)

// controllerManager runs without leader election: its driver guarantees that there is one only, which
// saves a write every two seconds and fifteen seconds of takeover.
func controllerManager(spec Spec) Component {
	c := Component{
		Name:  KubeControllerManager,
		Image: ImageKubernetes,
		Command: slices.Concat(
			[]string{"$(IMAGE)/usr/bin/kube-controller-manager"},
			localServing(KubeControllerManager),
			controllerManagerKeys(),
			[]string{
				"--cluster-name=" + spec.Name,
				// Kubelets' certificates are approved by the csr controller alone: the built-in approver asks no Agent.
				"--controllers=*,bootstrapsigner,tokencleaner,-certificatesigningrequest-approving-controller",
				"--service-cluster-ip-range=" + joined(spec.ServiceCIDRs),
			},
		),
		Env: goMemory(50, 1024),
		Mounts: append(localMounts(pki.KCMServer, pki.KCMKubeconfig),
			Mount{Name: "cluster-signer", Secret: pki.ClusterSigner, Keys: []string{pki.KeyCACert, pki.KeyCAKey}},
			Mount{Name: "root-ca", Secret: pki.RootCA, Keys: []string{pki.KeyCACert}},
			Mount{Name: "service-account", Secret: pki.SASigningKey, Keys: []string{pki.KeySAPrivate}},
		),
		Ports:     []Port{{Name: KubeControllerManager}},
		Ready:     localProbe(KubeControllerManager),
		Live:      localProbe(KubeControllerManager),
		After:     []string{KubeAPIServer},
		MemoryMiB: 1024,
		CPUMillis: 2000,
		CPUWeight: backgroundWeight,
		StopGrace: 10 * time.Second,
	}
	if len(spec.ClusterCIDRs) > 0 {
		c.Command = append(c.Command, "--allocate-node-cidrs=true", "--cluster-cidr="+joined(spec.ClusterCIDRs))
		c.Command = append(c.Command, nodeMasks(spec.ClusterCIDRs)...)
	}
	return c
}

// managementControllerManager keeps the controllers that an API without nodes and pods needs.
func managementControllerManager(spec Spec) Component {
	spec.ClusterCIDRs = nil
	c := controllerManager(spec)
	controllers := "--controllers=" + strings.Join([]string{
		"garbage-collector-controller", "namespace-controller", "resourcequota-controller",
		"serviceaccount-controller", "serviceaccount-token-controller", "root-ca-certificate-publisher-controller",
		"legacy-serviceaccount-token-cleaner-controller", "clusterrole-aggregation-controller",
		"certificatesigningrequest-signing-controller",
		"certificatesigningrequest-cleaner-controller",
		"validatingadmissionpolicy-status-controller",
	}, ",")
	for i, arg := range c.Command {
		if strings.HasPrefix(arg, "--controllers=") {
			c.Command[i] = controllers
		}
	}
	return c
}

func controllerManagerKeys() []string {
	return []string{
		"--use-service-account-credentials=true",
		"--service-account-private-key-file=$(MOUNT:service-account)/service-account.key",
		"--root-ca-file=$(MOUNT:root-ca)/ca.crt",
		"--cluster-signing-cert-file=$(MOUNT:cluster-signer)/ca.crt",
		"--cluster-signing-key-file=$(MOUNT:cluster-signer)/ca.key",
	}
}

// localServing is what kube-controller-manager and kube-scheduler have in common: a loopback port
// that answers for their health, and the API server on loopback.
func localServing(name string) []string {
	return []string{
		"--kubeconfig=$(MOUNT:kubeconfig)/kubeconfig",
		"--authentication-kubeconfig=$(MOUNT:kubeconfig)/kubeconfig",
		"--authorization-kubeconfig=$(MOUNT:kubeconfig)/kubeconfig",
		"--bind-address=127.0.0.1",
		"--secure-port=$(PORT:" + name + ")",
		"--tls-cert-file=$(MOUNT:serving)/tls.crt",
		"--tls-private-key-file=$(MOUNT:serving)/tls.key",
		"--tls-min-version=VersionTLS12",
		"--leader-elect=false",
		"--profiling=false",
	}
}

func localMounts(serving, kubeconfig string) []Mount {
	return []Mount{
		{Name: "kubeconfig", Secret: kubeconfig},
		{Name: "serving", Secret: serving, Reloads: true},
	}
}

func localProbe(port string) *Probe {
	return &Probe{Port: port, Path: "/healthz", CA: "$(MOUNT:serving)/ca.crt", ServerName: "localhost"}
}
