package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// moduleOf is what decides a component's version.
func moduleOf(component string) string {
	return map[string]string{
		"kubernetes":  "k8s.io/kubernetes",
		"etcd":        "go.etcd.io/etcd/server/v3",
		"containerd":  "github.com/containerd/containerd/v2",
		"cni-plugins": "github.com/containernetworking/plugins",
	}[component]
}

func TestVersionsAreThoseOfTheModules(t *testing.T) {
	for _, c := range components() {
		module := moduleOf(c.Name)
		if module == "" {
			continue
		}
		raw, err := os.ReadFile(filepath.Join("..", c.Module, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		if want := module + " v" + c.Version; !strings.Contains(string(raw), want) {
			t.Errorf("component %s says %s, its go.mod does not have %q", c.Name, c.Version, want)
		}
	}
}

func TestImagesHoldWhatTheContractNames(t *testing.T) {
	files := map[string]bool{}
	for _, c := range components() {
		for _, f := range c.image(func(p program) string { return p.Path }).Files {
			files[c.Name+" "+f.Path] = true
		}
	}
	for _, want := range []string{
		"kubernetes usr/bin/kube", "kubernetes usr/bin/kube-apiserver", "kubernetes usr/bin/kube-controller-manager", "kubernetes usr/bin/kube-scheduler",
		"kubernetes usr/bin/kube-proxy", "kubernetes usr/bin/kubelet", "kubernetes usr/bin/kubectl", "etcd usr/bin/etcd", "etcd usr/bin/etcdutl",
		"containerd usr/bin/containerd", "containerd usr/bin/containerd-shim-runc-v2", "containerd usr/bin/ctr",
		"cni-plugins opt/cni/bin/bridge", "cni-plugins opt/cni/bin/host-local", "cni-plugins opt/cni/bin/loopback", "cni-plugins opt/cni/bin/portmap",
		"pause pause", "demo demo",
	} {
		if !files[want] {
			t.Errorf("no %s", want)
		}
	}
}

func TestInputsHash(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	hash := func() string {
		t.Helper()
		sum, err := inputsHash(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		return sum
	}
	write("etcd/go.sum", "a")
	first := hash()
	write("etcd/main_test.go", "tests are no input")
	if hash() != first {
		t.Error("a test file changed the hash")
	}
	write("etcd/go.sum", "b")
	if hash() == first {
		t.Error("go.sum did not change the hash")
	}
	write("etcd/go.sum", "a")
	if hash() != first {
		t.Error("the same inputs have another hash")
	}
}

func TestLink(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out", "release")
	for _, target := range []string{"one", "two"} { // an old link is replaced
		if err := link(target, path); err != nil {
			t.Fatal(err)
		}
		if got, err := os.Readlink(path); err != nil || got != target {
			t.Errorf("link leads to %q, %v; want %q", got, err, target)
		}
	}
	if err := link("three", dir); err == nil {
		t.Error("a folder was replaced by a link")
	}
}
