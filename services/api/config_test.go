package api

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

const good = `
domain: rack7.example.com
interfaces:
  eno1:
    addresses: [10.7.0.2/24, "fd07::2/64"]
    dhcp: {mode: server, pool: 10.7.0.50-10.7.0.199, leaseTime: 2h}
dns: {forward: [10.1.1.1, "2001:db8::1"]}
`

func TestParseConfig(t *testing.T) {
	config, err := ParseConfig([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if got := config.SiteAddresses(); len(got) != 2 || got[0] != netip.MustParseAddr("10.7.0.2") || got[1] != netip.MustParseAddr("fd07::2") {
		t.Errorf("site addresses %v", got)
	}
	if config.Ports.HTTPS != 8443 || config.Interfaces["eno1"].DHCP.LeaseTime.Duration != 2*time.Hour {
		t.Errorf("%+v", config)
	}
}

func TestParseConfigOff(t *testing.T) {
	for _, off := range []string{"off", `"off"`, "'off'"} {
		config, err := ParseConfig([]byte("domain: a.b\ninterfaces: {eno1: {addresses: [10.0.0.1/24], dhcp: {mode: " + off + "}}}\nhttp: {plain: " + off + "}\n"))
		if err != nil || config.Interfaces["eno1"].DHCP.Mode != DHCPOff || !config.HTTP.Off() {
			t.Errorf("%s: %+v, %v", off, config, err)
		}
	}
}

func TestParseConfigRefuses(t *testing.T) {
	for name, one := range map[string]struct{ old, new, want string }{
		"unknown key":        {"domain:", "domian: x\ndomain:", `unknown field "domian"`},
		"unknown nested key": {"leaseTime: 2h", "lease: 2h", `unknown field "lease"`},
		"no domain":          {"domain: rack7.example.com", "", "domain"},
		"bad domain":         {"rack7.example.com", "Rack_7", "domain"},
		"no interfaces":      {good[strings.Index(good, "interfaces"):], "", "at least one interface"},
		"no address":         {`[10.7.0.2/24, "fd07::2/64"]`, "[]", "at least one address"},
		"bad address":        {"10.7.0.2/24", "10.7.0.2", "no '/'"},
		"bad mode":           {"mode: server", "mode: serve", `"serve" is none of`},
		"pool outside":       {"10.7.0.50-", "10.6.0.50-", "10.6.0.50 is outside 10.7.0.0/24"},
		"pool backwards":     {"10.7.0.50-10.7.0.199", "10.7.0.199-10.7.0.50", "comes after"},
		"proxy with a pool":  {"mode: server", "mode: proxy", "in mode proxy the other DHCP server gives it"},
		"gateway outside":    {"leaseTime: 2h", "gateway: 10.6.0.1", "dhcp.gateway: 10.6.0.1 is outside 10.7.0.0/24"},
		"mixed range":        {"10.7.0.50-10.7.0.199", "10.7.0.50-fd07::9", "are of two families"},
		"mtu too small":      {"leaseTime: 2h", "mtu: 68", "dhcp.mtu: 68 is not between"},
		"route with bits":    {"leaseTime: 2h", "routes: [{to: 10.9.0.1/16, via: 10.7.0.1}]", "routes[0]: to: 10.9.0.1/16 is not a network"},
		"route elsewhere":    {"leaseTime: 2h", "routes: [{to: 10.9.0.0/16, via: 10.8.0.1}]", "a router must be on the hosts' own network"},
		"bad search":         {"leaseTime: 2h", "search: [a_b]", "search[0]"},
		"relayed overlap":    {"leaseTime: 2h", "relayed: [{subnet: 10.7.0.128/25}]", "relayed[0].subnet: 10.7.0.128/25 overlaps 10.7.0.0/24"},
		"relayed pool":       {"leaseTime: 2h", "relayed: [{subnet: 10.8.0.0/24, pool: 10.9.0.5-10.9.0.9}]", "relayed[0].pool: 10.9.0.5 is outside 10.8.0.0/24"},
		"reservation MAC":    {"leaseTime: 2h", "reservations: [{mac: eth0, address: 10.7.0.9}]", "reservations[0].mac"},
		"reservation served": {"leaseTime: 2h", `reservations: [{mac: "52:54:00:00:00:01", address: 10.6.0.9}]`, "10.6.0.9 is in no network"},
		"reserved twice":     {"leaseTime: 2h", `reservations: [{mac: "52:54:00:00:00:01", address: 10.7.0.9}, {mac: "52:54:00:00:00:02", address: 10.7.0.9}]`, "is taken by reservations[0]"},
		"pool no range":      {"10.7.0.50-10.7.0.199", "10.7.0.50", "is not a range"},
		"pools overlap":      {"10.7.0.50-10.7.0.199", `"10.7.0.50-10.7.0.99, 10.7.0.99-10.7.0.120"`, "overlaps"},
		"plain HTTP":         {"dns:", "http: {plain: none}\ndns:", `http.plain: "none" is none of boot, off`},
		"same ports":         {"dns:", "ports: {http: 8443}\ndns:", "taken by"},
		"port too high":      {"dns:", "ports: {http: 70000}\ndns:", "70000 is not a port"},
		"pool of IPv4 alone": {`[10.7.0.2/24, "fd07::2/64"]`, `["fd07::2/64"]`, "10.7.0.50 is outside fd07::/64"},
		"link-local address": {`"fd07::2/64"`, `"fe80::2/64"`, "fe80::2 is link-local"},
		"foreign gateway":    {"leaseTime: 2h", `gateway: "fd07::1"`, "an IPv6 router advertises itself"},
		"slaac in a /80": {`fd07::2/64"]
    dhcp: {`, `fd07::2/80"]
    dhcp: {slaac: true, `, "in a /64 only"},
		"slaac without IPv6": {`, "fd07::2/64"]
    dhcp: {`, `]
    dhcp: {slaac: false, `, "no IPv6 address"},
		"slaac in proxy": {"mode: server, pool: 10.7.0.50-10.7.0.199, leaseTime: 2h", "mode: proxy, slaac: true", "dhcp.slaac: in mode proxy"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(good, one.old, one.new, 1)
			if text == good {
				t.Fatal("the fault was not put in")
			}
			_, err := ParseConfig([]byte(text))
			if err == nil || !strings.Contains(err.Error(), one.want) {
				t.Errorf("%v, want it to contain %q", err, one.want)
			}
		})
	}
}

func TestDHCPModes(t *testing.T) {
	const proxy = "{mode: proxy, relayed: [{subnet: 10.8.0.0/24}]}"
	const server = `{mode: server, pool: "10.7.0.50-10.7.0.99, fd07::1000-fd07::1fff", gateway: 10.7.0.1, mtu: 9000, search: [example.com],
      routes: [{to: 10.9.0.0/16, via: 10.7.0.9}], relayed: [{subnet: 10.8.0.0/24, pool: 10.8.0.10-10.8.0.20, gateway: 10.8.0.1}],
      reservations: [{mac: "52:54:00:00:00:01", address: 10.8.0.9, hostname: nine}]}`
	for _, dhcp := range []string{proxy, server} {
		config, err := ParseConfig([]byte(strings.Replace(good, "{mode: server, pool: 10.7.0.50-10.7.0.199, leaseTime: 2h}", dhcp, 1)))
		if err != nil {
			t.Errorf("%s: %v", dhcp, err)
			continue
		}
		if d := config.Interfaces["eno1"].DHCP; d.Relayed[0].LeaseTime.Duration != time.Hour {
			t.Errorf("lease time of the relayed network: %v", d.Relayed[0].LeaseTime)
		}
	}
}

func TestPaused(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for text, want := range map[string]struct {
		paused bool
		wait   time.Duration
		fault  bool
	}{
		"":                     {},
		"true":                 {paused: true},
		"True":                 {paused: true},
		"false":                {},
		"2026-01-01T01:00:00Z": {paused: true, wait: time.Hour},
		"2025-01-01T00:00:00Z": {},
		"tomorrow":             {fault: true},
	} {
		wait, paused, err := Paused(&text, now)
		if paused != want.paused || wait != want.wait || (err != nil) != want.fault {
			t.Errorf("%q: %v, %v, %v, want %+v", text, wait, paused, err, want)
		}
	}
	if _, paused, err := Paused(nil, now); paused || err != nil {
		t.Error("nothing pauses")
	}
}
