package ra

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/mdlayher/ndp"
)

var start = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func testConfig() Config {
	return Config{
		Interface: "br0", Managed: true, Other: true, Prefix: netip.MustParsePrefix("fd07::/64"),
		DNS: []netip.Addr{ip("fd07::2")}, Search: []string{"site.example"}, MTU: 1500,
	}
}

func render(t testing.TB, c Config) *ndp.RouterAdvertisement {
	t.Helper()
	raw, err := c.advertisement(net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1})
	if err != nil {
		t.Fatal(err)
	}
	body, ok := parse(raw)
	if !ok {
		t.Fatalf("%x does not parse", raw)
	}
	return body.(*ndp.RouterAdvertisement)
}

func TestAdvertisement(t *testing.T) {
	got := render(t, testConfig())
	want := &ndp.RouterAdvertisement{
		CurrentHopLimit: 64, ManagedConfiguration: true, OtherConfiguration: true,
		Options: []ndp.Option{
			&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}},
			&ndp.MTU{MTU: 1500},
			&ndp.PrefixInformation{Prefix: ip("fd07::"), PrefixLength: 64, OnLink: true, ValidLifetime: prefixValid, PreferredLifetime: prefixPreferred},
			&ndp.RecursiveDNSServer{Lifetime: 10 * time.Minute, Servers: []netip.Addr{ip("fd07::2")}},
			&ndp.DNSSearchList{Lifetime: 10 * time.Minute, DomainNames: []string{"site.example"}},
		},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Error(diff)
	}
	none := render(t, Config{Interface: "br0"})
	if none.RouterLifetime != 0 || none.ManagedConfiguration || none.OtherConfiguration || len(none.Options) != 1 {
		t.Errorf("nothing to say is %+v", none)
	}
}

// Beside a router of the site only what it leaves out is said, and nothing at all when it says everything.
func TestBeside(t *testing.T) {
	prefix := &ndp.PrefixInformation{Prefix: ip("fd07::"), PrefixLength: 64, OnLink: true, AutonomousAddressConfiguration: true}
	other := &ndp.PrefixInformation{Prefix: ip("2001:db8::"), PrefixLength: 64, OnLink: true}
	dns := &ndp.RecursiveDNSServer{Servers: []netip.Addr{ip("fd07::1")}}
	ours := &ndp.RecursiveDNSServer{Servers: []netip.Addr{ip("fd07::2")}}
	search := &ndp.DNSSearchList{DomainNames: []string{"SITE.example"}}
	mtu := &ndp.MTU{MTU: 1500}
	full := testConfig()
	for name, c := range map[string]struct {
		said   *ndp.RouterAdvertisement
		want   Config
		silent bool
	}{
		"a prefix of its own": {
			&ndp.RouterAdvertisement{Options: []ndp.Option{other}},
			full, false,
		},
		"the same prefix, other DNS": {
			&ndp.RouterAdvertisement{Options: []ndp.Option{prefix, dns, mtu}},
			Config{Interface: "br0", Managed: true, Other: true, DNS: full.DNS, Search: full.Search}, false,
		},
		"all but that there is DHCPv6": {
			&ndp.RouterAdvertisement{Options: []ndp.Option{prefix, ours, search, mtu}},
			Config{Interface: "br0", Managed: true, Other: true}, false,
		},
		"everything": {&ndp.RouterAdvertisement{ManagedConfiguration: true, Options: []ndp.Option{prefix, ours, search, mtu}}, Config{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, more := full.beside([]*ndp.RouterAdvertisement{c.said})
			if more == c.silent {
				t.Fatalf("says something: %v", more)
			}
			if diff := cmp.Diff(c.want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
	if _, more := (Config{Interface: "br0"}).beside([]*ndp.RouterAdvertisement{{RouterLifetime: time.Hour}}); more {
		t.Error("says that there is no router beside a router")
	}
	if !slices.Equal(full.DNS, testConfig().DNS) {
		t.Error("the configuration was changed")
	}
}

func TestRouters(t *testing.T) {
	r := routers{}
	router := &ndp.RouterAdvertisement{RouterLifetime: time.Hour}
	if !r.hear(ip("fe80::1"), router, start) || r.hear(ip("fe80::1"), router, start) {
		t.Error("a router is news once")
	}
	if r.hear(ip("fe80::2"), &ndp.RouterAdvertisement{}, start) || len(r.said()) != 1 {
		t.Error("nothing said is a router")
	}
	if gone := r.expire(start.Add(59 * time.Minute)); len(gone) > 0 {
		t.Errorf("gone %v", gone)
	}
	if gone := r.expire(start.Add(time.Hour)); len(gone) != 1 || len(r) != 0 {
		t.Errorf("gone %v", gone)
	}
	for i := range 2 * routersMost {
		r.hear(netip.AddrFrom16([16]byte{0xfe, 0x80, 15: byte(i)}), router, start)
	}
	if len(r) != routersMost {
		t.Errorf("%d routers are kept", len(r))
	}
	r.hear(netip.AddrFrom16([16]byte{0xfe, 0x80, 15: 1}), &ndp.RouterAdvertisement{}, start)
	if len(r) != routersMost-1 {
		t.Error("a router that withdraws stays")
	}
}

func TestSchedule(t *testing.T) {
	s, now := newSchedule(true, start), start
	var gaps []time.Duration
	for range 6 {
		s.done(now)
		gaps = append(gaps, s.next.Sub(now))
		now = s.next
	}
	if gaps[0] != initialEvery || gaps[1] != initialEvery || gaps[2] < intervalLeast || gaps[2] > intervalMost || gaps[5] < intervalLeast {
		t.Errorf("%v", gaps)
	}
	// However many ask: three seconds apart.
	s.done(now)
	for i := range 100 {
		s.asked(now.Add(time.Duration(i) * time.Millisecond))
	}
	if s.next != now.Add(multicastGap) {
		t.Errorf("next %v after the last", s.next.Sub(now))
	}
	silent := newSchedule(false, start)
	if !silent.next.IsZero() {
		t.Error("unasked")
	}
	silent.asked(start)
	if silent.next != start {
		t.Errorf("%v", silent.next)
	}
	silent.done(start)
	if !silent.next.IsZero() {
		t.Error("unasked again")
	}
	silent.failed(start)
	if silent.next != start.Add(retryAfter) {
		t.Error("no further try")
	}
}

func TestValidate(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"is not named":      func(c *Config) { c.Interface = "" },
		"is not of IPv6":    func(c *Config) { c.Prefix = netip.MustParsePrefix("10.7.0.0/24") },
		"in a /64 only":     func(c *Config) { c.Prefix, c.Autonomous = netip.MustParsePrefix("fd07::/80"), true },
		"router lifetime":   func(c *Config) { c.RouterLifetime = 24 * time.Hour },
		"MTU 576":           func(c *Config) { c.MTU = 576 },
		"17 DNS servers":    func(c *Config) { c.DNS = slices.Repeat(c.DNS, 17) },
		"not an IPv6 addre": func(c *Config) { c.DNS = []netip.Addr{ip("10.7.0.2")} },
	} {
		cfg := testConfig()
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// FuzzRouterSolicitation has everything that a node on the link may send: nothing of it stops the answers.
func FuzzRouterSolicitation(f *testing.F) {
	solicitation, err := ndp.MarshalMessage(&ndp.RouterSolicitation{Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: net.HardwareAddr{2, 0, 0, 0, 0, 1}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(solicitation)
	raw, err := testConfig().advertisement(net.HardwareAddr{2, 0, 0, 0, 0, 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte{133, 0, 0, 0, 0, 0, 0, 0, 1, 0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		body, ok := parse(raw)
		if !ok {
			return
		}
		r := routers{}
		if said, is := body.(*ndp.RouterAdvertisement); is {
			r.hear(ip("fe80::1"), said, start)
		}
		left, more := testConfig().beside(r.said())
		if more {
			render(t, left)
		}
	})
}
