package ignition

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	clientcmdv1 "k8s.io/client-go/tools/clientcmd/api/v1"
	"sigs.k8s.io/yaml"
)

// kubelet puts its configuration, how it joins, and its unit; user is what NodePool configs say over the defaults.
func (b *builder) kubelet(in NodeInput, user map[string]any) error {
	config := kubeletConfig(in)
	mergeMaps(config, user)
	content, err := yaml.Marshal(config)
	if err != nil {
		return fmt.Errorf("encode kubelet configuration: %w", err)
	}
	bootstrap, err := bootstrapKubeconfig(in)
	if err != nil {
		return err
	}
	api, err := url.Parse(in.APIServerURL)
	if err != nil {
		return fmt.Errorf("parse API server URL: %w", err)
	}
	// The kubelet and kube-proxy run as root; nobody else has to look in here.
	b.directory("/etc/kubernetes", 0o700)
	b.directory("/etc/kubernetes/pki", 0o700)
	b.directory("/var/lib/kubelet", 0o750)
	b.file("/etc/kubernetes/kubelet.yaml", 0o600, content)
	b.file("/etc/kubernetes/bootstrap-kubeconfig", 0o600, bootstrap)
	b.file(apiCAFile, 0o600, in.APICA)
	b.file("/usr/local/libexec/slipway/node-env", 0o755, []byte(embedded("node-env")))
	b.unit("kubelet.service", strings.NewReplacer(
		"@API_HOST@", api.Hostname(), "@NETWORKS@", strings.Join(nodeNetworks(in), " "), "@NODE_LABELS@", nodeLabels(in.NodeLabels),
	).Replace(embedded("kubelet.service")))
	return nil
}

// nodeNetworks are where a node looks for its addresses: for each family of the cluster the machine network, or all there is.
// A node of a dual-stack cluster needs an address of both families.
func nodeNetworks(in NodeInput) (networks []string) {
	families := in.ClusterCIDRs
	if len(families) == 0 {
		families = in.ServiceCIDRs
	}
	for _, family := range families {
		network := "0.0.0.0/0"
		if family.Addr().Is6() {
			network = "::/0"
		}
		for _, machines := range in.MachineCIDRs {
			if machines.Addr().Is6() == family.Addr().Is6() {
				network = machines.Masked().String()
			}
		}
		networks = append(networks, network)
	}
	return networks
}

func kubeletConfig(in NodeInput) map[string]any {
	config := map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1",
		"kind":       "KubeletConfiguration",
		"authentication": map[string]any{
			"anonymous": map[string]any{"enabled": false},
			"webhook":   map[string]any{"enabled": true},
			"x509":      map[string]any{"clientCAFile": apiCAFile},
		},
		"authorization":                   map[string]any{"mode": "Webhook"},
		"cgroupDriver":                    "systemd",
		"clusterDomain":                   "cluster.local",
		"containerRuntimeEndpoint":        "unix:///run/containerd/containerd.sock",
		"failSwapOn":                      false,
		"nodeStatusUpdateFrequency":       "10s",
		"readOnlyPort":                    0,
		"rotateCertificates":              true,
		"serverTLSBootstrap":              true,
		"shutdownGracePeriod":             "30s",
		"shutdownGracePeriodCriticalPods": "10s",
		"tlsMinVersion":                   "VersionTLS12",
	}
	if len(in.ClusterDNS) > 0 {
		servers := make([]any, 0, len(in.ClusterDNS))
		for _, address := range in.ClusterDNS {
			servers = append(servers, address.String())
		}
		config["clusterDNS"] = servers
	}
	if len(in.Taints) > 0 {
		config["registerWithTaints"] = taints(in.Taints)
	}
	return config
}

func taints(in []corev1.Taint) []any {
	out := make([]any, 0, len(in))
	for _, taint := range in {
		entry := map[string]any{"key": taint.Key, "effect": string(taint.Effect)}
		if taint.Value != "" {
			entry["value"] = taint.Value
		}
		out = append(out, entry)
	}
	return out
}

func bootstrapKubeconfig(in NodeInput) ([]byte, error) {
	name := in.ClusterName
	config := clientcmdv1.Config{
		APIVersion: "v1",
		Kind:       "Config",
		Clusters: []clientcmdv1.NamedCluster{{Name: name, Cluster: clientcmdv1.Cluster{
			Server: in.APIServerURL, CertificateAuthority: apiCAFile,
		}}},
		AuthInfos:      []clientcmdv1.NamedAuthInfo{{Name: "bootstrap", AuthInfo: clientcmdv1.AuthInfo{Token: in.BootstrapToken}}},
		Contexts:       []clientcmdv1.NamedContext{{Name: name, Context: clientcmdv1.Context{Cluster: name, AuthInfo: "bootstrap"}}},
		CurrentContext: name,
	}
	content, err := yaml.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("encode bootstrap kubeconfig: %w", err)
	}
	return content, nil
}

// nodeLabels leaves out what a kubelet refuses to start with.
func nodeLabels(labels map[string]string) string {
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if KubeletMaySet(key) {
			pairs = append(pairs, key+"="+labels[key])
		}
	}
	return strings.Join(pairs, ",")
}

// KubeletMaySet says whether a kubelet may put the label on its own Node. Labels of Kubernetes' own domains are, but for
// few, for the cluster's side to set: they reach the Node through the Machine.
func KubeletMaySet(label string) bool {
	domain, _, qualified := strings.Cut(label, "/")
	if !qualified {
		return true
	}
	within := func(parent string) bool { return domain == parent || strings.HasSuffix(domain, "."+parent) }
	if !within("kubernetes.io") && !within("k8s.io") {
		return true
	}
	if within("kubelet.kubernetes.io") || within("node.kubernetes.io") {
		return true
	}
	switch label {
	case corev1.LabelHostname, corev1.LabelOSStable, corev1.LabelArchStable,
		corev1.LabelTopologyZone, corev1.LabelTopologyRegion,
		corev1.LabelFailureDomainBetaZone, corev1.LabelFailureDomainBetaRegion,
		corev1.LabelInstanceType, "beta.kubernetes.io/os", "beta.kubernetes.io/arch":
		return true
	}
	return false
}

// kubeProxy shares the kubelet's kubeconfig. That is written before its certificate is there, so the certificate starts it.
func (b *builder) kubeProxy(in NodeInput) error {
	clusterCIDRs := make([]string, 0, len(in.ClusterCIDRs))
	for _, prefix := range in.ClusterCIDRs {
		clusterCIDRs = append(clusterCIDRs, prefix.String())
	}
	config := map[string]any{
		"apiVersion":         "kubeproxy.config.k8s.io/v1alpha1",
		"kind":               "KubeProxyConfiguration",
		"clientConnection":   map[string]any{"kubeconfig": "/var/lib/kubelet/kubeconfig"},
		"mode":               "nftables",
		"metricsBindAddress": "127.0.0.1:10249",
	}
	if len(clusterCIDRs) > 0 {
		config["clusterCIDR"] = strings.Join(clusterCIDRs, ",")
		config["detectLocalMode"] = "ClusterCIDR"
		if in.ClusterCIDRs[0].Addr().Is6() {
			config["bindAddress"] = "::"
			config["metricsBindAddress"] = "[::1]:10249"
		}
	}
	content, err := yaml.Marshal(config)
	if err != nil {
		return fmt.Errorf("encode kube-proxy configuration: %w", err)
	}
	b.file("/etc/kubernetes/kube-proxy.yaml", 0o600, content)
	// Not enabled: the path unit starts it.
	b.unit("kube-proxy.path", embedded("kube-proxy.path"))
	b.config.Systemd.Units = append(b.config.Systemd.Units, disabled("kube-proxy.service", embedded("kube-proxy.service")))
	return nil
}
