package dhcp6

import (
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/slipway-io/slipway/services/dhcp"
)

// FuzzDHCPv6 sends what the wire may bring to the server and to the proxy.
func FuzzDHCPv6(f *testing.F) {
	f.Add(packet(dhcpv6.MessageTypeSolicit, 1).ToBytes())
	boot := packet(dhcpv6.MessageTypeSolicit, 1)
	boot.AddOption(vendorClass("PXEClient:Arch:00007:UNDI:003001"))
	boot.AddOption(dhcpv6.OptClientArchType(iana.EFI_X86_64))
	f.Add(boot.ToBytes())
	f.Add(packet(dhcpv6.MessageTypeRequest, 1, "fd07::100").ToBytes())
	f.Add(packet(dhcpv6.MessageTypeDecline, 1, "fd07::100").ToBytes())
	f.Add(packet(dhcpv6.MessageTypeInformationRequest, 1).ToBytes())
	f.Add(relayed(relayed(packet(dhcpv6.MessageTypeSolicit, 1), "::", "fe80::1", dhcpv6.OptInterfaceID([]byte("x"))), "fd08::1", "fe80::2").ToBytes())
	cfg := testConfig()
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := dhcpv6.FromBytes(raw)
		if err != nil {
			return
		}
		for _, proxy := range []bool{false, true} {
			cfg.Proxy = proxy
			e := newEngine(cfg, serverDUID, dhcp.Chain{}, dhcp.Fixed{})
			for i := range 3 {
				a := arrival{p, linkLocal(1)}
				d := e.decide(start.Add(time.Duration(i)*time.Minute), a)
				typeLabel(a)
				for _, l := range d.Records {
					if _, ok := e.subnetOf(l.Address); !ok || proxy {
						t.Fatalf("lease outside the networks: %v", l)
					}
				}
				if d.Reply == nil {
					continue
				}
				back, err := dhcpv6.FromBytes(d.Reply.ToBytes())
				if err != nil || back.IsRelay() != p.IsRelay() {
					t.Fatalf("reply does not parse: %v", err)
				}
				bootFile(d.Reply)
			}
		}
	})
}
