package dhcp

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestReservations(t *testing.T) {
	s := newSite(t, Reservation{mac(9), ip("10.7.0.20"), "node-9"}, Reservation{mac(8), ip("10.7.0.100"), "node-8"}, Reservation{mac(7), ip("10.9.0.1"), "elsewhere"})
	d, a := s.send(9, discover)
	s.want(Offered, "10.7.0.20")(d, a)
	if d.Reply.HostName() != "node-9" {
		t.Errorf("host name %q", d.Reply.HostName())
	}
	s.want(Offered, "10.7.0.101")(s.send(1, discover)) // .100 is reserved
	s.want(Offered, "10.7.0.100")(s.send(8, discover))
	s.want(Offered, "10.7.0.102")(s.send(7, discover)) // its reservation is of another network
	if _, err := NewFixed(Reservation{mac(1), ip("10.7.0.20"), ""}, Reservation{mac(2), ip("10.7.0.20"), ""}, Reservation{mac(1), ip("10.7.0.21"), ""}); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("doubled reservations: %v", err)
	}
}

// A host of the inventory has a name; its lease outlives its time, until the inventory forgets the host.
func TestInventory(t *testing.T) {
	cfg := testConfig()
	set, err := NewSet([]netip.Prefix{cfg.Address.Masked()}, Reservation{mac(9), ip("10.7.0.102"), "file"})
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t, newEngine(cfg, Chain{}, set), start}
	inventory := []Host{
		{MAC: mac(1), Hostname: "worker-1"},
		{MAC: mac(9), Addresses: []netip.Addr{ip("fd07::9"), ip("10.7.0.103")}, Hostname: "inventory"},
		{MAC: mac(8), Addresses: []netip.Addr{ip("10.9.0.8"), ip("10.7.0.50"), ip("10.7.0.51")}},
		{Addresses: []netip.Addr{ip("10.7.0.101")}},
	}
	set.Replace(inventory)
	d, a := s.send(1, discover)
	s.want(Offered, "10.7.0.100")(d, a)
	if d.Reply.HostName() != "worker-1" {
		t.Errorf("host name %q", d.Reply.HostName())
	}
	s.want(Acked, "10.7.0.100")(s.send(1, ask, asking(a), server("10.7.0.2")))
	s.want(Exhausted, "")(s.send(2, discover)) // .101 and .102 are kept
	d, a = s.send(9, discover)
	s.want(Offered, "10.7.0.102")(d, a) // as the file says
	if d.Reply.HostName() != "file" {
		t.Errorf("host name %q", d.Reply.HostName())
	}
	s.want(Offered, "10.7.0.50")(s.send(8, discover))
	s.now = s.now.Add(24 * time.Hour)
	s.want(Exhausted, "")(s.send(2, discover))
	s.want(Naked, "")(s.send(2, ask, asking("10.7.0.100"), server("10.7.0.2")))
	s.want(Offered, "10.7.0.100")(s.send(1, discover))
	set.Replace(inventory[1:])
	s.now = s.now.Add(24 * time.Hour)
	s.want(Offered, "10.7.0.100")(s.send(2, discover))
}
