package controlplane

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/slipway-io/slipway/services/controlplane/pki"
)

var update = flag.Bool("update", false, "write the golden files")

func dualStack() Spec {
	return Spec{
		Name: "clusters-demo", Namespace: "clusters-demo", ClusterName: "demo", BaseDomain: "site.example",
		AdvertiseAddress: netip.MustParseAddr("192.0.2.10"), APIPort: 30443,
		ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("172.31.0.0/16"), netip.MustParsePrefix("fd02::/112")},
		ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.132.0.0/14"), netip.MustParsePrefix("fd01::/48")},
		ExtraSANs:    []string{"api.other.example", "198.51.100.7"},
	}
}

func ipv6() Spec {
	s := dualStack()
	s.AdvertiseAddress = netip.MustParseAddr("2001:db8::10")
	s.ServiceCIDRs, s.ClusterCIDRs = s.ServiceCIDRs[1:], s.ClusterCIDRs[1:]
	return s
}

func TestComponents(t *testing.T) {
	management := Spec{
		Name: ManagementName, AdvertiseAddress: netip.MustParseAddr("192.0.2.10"), APIPort: 6443,
		ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("172.30.0.0/16")},
	}
	extra := dualStack()
	extra.ExtraArgs = map[string][]string{KubeScheduler: {"--v=4"}}
	for name, components := range map[string][]Component{
		"hosted-dual-stack": Hosted(dualStack()),
		"hosted-ipv6":       Hosted(ipv6()),
		"hosted-extra-args": Hosted(extra),
		"management":        Management(management),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := yaml.Marshal(components)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
				t.Fatal("golden file written: run again without -update")
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestDescriptionsAreWhole: what a component refers to exists, and keys of authorities go to nobody
// but the one who signs with them.
func TestDescriptionsAreWhole(t *testing.T) {
	for name, components := range map[string][]Component{"hosted": Hosted(dualStack()), "management": Management(dualStack())} {
		secrets, _, err := pki.Desired(dualStack().Defaulted().PKI(), nil, epoch)
		if err != nil {
			t.Fatal(err)
		}
		secrets[EncryptionSecret] = &corev1.Secret{Data: map[string][]byte{EncryptionFile: []byte("x")}} // the management plane's own
		ports := map[string]int{}
		known := map[string]bool{}
		for _, c := range components {
			for _, p := range c.Ports {
				ports[p.Name] = 1
			}
		}
		for _, c := range components {
			places := Places{Image: "/image", Ports: ports, Mounts: map[string]string{}}
			if c.Data {
				places.Data = "/data"
			}
			used := strings.Join(append(c.Command, c.Ready.CA, c.Ready.Cert, c.Ready.Key), " ")
			for _, m := range c.Mounts {
				places.Mounts[m.Name] = "/" + m.Name
				if !strings.Contains(used, "$(MOUNT:"+m.Name+")") {
					t.Errorf("%s: %s: mount %s is not used", name, c.Name, m.Name)
				}
				checkKeys(t, c.Name, m, secrets[m.Secret].Data)
			}
			if _, err := places.ExpandAll([]string{used}); err != nil {
				t.Errorf("%s: %s: %v", name, c.Name, err)
			}
			for _, other := range c.After {
				if !known[other] {
					t.Errorf("%s: %s comes after %s, which is not before it", name, c.Name, other)
				}
			}
			known[c.Name] = true
		}
	}
}

func checkKeys(t *testing.T, component string, m Mount, data map[string][]byte) {
	t.Helper()
	keys := m.Keys
	if len(keys) == 0 {
		for key := range data {
			keys = append(keys, key)
		}
	}
	for _, key := range keys {
		if len(data[key]) == 0 {
			t.Errorf("%s: mount %s: no key %s in secret %s", component, m.Name, key, m.Secret)
		}
		if key == pki.KeyCAKey && (component != KubeControllerManager || m.Secret != pki.ClusterSigner) {
			t.Errorf("%s: mount %s gives away an authority's key", component, m.Name)
		}
	}
}
