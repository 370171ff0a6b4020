package ignition

import (
	"bytes"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coreos/ignition/v2/config/v3_4"
	"github.com/coreos/ignition/v2/config/v3_4/types"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

var update = flag.Bool("update", false, "write the goldens")

const siteCA = "-----BEGIN CERTIFICATE-----\nsite\n-----END CERTIFICATE-----\n"

func agentBinary() Binary {
	return Binary{URL: "https://10.7.0.2:8443/boot-artifacts/agent?arch=x86_64", Hash: "sha256-" + strings.Repeat("a", 64)}
}

func discoveryInput() DiscoveryInput {
	return DiscoveryInput{
		InfraEnvID: "5ab6ea6e-6b1e-4c0a-9d0e-3c8d2b6a9f10",
		Token:      "secret-infraenv-token",
		ServiceURL: "https://10.7.0.2:8443",
		SiteCA:     []byte(siteCA),
		Agent:      agentBinary(),
		SSHKey:     "ssh-ed25519 AAAA one\nssh-ed25519 BBBB two\n",
		NTPSources: []string{"10.7.0.2", "time.site.example"},
		Mirrors:    []byte("[[registry]]\nlocation = \"quay.io\"\n"), Registry: "registry.site.example:5000",
		Override: []byte(`{"ignition":{"version":"3.1.0"},"storage":{"files":[{"path":"/etc/motd","mode":420,"contents":{"source":"data:,hello"}}]}}`),
	}
}

func source() Source {
	return Source{
		URL:     "https://10.7.0.2:8443/ignition",
		Token:   []byte("pool-token"),
		Headers: map[string]string{"NodePool": "clusters/demo", "TargetConfigVersionHash": "abc", "authorization": "dropped"},
		CA:      []byte(siteCA),
	}
}

func pointerInput() PointerInput {
	return PointerInput{
		Source:     source(),
		InfraEnvID: "5ab6ea6e-6b1e-4c0a-9d0e-3c8d2b6a9f10",
		HostID:     "9d0e3c8d-1111-2222-3333-444455556666",
		ServiceURL: "https://10.7.0.2:8443",
		HostToken:  "secret-of-the-host",
		NodeName:   "node-a.site.example",
		ProviderID: "agent://9d0e3c8d-1111-2222-3333-444455556666",
		Agent:      agentBinary(),
	}
}

func nodeInput() NodeInput {
	ref := func(name, digit string) string {
		return "registry.slipway.io/release/" + name + "@sha256:" + strings.Repeat(digit, 64)
	}
	layer := func(digit string) []string { return []string{"sha256:" + strings.Repeat(digit, 64)} }
	return NodeInput{
		ClusterName:    "demo",
		APIServerURL:   "https://api.demo.site.example:30001",
		APICA:          []byte("api ca\n"),
		BootstrapToken: "abcdef.0123456789abcdef",
		ClusterDNS:     []netip.Addr{netip.MustParseAddr("172.30.0.10")},
		ServiceCIDRs:   []netip.Prefix{netip.MustParsePrefix("172.30.0.0/16")},
		ClusterCIDRs:   []netip.Prefix{netip.MustParsePrefix("10.132.0.0/14"), netip.MustParsePrefix("fd01::/48")},
		Registry:       "registry.site.example:5000",
		MirrorView:     "clusters-demo",
		SiteCA:         []byte(siteCA),
		Components: map[string]ComponentContent{
			"kubernetes":  {Ref: ref("kubernetes", "1"), Layers: layer("2")},
			"containerd":  {Ref: ref("containerd", "3"), Layers: layer("4")},
			"cni-plugins": {Ref: ref("cni-plugins", "5"), Layers: layer("6")},
			"pause":       {Ref: ref("pause", "7")},
		},
		NodeLabels: map[string]string{"tier": "edge", "node-role.kubernetes.io/infra": "", "topology.kubernetes.io/zone": "a"},
		Taints:     []corev1.Taint{{Key: "dedicated", Value: "edge", Effect: corev1.TaintEffectNoSchedule}},
		UserConfigs: []UserConfig{{Name: "extra", Data: []byte(`apiVersion: machineconfiguration.openshift.io/v1
kind: MachineConfig
metadata: {name: 50-extra}
spec:
  config:
    ignition: {version: 3.2.0}
    storage:
      files:
      - path: /etc/extra
        contents: {source: "data:,extra"}
---
apiVersion: machineconfiguration.openshift.io/v1
kind: KubeletConfig
metadata: {name: pods}
spec:
  kubeletConfig:
    maxPods: 42
    evictionHard: {memory.available: 200Mi}
`)}},
	}
}

func TestGoldens(t *testing.T) {
	node6 := nodeInput()
	node6.ClusterDNS = []netip.Addr{netip.MustParseAddr("fd02::a")}
	node6.ServiceCIDRs = []netip.Prefix{netip.MustParsePrefix("fd02::/112")}
	node6.ClusterCIDRs = []netip.Prefix{netip.MustParsePrefix("fd01::/48")}
	node6.APIServerURL = "https://[fd00::2]:6443"
	node6.UserConfigs, node6.NodeLabels, node6.Taints = nil, nil, nil
	dual := node6
	dual.ServiceCIDRs = append(node6.ServiceCIDRs, netip.MustParsePrefix("172.31.0.0/16"))
	dual.ClusterCIDRs = append(node6.ClusterCIDRs, netip.MustParsePrefix("10.132.0.0/14"))
	dual.MachineCIDRs = []netip.Prefix{netip.MustParsePrefix("10.7.0.0/24")}
	discovery6 := DiscoveryInput{
		InfraEnvID: "id", Token: "t", ServiceURL: "https://[fd00::2]:8443", SiteCA: []byte(siteCA),
		Agent:                 Binary{URL: "https://[fd00::2]:8443/boot-artifacts/agent", Hash: "sha512-" + strings.Repeat("b", 128)},
		AdditionalTrustBundle: []byte("more\n"),
	}
	for name, render := range map[string]func() ([]byte, error){
		"discovery":      func() ([]byte, error) { return Discovery(discoveryInput()) },
		"discovery-ipv6": func() ([]byte, error) { return Discovery(discovery6) },
		"user-data":      func() ([]byte, error) { return UserData(source()) },
		"pointer":        func() ([]byte, error) { return Pointer(pointerInput()) },
		"node":           func() ([]byte, error) { return Node(nodeInput()) },
		"node-ipv6":      func() ([]byte, error) { return Node(node6) },
		"node-dual":      func() ([]byte, error) { return Node(dual) },
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := render()
			if err != nil {
				t.Fatal(err)
			}
			again, err := render()
			if err != nil || !bytes.Equal(raw, again) {
				t.Fatalf("rendering twice differs (%v)", err)
			}
			golden(t, filepath.Join("testdata", name+".txt"), dump(t, raw))
		})
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// dump writes a configuration so that people can read a change of it.
func dump(t *testing.T, raw []byte) string {
	t.Helper()
	config, found, err := v3_4.Parse(raw)
	if err != nil || len(found.Entries) > 0 {
		t.Fatalf("validator: %v %s", err, found.String())
	}
	var out strings.Builder
	for _, ca := range config.Ignition.Security.TLS.CertificateAuthorities {
		fmt.Fprintf(&out, "== trust\n%s", content(t, ca))
	}
	for _, resource := range config.Ignition.Config.Merge {
		fmt.Fprintf(&out, "== merge %s\n", *resource.Source)
		for _, header := range resource.HTTPHeaders {
			fmt.Fprintf(&out, "%s: %s\n", header.Name, *header.Value)
		}
	}
	for _, user := range config.Passwd.Users {
		fmt.Fprintf(&out, "== user %s\n%v\n", user.Name, user.SSHAuthorizedKeys)
	}
	for _, dir := range config.Storage.Directories {
		fmt.Fprintf(&out, "== directory %s %o\n", dir.Path, *dir.Mode)
	}
	for _, file := range config.Storage.Files {
		mode := 0o644
		if file.Mode != nil {
			mode = *file.Mode
		}
		fmt.Fprintf(&out, "== file %s %o\n%s", file.Path, mode, content(t, file.Contents))
	}
	for _, unit := range config.Systemd.Units {
		fmt.Fprintf(&out, "== unit %s enabled=%v\n%s", unit.Name, unit.Enabled != nil && *unit.Enabled, *unit.Contents)
	}
	return out.String()
}

func content(t *testing.T, resource types.Resource) string {
	t.Helper()
	if encoded, ok := strings.CutPrefix(*resource.Source, "data:;base64,"); ok {
		decoded, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSuffix(string(decoded), "\n") + "\n"
	}
	hash := ""
	if resource.Verification.Hash != nil {
		hash = " " + *resource.Verification.Hash
	}
	return "from " + *resource.Source + hash + "\n"
}

func fileOf(t *testing.T, raw []byte, path string) types.File {
	t.Helper()
	config, _, err := v3_4.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range config.Storage.Files {
		if file.Path == path {
			return file
		}
	}
	t.Fatalf("no file %s", path)
	return types.File{}
}

// Secrets are for root alone and appear nowhere else: not in a unit, not in an argument.
func TestSecretsStayInPrivateFiles(t *testing.T) {
	discovery, err := Discovery(discoveryInput())
	if err != nil {
		t.Fatal(err)
	}
	pointer, err := Pointer(pointerInput())
	if err != nil {
		t.Fatal(err)
	}
	node, err := Node(nodeInput())
	if err != nil {
		t.Fatal(err)
	}
	for secret, raw := range map[string][]byte{
		"secret-infraenv-token": discovery, "secret-of-the-host": pointer, "abcdef.0123456789abcdef": node,
	} {
		config, _, err := v3_4.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, file := range config.Storage.Files {
			if strings.Contains(content(t, file.Contents), secret) {
				seen++
				if *file.Mode != 0o600 {
					t.Errorf("%s has a secret and mode %o", file.Path, *file.Mode)
				}
			}
		}
		for _, unit := range config.Systemd.Units {
			if strings.Contains(*unit.Contents, secret) {
				t.Errorf("%s has a secret", unit.Name)
			}
		}
		if seen != 1 {
			t.Errorf("secret is in %d files", seen)
		}
	}
}

func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		render func() error
		want   string
	}{
		"override is no Ignition": {func() error {
			in := discoveryInput()
			in.Override = []byte(`{"ignition":{"version":"2.2.0"}}`)
			_, err := Discovery(in)
			return err
		}, "ignitionConfigOverride"},
		"override replaces everything": {func() error {
			in := discoveryInput()
			in.Override = []byte(`{"ignition":{"version":"3.2.0","config":{"replace":{"source":"https://a/b"}}}}`)
			_, err := Discovery(in)
			return err
		}, "ignition.config.replace"},
		"override with a bad file": {func() error {
			in := discoveryInput()
			in.Override = []byte(`{"ignition":{"version":"3.2.0"},"storage":{"files":[{"path":"relative"}]}}`)
			_, err := Discovery(in)
			return err
		}, "$.storage.files.0.path"},
		"agent over plain http": {func() error {
			in := discoveryInput()
			in.Agent.URL = "http://10.7.0.2/agent"
			_, err := Discovery(in)
			return err
		}, "https"},
		"NTP source of two words": {func() error {
			in := discoveryInput()
			in.NTPSources = []string{"a\nb"}
			_, err := Discovery(in)
			return err
		}, "NTP source"},
		"node name": {func() error {
			in := pointerInput()
			in.NodeName = "Node_A"
			_, err := Pointer(in)
			return err
		}, "node name"},
		"missing component": {func() error {
			in := nodeInput()
			delete(in.Components, "pause")
			_, err := Node(in)
			return err
		}, "component pause"},
		"reference by tag": {func() error {
			in := nodeInput()
			in.Components["kubernetes"] = ComponentContent{Ref: "registry.slipway.io/release/kubernetes:1", Layers: []string{"sha256:1"}}
			_, err := Node(in)
			return err
		}, "component kubernetes"},
		"registry without port": {func() error {
			in := nodeInput()
			in.Registry = "registry.site.example"
			_, err := Node(in)
			return err
		}, "host:port"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.render()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("want an error with %q, got %v", c.want, err)
			}
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%v is not ErrInvalid", err)
			}
		})
	}
}

func TestScriptsParse(t *testing.T) {
	for _, script := range []string{"fetch-content", "node-env"} {
		for _, shell := range []string{"sh", "bash"} {
			if _, err := exec.LookPath(shell); err != nil {
				continue
			}
			if out, err := exec.Command(shell, "-n", filepath.Join("files", script)).CombinedOutput(); err != nil {
				t.Errorf("%s -n %s: %v %s", shell, script, err, out)
			}
		}
	}
}

func TestKubeletMaySet(t *testing.T) {
	for label, want := range map[string]bool{
		"tier": true, "example.com/a": true, "node-role.kubernetes.io/worker": false, "node-restriction.kubernetes.io/x": false,
		"node.kubernetes.io/x": true, "topology.kubernetes.io/zone": true, "kubernetes.io/hostname": true, "foo.k8s.io/a": false,
	} {
		if got := KubeletMaySet(label); got != want {
			t.Errorf("%s: %v", label, got)
		}
	}
}
