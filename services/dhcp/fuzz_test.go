package dhcp

import (
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// FuzzDHCPv4 sends what the wire may bring to the server and to the proxy.
func FuzzDHCPv4(f *testing.F) {
	f.Add(packet(f, 1, discover).ToBytes())
	f.Add(packet(f, 1, ask, asking("10.7.0.100"), server("10.7.0.2")).ToBytes())
	f.Add(packet(f, 1, discover, pxe(7)...).ToBytes())
	f.Add(packet(f, 1, dhcpv4.MessageTypeDecline, asking("10.7.0.100"), server("10.7.0.2")).ToBytes())
	f.Add(packet(f, 1, discover, via("10.8.0.1")).ToBytes())
	f.Add(packet(f, 1, ask, append(pxe(0), dhcpv4.WithGeneric(optionPXEVendor, []byte{71, 4, 0, 1, 0, 0, 255}))...).ToBytes())
	f.Add(packet(f, 1, discover, via("10.8.0.1"), dhcpv4.WithGeneric(dhcpv4.OptionRelayAgentInformation, []byte{5, 4, 10, 8, 0, 0, 11, 4, 10, 8, 0, 1})).ToBytes())
	cfg := testConfig()
	cfg.Routes = []Route{{netip.MustParsePrefix("10.9.0.0/16"), ip("10.7.0.7")}}
	check := func(t *testing.T, reply *dhcpv4.DHCPv4) {
		destination(reply)
		got, err := dhcpv4.FromBytes(reply.ToBytes())
		if err != nil || got.OpCode != dhcpv4.OpcodeBootReply || got.TransactionID != reply.TransactionID {
			t.Fatalf("reply does not parse: %v", err)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := dhcpv4.FromBytes(raw)
		if err != nil {
			return
		}
		e := newEngine(cfg, Chain{}, Fixed{})
		for i := range 3 {
			d := e.decide(start.Add(time.Duration(i)*time.Minute), p)
			for _, l := range d.Records {
				if _, ok := e.subnetOf(l.Address); !ok {
					t.Fatalf("lease outside the networks: %v", l)
				}
			}
			if d.Reply == nil {
				continue
			}
			check(t, d.Reply)
		}
		for _, boot := range []bool{false, true} {
			d := newProxy(cfg, Chain{}).decide(arrival{DHCPv4: p, boot: boot})
			if d.Reply == nil {
				continue
			}
			if addr4(d.Reply.YourIPAddr).IsValid() || d.Reply.Options.Has(dhcpv4.OptionIPAddressLeaseTime) || len(d.Records) > 0 {
				t.Fatal("the proxy gives an address")
			}
			check(t, d.Reply)
		}
	})
}
