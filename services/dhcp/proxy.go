package dhcp

import (
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// proxy decides beside a DHCP server that is not ours: it gives no address, only what to boot.
//
// What firmware takes differs. BIOS ROMs and iPXE take the boot file of the offer when option 43 says so. Many UEFI
// implementations ignore an offer with option 43, but all ask the offer's server again on port 4011 when there is none, as
// Microsoft's BINL has it; their answer there must have no option 43 either. UEFI HTTP boot takes the URL of the offer.
type proxy struct {
	server   netip.Addr
	networks []netip.Prefix // that relay agents may forward from
	boot     Boot
}

func newProxy(cfg Config, boot Boot) *proxy {
	x := &proxy{server: cfg.Address.Addr(), networks: []netip.Prefix{cfg.Address.Masked()}, boot: boot}
	for _, s := range cfg.Relayed {
		x.networks = append(x.networks, s.Prefix.Masked())
	}
	return x
}

func (x *proxy) decide(p arrival) Decision {
	if p.OpCode != dhcpv4.OpcodeBootRequest || clientKey(p.DHCPv4) == "" {
		return Decision{Outcome: Malformed}
	}
	network, known := x.network(p.DHCPv4)
	if !known {
		return Decision{Outcome: Unknown}
	}
	d := Decision{Outcome: Foreign, Subnet: network}
	var kind dhcpv4.MessageType
	switch p.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		kind, d.Outcome = dhcpv4.MessageTypeOffer, Offered
	case dhcpv4.MessageTypeInform:
		kind, d.Outcome = dhcpv4.MessageTypeAck, Acked
	case dhcpv4.MessageTypeRequest:
		if !p.boot { // the other server's business
			return d
		}
		kind, d.Outcome = dhcpv4.MessageTypeAck, Acked
	case dhcpv4.MessageTypeDecline, dhcpv4.MessageTypeRelease:
		return d
	default:
		return Decision{Outcome: Malformed}
	}
	if d.Reply = x.reply(p, kind); d.Reply == nil {
		d.Outcome = NoBoot
	}
	return d
}

func (x *proxy) network(p *dhcpv4.DHCPv4) (netip.Prefix, bool) {
	link := relayLink(p)
	if !link.IsValid() {
		return x.networks[0], true
	}
	for _, network := range x.networks {
		if network.Contains(link) {
			return network, true
		}
	}
	return netip.Prefix{}, false
}

// reply is nil for a client that does not boot, and where there is nothing for it to boot.
func (x *proxy) reply(p arrival, kind dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	client, boots := clientOf(p.DHCPv4, x.server)
	if !boots {
		return nil
	}
	offer := x.boot.Boot(client)
	if offer.BootFile == "" {
		return nil
	}
	d := base(p.DHCPv4, kind, x.server)
	d.ClientIPAddr = p.ClientIPAddr
	bootFields(p.DHCPv4, d, client, offer)
	// iPXE takes an offer without an address for a proxy's by its class only, whichever class iPXE itself sent.
	d.UpdateOption(dhcpv4.OptClassIdentifier(class(client.HTTP)))
	switch item := bootItem(p.DHCPv4); {
	case p.boot && item != nil:
		d.UpdateOption(dhcpv4.OptGeneric(optionPXEVendor, item))
	case !p.boot && client.PXE && (client.IPXE || client.Arch == iana.INTEL_X86PC):
		d.UpdateOption(dhcpv4.OptGeneric(optionPXEVendor, takeBootFile()))
	}
	return d
}

// bootItem is the boot server type and layer that a client chose from a menu (PXE 2.1 table 2-1, tag 71), which the boot
// server repeats; nil when it chose none.
func bootItem(p *dhcpv4.DHCPv4) []byte {
	raw := p.Options.Get(optionPXEVendor)
	for len(raw) >= 2 && raw[0] != 255 {
		if raw[0] == 0 {
			raw = raw[1:]
			continue
		}
		n := int(raw[1])
		if len(raw) < 2+n {
			return nil
		}
		if raw[0] == 71 && n == 4 {
			return append(append([]byte{}, raw[:6]...), 255)
		}
		raw = raw[2+n:]
	}
	return nil
}
