package ignition

import (
	"fmt"
	"strings"
)

// links are the programs that a node runs, by component: path in the image, path on the node.
func links(component string) [][2]string {
	program := func(name string) [2]string { return [2]string{"usr/bin/" + name, "/usr/local/bin/" + name} }
	plugin := func(name string) [2]string { return [2]string{"opt/cni/bin/" + name, "/opt/cni/bin/" + name} }
	switch component {
	case componentKubernetes:
		return [][2]string{program("kubelet"), program("kube-proxy"), program("kubectl")}
	case componentContainerd:
		return [][2]string{program("containerd"), program("containerd-shim-runc-v2"), program("ctr")}
	case componentCNI:
		return [][2]string{plugin("bridge"), plugin("host-local"), plugin("loopback"), plugin("portmap")}
	default:
		return nil
	}
}

// content puts the list of what the release says, and the program that fetches it.
func (b *builder) content(in NodeInput) error {
	var list strings.Builder
	// The smallest first: a fault of the registry shows at once.
	for _, name := range []string{componentContainerd, componentCNI, componentKubernetes} {
		component := in.Components[name]
		_, repository, hex, err := reference(component.Ref)
		if err != nil {
			return fmt.Errorf("component %s: %w", name, err)
		}
		fmt.Fprintf(&list, "image %s %s %s\n", name, hex, repository)
		for _, layer := range component.Layers {
			layerHex, ok := strings.CutPrefix(layer, "sha256:")
			if !ok || !hexPattern.MatchString(layerHex) {
				return fmt.Errorf("component %s: %w: layer %q is not sha256:<64 hex digits>", name, ErrInvalid, layer)
			}
			fmt.Fprintf(&list, "layer %s\n", layerHex)
		}
		for _, link := range links(name) {
			fmt.Fprintf(&list, "link %s %s\n", link[0], link[1])
		}
	}
	b.file("/etc/slipway/content", 0o644, []byte(list.String()))
	b.file("/etc/slipway/registry.env", 0o644, []byte("REGISTRY="+in.Registry+"\n"))
	b.file("/usr/local/libexec/slipway/fetch-content", 0o755, []byte(embedded("fetch-content")))
	b.unit("slipway-content.service", embedded("slipway-content.service"))
	return nil
}

// runtime is containerd: its sandbox image pinned by digest, its registries, the template of the pod network.
func (b *builder) runtime(in NodeInput) error {
	login, err := b.login(in)
	if err != nil {
		return err
	}
	config := strings.ReplaceAll(embedded("containerd.toml"), "@PAUSE@", in.Components[componentPause].Ref)
	b.file("/etc/containerd/config.toml", 0o600, []byte(config))
	b.file("/etc/containerd/cni.conflist.template", 0o644, []byte(embedded("cni.conflist.template")))
	b.file("/etc/containerd/certs.d/"+in.Registry+"/hosts.toml", 0o644, []byte(strings.ReplaceAll(embedded("hosts.toml"), "@REGISTRY@", in.Registry)))
	mirrored := strings.NewReplacer("@REGISTRY@", in.Registry, "@VIEW@", in.MirrorView).Replace(embedded("hosts-mirrored.toml"))
	b.file("/etc/containerd/certs.d/_default/hosts.toml", 0o600, []byte(mirrored+login))
	b.directory("/etc/cni/net.d", 0o755)
	b.unit("containerd.service", embedded("containerd.service"))
	return nil
}
