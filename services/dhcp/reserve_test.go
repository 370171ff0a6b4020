package dhcp

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

func TestReserve(t *testing.T) {
	s := newSite(t, Reservation{mac(9), ip("10.7.0.101"), "nine"})
	list := s.candidates(0, s.now)
	if want := []netip.Addr{ip("10.7.0.100"), ip("10.7.0.102")}; !slices.Equal(list, want) {
		t.Fatalf("candidates %v, want %v", list, want)
	}
	if again := s.candidates(0, s.now); len(again) != 0 {
		t.Fatalf("probed twice: %v", again)
	}
	conflicts := s.probed(0, s.now, list, map[netip.Addr]string{ip("10.7.0.100"): mac(7).String()})
	if len(conflicts) != 1 || conflicts[0].Address != ip("10.7.0.100") {
		t.Fatalf("conflicts %v", conflicts)
	}
	s.want(Offered, "10.7.0.102")(s.send(1, discover))
	s.want(Exhausted, "")(s.send(2, discover))
	s.want(Naked, "")(s.send(2, ask, asking("10.7.0.100"), server("10.7.0.2")))
	s.want(Offered, "10.7.0.100")(s.send(7, discover)) // who uses it keeps it
	s.now = s.now.Add(declineHold)
	if list := s.candidates(0, s.now); !slices.Contains(list, ip("10.7.0.100")) {
		t.Errorf("what was in use is not looked at again: %v", list)
	}
}

func TestReserveGrowsOld(t *testing.T) {
	s := newSite(t)
	list := s.candidates(0, s.now)
	s.probed(0, s.now, list, nil)
	s.want(Offered, "10.7.0.100")(s.send(1, discover))
	s.want(Acked, "10.7.0.101")(s.send(2, ask, asking("10.7.0.101"))) // one of the reserve by its name
	s.now = s.now.Add(probedFor)
	if list, want := s.candidates(0, s.now), []netip.Addr{ip("10.7.0.102"), ip("10.7.0.100")}; !slices.Equal(list, want) {
		t.Fatalf("looked at again: %v, want %v", list, want)
	}
	// Given away while it was probed.
	s.want(Acked, "10.7.0.102")(s.send(3, ask, asking("10.7.0.102")))
	if conflicts := s.probed(0, s.now, []netip.Addr{ip("10.7.0.102")}, map[netip.Addr]string{ip("10.7.0.102"): mac(3).String()}); len(conflicts) > 0 {
		t.Errorf("a client's own answer is a conflict: %v", conflicts)
	}
	s.now = s.now.Add(time.Second)
	s.want(Offered, "10.7.0.100")(s.send(4, discover)) // unprobed rather than none
}

func TestARP(t *testing.T) {
	probe := arpProbe(mac(2), ip("10.7.0.100"))
	if _, _, speaks := arpSender(probe); speaks || len(probe) != 28 {
		t.Errorf("a probe claims an address: %x", probe)
	}
	answer := slices.Clone(probe)
	answer[7] = 2
	copy(answer[8:], mac(7))
	copy(answer[14:], ip("10.7.0.100").AsSlice())
	if a, m, ok := arpSender(answer); !ok || a != ip("10.7.0.100") || m.String() != mac(7).String() {
		t.Errorf("%s at %s, %t", a, m, ok)
	}
	if _, _, ok := arpSender(answer[:20]); ok {
		t.Error("half a packet is taken")
	}
}
