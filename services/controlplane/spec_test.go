package controlplane

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

var epoch = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		desc   string
		change func(*Spec)
		want   string
	}{
		{"good", func(*Spec) {}, ""},
		{"IPv6 only", func(s *Spec) { *s = ipv6() }, ""},
		{"no name", func(s *Spec) { s.Name = "" }, "name"},
		{"path as name", func(s *Spec) { s.Name = "../x" }, "name"},
		{"no port", func(s *Spec) { s.APIPort = 0 }, "API port 0"},
		{"no address", func(s *Spec) { s.AdvertiseAddress = netip.Addr{} }, "advertise address"},
		{"no services", func(s *Spec) { s.ServiceCIDRs = nil }, "service network"},
		{"two of a family", func(s *Spec) { s.ClusterCIDRs[1] = netip.MustParsePrefix("10.0.0.0/16") }, "one per address family"},
		{"families differ", func(s *Spec) { slices.Reverse(s.ServiceCIDRs) }, "family of the advertise address"},
		{"overlap", func(s *Spec) { s.ClusterCIDRs[0] = netip.MustParsePrefix("172.16.0.0/12") }, "overlaps"},
	} {
		t.Run(test.desc, func(t *testing.T) {
			spec := dualStack()
			test.change(&spec)
			err := spec.Defaulted().Validate()
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want %q", err, test.want)
			}
		})
	}
}

func TestPKISpec(t *testing.T) {
	for _, test := range []struct {
		desc  string
		spec  Spec
		url   string
		names []string
		addrs []string
	}{
		{
			"dual stack", dualStack(), "https://api.demo.site.example:30443",
			[]string{"localhost", "kubernetes", "kubernetes.default.svc.cluster.local", "api.demo.site.example", "api-int.demo.site.example", "api.other.example"},
			[]string{"127.0.0.1", "::1", "192.0.2.10", "172.31.0.1", "fd02::1", "198.51.100.7"},
		},
		{
			"IPv6", func() Spec { s := ipv6(); s.APIHost = "2001:db8::10"; return s }(), "https://[2001:db8::10]:30443",
			[]string{"localhost"}, []string{"2001:db8::10", "fd02::1"},
		},
	} {
		t.Run(test.desc, func(t *testing.T) {
			got := test.spec.Defaulted().PKI()
			if got.APIURL != test.url {
				t.Errorf("URL is %s", got.APIURL)
			}
			for _, name := range test.names {
				if !slices.Contains(got.APINames, name) {
					t.Errorf("no name %s in %v", name, got.APINames)
				}
			}
			for _, addr := range test.addrs {
				if !slices.Contains(got.APIAddrs, netip.MustParseAddr(addr)) {
					t.Errorf("no address %s in %v", addr, got.APIAddrs)
				}
			}
		})
	}
}

func TestExpand(t *testing.T) {
	places := Places{Image: "/image", Mounts: map[string]string{"ca": "/m/ca"}, Ports: map[string]int{"etcd-client": 20001}}
	for _, test := range []struct{ in, want string }{
		{"plain $(x) $HOME", "plain $(x) $HOME"},
		{"$(IMAGE)/bin", "/image/bin"},
		{"--ca=$(MOUNT:ca)/ca.crt,$(PORT:etcd-client)", "--ca=/m/ca/ca.crt,20001"},
		{"$(MOUNT:other)", ""},
		{"$(PORT:other)", ""},
		{"$(DATA)", ""},
		{"$(NOTHING)", ""},
	} {
		got, err := places.Expand(test.in)
		if (err != nil) != (test.want == "") || err == nil && got != test.want {
			t.Errorf("%q became %q, %v", test.in, got, err)
		}
	}
}

func TestStatus(t *testing.T) {
	var s Status
	if s.Ready() {
		t.Error("nothing is ready")
	}
	s.Components = []ComponentStatus{{Name: Etcd, Ready: true}, {Name: KubeAPIServer}}
	if s.Ready() || !s.Component(Etcd).Ready || s.Component("other").Ready {
		t.Errorf("%+v", s)
	}
	s.Components[1].Ready = true
	if !s.Ready() {
		t.Errorf("%+v", s)
	}
}
