package ignition

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

const (
	nodeEnvFile = "/etc/slipway/node.env"
	apiCAFile   = "/etc/kubernetes/pki/ca.crt"
)

// Components that a node takes from the release.
const (
	componentKubernetes = "kubernetes"
	componentContainerd = "containerd"
	componentCNI        = "cni-plugins"
	componentPause      = "pause"
)

// NodeInput is what the nodes of a NodePool are told.
type NodeInput struct {
	ClusterName string
	// APIServerURL is https://api.<cluster>.<base domain>:<port>; APICA (PEM) signs it and the API's client certificate.
	APIServerURL   string
	APICA          []byte
	BootstrapToken string
	// ClusterDNS may be empty: pods then use the node's resolver.
	ClusterDNS                 []netip.Addr
	ServiceCIDRs, ClusterCIDRs []netip.Prefix
	// MachineCIDRs are the networks of the nodes' addresses; of a family without one it is the address towards the API.
	MachineCIDRs []netip.Prefix
	// Registry is host:port of the site's registry, SiteCA (PEM) signs it. MirrorView names the mirror sets by which it looks for images of
	// other registries: nodes ask it for all of them by their original names, so a change of the sets changes nothing on a node.
	Registry, MirrorView string
	SiteCA               []byte
	// PullSecret of the cluster, .dockerconfigjson: nodes log in to registries by it; empty or without entries where all may pull.
	PullSecret []byte
	// Components of the release: kubernetes, containerd and cni-plugins with their layers, pause.
	Components map[string]ComponentContent
	// NodeLabels that a kubelet may set on itself are set; the others come from the Machine.
	NodeLabels  map[string]string
	Taints      []corev1.Taint
	NTPSources  []string
	UserConfigs []UserConfig
}

// ComponentContent is an image of the release: its reference by digest and its tar+gzip layers, lowest first.
type ComponentContent struct {
	Ref    string
	Layers []string
}

// UserConfig is what a ConfigMap of NodePool.spec.config holds.
type UserConfig struct {
	// Name of the ConfigMap, for messages.
	Name string
	// Data is one or more manifests, YAML.
	Data []byte
}

// Node renders what makes an installed host a node of the cluster.
func Node(in NodeInput) ([]byte, error) {
	if err := in.validate(); err != nil {
		return nil, fmt.Errorf("node Ignition of cluster %s: %w", in.ClusterName, err)
	}
	user, err := parseUserConfigs(in.UserConfigs)
	if err != nil {
		return nil, fmt.Errorf("node Ignition of cluster %s: %w", in.ClusterName, err)
	}
	b := newBuilder()
	b.siteCA(in.SiteCA)
	b.timeSources(in.NTPSources)
	b.trustStore(in.SiteCA)
	if err := b.content(in); err != nil {
		return nil, fmt.Errorf("node Ignition of cluster %s: %w", in.ClusterName, err)
	}
	b.system()
	if err := b.runtime(in); err != nil {
		return nil, fmt.Errorf("node Ignition of cluster %s: %w", in.ClusterName, err)
	}
	b.podNetwork(in.ClusterCIDRs)
	if err := b.kubelet(in, user.kubelet); err != nil {
		return nil, fmt.Errorf("node Ignition of cluster %s: %w", in.ClusterName, err)
	}
	if err := b.kubeProxy(in); err != nil {
		return nil, fmt.Errorf("node Ignition of cluster %s: %w", in.ClusterName, err)
	}
	for _, config := range user.machine {
		b.merge(config)
	}
	return b.encode()
}

// tokenPattern is that of bootstrap tokens.
var tokenPattern = regexp.MustCompile(`^[a-z0-9]{6}\.[a-z0-9]{16}$`)

func (in NodeInput) validate() error {
	faults := []error{base("API server URL", in.APIServerURL)}
	if !tokenPattern.MatchString(in.BootstrapToken) {
		faults = append(faults, fmt.Errorf("%w: the bootstrap token has not the form id.secret", ErrInvalid))
	}
	if u, err := url.Parse("https://" + in.Registry); err != nil || u.Host != in.Registry || u.Port() == "" {
		faults = append(faults, fmt.Errorf("%w: registry %q is not host:port", ErrInvalid, in.Registry))
	}
	if problems := validation.IsDNS1123Subdomain(in.MirrorView); len(problems) > 0 {
		faults = append(faults, fmt.Errorf("%w: mirror view %q: %s", ErrInvalid, in.MirrorView, strings.Join(problems, "; ")))
	}
	if len(in.APICA) == 0 || len(in.SiteCA) == 0 {
		faults = append(faults, fmt.Errorf("%w: the CA of the API and of the site are both needed", ErrInvalid))
	}
	for _, name := range []string{componentKubernetes, componentContainerd, componentCNI, componentPause} {
		component, ok := in.Components[name]
		switch {
		case !ok:
			faults = append(faults, fmt.Errorf("%w: the release has no component %s", ErrInvalid, name))
		case name != componentPause && len(component.Layers) == 0:
			faults = append(faults, fmt.Errorf("%w: component %s has no layers", ErrInvalid, name))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(in.NodeLabels)) {
		for _, problem := range append(validation.IsQualifiedName(key), validation.IsValidLabelValue(in.NodeLabels[key])...) {
			faults = append(faults, fmt.Errorf("%w: node label %q: %s", ErrInvalid, key, problem))
		}
	}
	return errors.Join(append(faults, words("NTP source", in.NTPSources)...)...)
}

// trustStore makes programs that ask the system's trust store accept the site.
func (b *builder) trustStore(siteCA []byte) {
	b.file("/usr/local/share/ca-certificates/slipway-site.crt", 0o644, siteCA)
	b.file("/usr/local/libexec/slipway/trust-site-ca", 0o755, []byte(embedded("trust-site-ca")))
	b.unit("slipway-trust.service", embedded("slipway-trust.service"))
}

func (b *builder) system() {
	b.file("/etc/modules-load.d/slipway-node.conf", 0o644, []byte("br_netfilter\noverlay\n"))
	b.file("/etc/sysctl.d/90-slipway-node.conf", 0o644, []byte(embedded("sysctl.conf")))
}

// reference splits registry/repository@sha256:hex.
func reference(ref string) (registry, repository, hex string, err error) {
	name, digest, ok := strings.Cut(ref, "@sha256:")
	registry, repository, found := strings.Cut(name, "/")
	if !ok || !found || !hexPattern.MatchString(digest) || !repositoryPattern.MatchString(repository) {
		return "", "", "", fmt.Errorf("%w: %q is not registry/repository@sha256:<64 hex digits>", ErrInvalid, ref)
	}
	return registry, repository, digest, nil
}

var (
	hexPattern        = regexp.MustCompile(`^[0-9a-f]{64}$`)
	repositoryPattern = regexp.MustCompile(`^[a-z0-9]+([._/-][a-z0-9]+)*$`)
)
