package main

import "github.com/slipway-io/slipway/assets/release/pack"

// version is the release's own; it carries upstream Kubernetes of the same number.
const version = "1.36.3"

// program is one binary: a main package of a nested module and where it goes in its component's image.
type program struct {
	Package string
	Path    string
}

// component is an image of the release and how its programs are built.
type component struct {
	Name       string
	Version    string
	Module     string // folder of the nested Go module
	Tags       string
	LDFlags    []string // beyond -s -w
	Programs   []program
	Links      map[string]string // path in the image to target
	Entrypoint []string
	User       string
}

func components() []component {
	const (
		etcd       = "go.etcd.io/etcd/"
		containerd = "github.com/containerd/containerd/v2/"
		plugins    = "github.com/containernetworking/plugins/"
	)
	return []component{{
		Name: "kubernetes", Version: version, Module: "kubernetes",
		LDFlags:    kubernetesVersion(),
		Programs:   []program{{".", "usr/bin/kube"}},
		Links:      kubernetesLinks(),
		Entrypoint: []string{"/usr/bin/kube"},
	}, {
		Name: "etcd", Version: "3.6.15", Module: "etcd",
		LDFlags: []string{"-X", etcd + "api/v3/version.GitSHA=v3.6.15"},
		Programs: []program{
			{etcd + "server/v3", "usr/bin/etcd"}, {etcd + "etcdctl/v3", "usr/bin/etcdctl"}, {etcd + "etcdutl/v3", "usr/bin/etcdutl"},
		},
		Entrypoint: []string{"/usr/bin/etcd"},
	}, {
		Name: "containerd", Version: "2.2.9", Module: "containerd", Tags: "no_btrfs,no_devmapper,no_zfs",
		LDFlags: []string{"-X", containerd + "version.Version=v2.2.9"},
		Programs: []program{
			{containerd + "cmd/containerd", "usr/bin/containerd"},
			{containerd + "cmd/containerd-shim-runc-v2", "usr/bin/containerd-shim-runc-v2"},
			{containerd + "cmd/ctr", "usr/bin/ctr"},
		},
		Entrypoint: []string{"/usr/bin/containerd"},
	}, {
		Name: "cni-plugins", Version: "1.9.1", Module: "cni",
		LDFlags: []string{"-X", plugins + "pkg/utils/buildversion.BuildVersion=v1.9.1"},
		Programs: []program{
			{plugins + "plugins/main/bridge", "opt/cni/bin/bridge"},
			{plugins + "plugins/ipam/host-local", "opt/cni/bin/host-local"},
			{plugins + "plugins/main/loopback", "opt/cni/bin/loopback"},
			{plugins + "plugins/meta/portmap", "opt/cni/bin/portmap"},
		},
	}, {
		Name: "pause", Version: version, Module: "node",
		Programs: []program{{"./pause", "pause"}}, Entrypoint: []string{"/pause"}, User: "65535:65535",
	}, {
		Name: "demo", Version: version, Module: "node",
		Programs: []program{{"./demo", "demo"}}, Entrypoint: []string{"/demo"}, User: "65535:65535",
	}}
}

// kubernetesVersion sets what the programs report: kubelets and clients compare it.
func kubernetesVersion() []string {
	var flags []string
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for _, value := range []string{
			"gitVersion=v" + version, "gitMajor=1", "gitMinor=36", "gitCommit=", "gitTreeState=archive", "buildDate=1970-01-01T00:00:00Z",
		} {
			flags = append(flags, "-X", pkg+"."+value)
		}
	}
	return flags
}

func kubernetesLinks() map[string]string {
	links := map[string]string{}
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl"} {
		links["usr/bin/"+name] = "kube"
	}
	return links
}

// image describes the component's image, its programs taken from the folder that they were built into.
func (c component) image(built func(program) string) pack.Image {
	image := pack.Image{
		Name: c.Name, Version: c.Version, Entrypoint: c.Entrypoint, User: c.User,
		Env: []string{"PATH=/usr/bin"},
	}
	for _, p := range c.Programs {
		image.Files = append(image.Files, pack.File{Path: p.Path, Mode: 0o755, Source: built(p)})
	}
	for path, target := range c.Links {
		image.Files = append(image.Files, pack.File{Path: path, Link: target})
	}
	return image
}
