package main

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/dhcp/dhcp6"
	"github.com/slipway-io/slipway/services/dhcp/lease"
	"github.com/slipway-io/slipway/services/dhcp/ra"
)

// What hosts hear on a network, by what its DHCP configuration says.
func TestIPv6OfAnInterface(t *testing.T) {
	prefix, own := netip.MustParsePrefix("fd07::/64"), netip.MustParseAddr("fd07::2")
	says := func(change func(*ra.Config)) ra.Config {
		c := ra.Config{Interface: "eno1", Other: true, Prefix: prefix, DNS: []netip.Addr{own}, Search: []string{"site.example"}}
		change(&c)
		return c
	}
	for dhcp, want := range map[string]ra.Config{
		`{mode: server}`: says(func(c *ra.Config) { c.Autonomous = true }),
		`{mode: server, pool: 10.7.0.50-10.7.0.99, mtu: 1000}`:                            says(func(c *ra.Config) { c.Autonomous = true }),
		`{mode: server, pool: "fd07::100-fd07::1ff", mtu: 9000}`:                          says(func(c *ra.Config) { c.Managed, c.MTU = true, 9000 }),
		`{mode: server, pool: "fd07::100-fd07::1ff", slaac: true, search: [a.example]}`:   says(func(c *ra.Config) { c.Managed, c.Autonomous, c.Search = true, true, []string{"a.example"} }),
		`{mode: server, slaac: false}`:                                                    says(func(*ra.Config) {}),
		`{mode: server, reservations: [{mac: "52:54:00:00:00:01", address: "fd07::9"}]}`:  says(func(c *ra.Config) { c.Managed = true }),
		`{mode: server, gateway: "fd07::2"}`:                                              says(func(c *ra.Config) { c.Autonomous, c.RouterLifetime = true, 30*time.Minute }),
		`{mode: server, gateway: 10.7.0.1}`:                                               says(func(c *ra.Config) { c.Autonomous = true }),
		`{mode: server, reservations: [{mac: "52:54:00:00:00:01", address: "10.7.0.9"}]}`: says(func(c *ra.Config) { c.Autonomous = true }),
	} {
		config, err := api.ParseConfig([]byte("domain: site.example\ninterfaces: {eno1: {addresses: [10.7.0.2/24, \"fd07::2/64\"], dhcp: " + dhcp + "}}\n"))
		if err != nil {
			t.Errorf("%s: %v", dhcp, err)
			continue
		}
		a := &appliance{config: config, stateDir: "/state"}
		nic := config.Interfaces["eno1"]
		address, _ := nic.IPv6()
		serves, err := a.dhcp6Config("eno1", nic, address)
		if err != nil {
			t.Errorf("%s: %v", dhcp, err)
			continue
		}
		got := a.advertised("eno1", nic, address, serves.Search)
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", dhcp, diff)
		}
	}
}

// Of a configuration with both families DHCPv6 takes what is of IPv6.
func TestDHCPv6Config(t *testing.T) {
	config, err := api.ParseConfig([]byte(`
domain: site.example
interfaces:
  eno1:
    addresses: [10.7.0.2/24, "fd07::2/64"]
    dhcp:
      mode: server
      pool: 10.7.0.50-10.7.0.99, fd07::100-fd07::1ff
      ntp: [10.7.0.1, "fd07::1"]
      leaseTime: 2h
      relayed: [{subnet: 10.8.0.0/24}, {subnet: "fd08::/64", pool: "fd08::10-fd08::20"}]
`))
	if err != nil {
		t.Fatal(err)
	}
	a := &appliance{config: config, stateDir: "/state"}
	nic := config.Interfaces["eno1"]
	address, _ := nic.IPv6()
	got, err := a.dhcp6Config("eno1", nic, address)
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
	dns := []netip.Addr{netip.MustParseAddr("fd07::2")}
	want := dhcp6.Config{
		Interface: "eno1", Address: address, DNS: dns, NTP: []netip.Addr{netip.MustParseAddr("fd07::1")}, Search: []string{"site.example"},
		LeaseTime: 2 * time.Hour, Dir: "/state/leases/ipv6",
		Ranges: []lease.Range{{From: netip.MustParseAddr("fd07::100"), To: netip.MustParseAddr("fd07::1ff")}},
		Relayed: []dhcp6.Subnet{{
			Prefix: netip.MustParsePrefix("fd08::/64"), DNS: dns, Search: []string{"site.example"}, LeaseTime: 2 * time.Hour,
			Ranges: []lease.Range{{From: netip.MustParseAddr("fd08::10"), To: netip.MustParseAddr("fd08::20")}},
		}},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Error(diff)
	}
}
