package dhcp

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/slipway-io/slipway/services/dhcp/lease"
)

func TestRestartKeepsLeases(t *testing.T) {
	dir := t.TempDir()
	reopen := func() (*lease.Log, []Lease) {
		l, leases, _, err := lease.Open(dir, "br0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l, leases
	}
	l, _ := reopen()
	s := newSite(t)
	d, _ := s.send(2, ask, asking("10.7.0.101"))
	if err := l.Append(d.Records); err != nil {
		t.Fatal(err)
	}
	_, leases := reopen()
	again := newSite(t)
	if n := again.load(leases); n != 1 {
		t.Fatalf("%d leases taken", n)
	}
	again.want(Offered, "10.7.0.101")(again.send(2, discover))
	again.want(Naked, "")(again.send(3, ask, asking("10.7.0.101"), server("10.7.0.2")))
}

func BenchmarkFourWay(b *testing.B) {
	for _, clients := range []int{100, 10000} {
		b.Run(fmt.Sprint(clients), func(b *testing.B) {
			cfg := testConfig()
			cfg.Address = netip.MustParsePrefix("10.7.0.2/16")
			cfg.Ranges, cfg.Relayed = []Range{{From: ip("10.7.1.0"), To: ip("10.7.250.0")}}, nil
			e := newEngine(cfg, Chain{}, Fixed{})
			for i := 0; b.Loop(); i++ {
				p := packet(b, 0, discover)
				p.ClientHWAddr[3], p.ClientHWAddr[4] = byte(i%clients>>8), byte(i%clients)
				offer := e.decide(start, p)
				p.UpdateOption(typeOption(ask))
				p.UpdateOption(requested(offer.Reply.YourIPAddr))
				if d := e.decide(start, p); d.Outcome != Acked {
					b.Fatal(d.Outcome)
				}
			}
		})
	}
}
