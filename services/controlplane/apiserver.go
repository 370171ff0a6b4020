package controlplane

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-io/slipway/services/controlplane/pki"
)

// apiServer serves nodes and users on every address of the machine; 0.0.0.0 is both families to Go.
func apiServer(spec Spec) Component {
	return Component{
		Name:  KubeAPIServer,
		Image: ImageKubernetes,
		Command: slices.Concat(
			[]string{"$(IMAGE)/usr/bin/kube-apiserver"},
			apiServerServing(spec), apiServerAuth(spec), apiServerEtcd(),
			[]string{
				"--enable-admission-plugins=NodeRestriction",
				"--allow-privileged=true",
				"--kubelet-certificate-authority=$(MOUNT:cluster-signer)/ca.crt",
				"--kubelet-client-certificate=$(MOUNT:kubelet-client)/tls.crt",
				"--kubelet-client-key=$(MOUNT:kubelet-client)/tls.key",
				"--kubelet-preferred-address-types=InternalIP,Hostname",
			},
		),
		Env: goMemory(100, 4096),
		Mounts: append(apiServerMounts(),
			Mount{Name: "cluster-signer", Secret: pki.ClusterSigner, Keys: []string{pki.KeyCACert}},
			Mount{Name: "kubelet-client", Secret: pki.KASKubeletClient, Reloads: true},
		),
		Ports:      []Port{{Name: "api", Number: spec.APIPort}},
		Ready:      apiServerProbe("/readyz"),
		Live:       apiServerProbe("/livez?exclude=etcd"),
		After:      []string{Etcd},
		HeavyStart: true,
		MemoryMiB:  4096,
		CPUMillis:  4000,
		StopGrace:  30 * time.Second,
	}
}

// managementAPIServer has no kubelets to talk to; it encrypts Secrets: those of BMCs are among them.
func managementAPIServer(spec Spec) Component {
	c := apiServer(spec)
	encryption, mount := apiServerEncryption()
	c.Command = slices.Concat(
		[]string{"$(IMAGE)/usr/bin/kube-apiserver"},
		apiServerServing(spec), apiServerAuth(spec), apiServerEtcd(), encryption,
		// Its one client has a cache of its own. The watch cache keeps every version of the last minutes decoded, which after
		// 2,000 hosts came at once were 240 MiB that nobody reads again (test/bench/bmc).
		[]string{"--watch-cache=false"},
	)
	c.Mounts = append(apiServerMounts(), mount)
	// It is the one that has every host of the site.
	c.Env = goMemory(50, 4096)
	return c
}

func apiServerServing(spec Spec) []string {
	return []string{
		"--bind-address=0.0.0.0",
		"--secure-port=$(PORT:api)",
		"--advertise-address=" + spec.AdvertiseAddress.String(),
		"--service-cluster-ip-range=" + joined(spec.ServiceCIDRs),
		"--tls-cert-file=$(MOUNT:serving)/tls.crt",
		"--tls-private-key-file=$(MOUNT:serving)/tls.key",
		"--tls-min-version=VersionTLS12",
		"--cert-dir=$(MOUNT:serving)",
		"--profiling=false",
		// Without it, watches keep a server that is to end until it is killed: 30 s without an API when its flags change.
		"--shutdown-watch-termination-grace-period=2s",
	}
}

func apiServerAuth(spec Spec) []string {
	return []string{
		"--authorization-mode=Node,RBAC",
		"--client-ca-file=$(MOUNT:client-ca)/ca.crt",
		"--enable-bootstrap-token-auth=true",
		"--service-account-issuer=" + spec.Issuer,
		"--service-account-key-file=$(MOUNT:service-account)/service-account.pub",
		"--service-account-signing-key-file=$(MOUNT:service-account)/service-account.key",
		"--requestheader-client-ca-file=$(MOUNT:aggregator)/ca.crt",
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=$(MOUNT:aggregator)/tls.crt",
		"--proxy-client-key-file=$(MOUNT:aggregator)/tls.key",
	}
}

func apiServerEtcd() []string {
	return []string{
		"--etcd-servers=https://127.0.0.1:$(PORT:etcd-client)",
		"--etcd-cafile=$(MOUNT:etcd-ca)/ca.crt",
		"--etcd-certfile=$(MOUNT:etcd-client)/etcd-client.crt",
		"--etcd-keyfile=$(MOUNT:etcd-client)/etcd-client.key",
	}
}

func apiServerMounts() []Mount {
	return []Mount{
		{Name: "serving", Secret: pki.KASServer, Reloads: true},
		{Name: "client-ca", Secret: pki.ClientCA, Reloads: true},
		{Name: "aggregator", Secret: pki.KASAggregator, Reloads: true},
		{Name: "etcd-ca", Secret: pki.EtcdSigner, Keys: []string{pki.KeyCACert}},
		{Name: "etcd-client", Secret: pki.EtcdClient, Reloads: true},
		{Name: "service-account", Secret: pki.SASigningKey},
	}
}

// apiServerProbe is anonymous: kube-apiserver lets everyone ask for its health once it has its roles.
func apiServerProbe(path string) *Probe {
	return &Probe{Port: "api", Path: path, CA: "$(MOUNT:serving)/ca.crt", ServerName: "localhost"}
}

func joined(prefixes []netip.Prefix) string {
	var out []string
	for _, p := range prefixes {
		out = append(out, p.Masked().String())
	}
	return strings.Join(out, ",")
}

// nodeMasks splits the cluster networks into one network per node.
func nodeMasks(clusterCIDRs []netip.Prefix) []string {
	var args []string
	for _, cidr := range clusterCIDRs {
		size, flag := 24, "--node-cidr-mask-size-ipv4="
		if cidr.Addr().Is6() {
			// The allocator takes no more than 2^16 networks.
			size, flag = min(64, cidr.Bits()+16), "--node-cidr-mask-size-ipv6="
		}
		if len(clusterCIDRs) == 1 {
			flag = "--node-cidr-mask-size="
		}
		args = append(args, flag+strconv.Itoa(max(size, cidr.Bits())))
	}
	return args
}
