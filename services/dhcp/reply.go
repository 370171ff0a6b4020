package dhcp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/rfc1035label"
)

// Options that the library has no name for.
const (
	optionPXEVendor = dhcpv4.OptionVendorSpecificInformation
	optionIPXE      = dhcpv4.GenericOptionCode(175)
	fileField       = 127 // bytes that the fixed boot file field carries
)

// base is an answer with what RFC 2131 wants in each: the request's ids, our id, relay information echoed.
func base(r *dhcpv4.DHCPv4, kind dhcpv4.MessageType, server netip.Addr) *dhcpv4.DHCPv4 {
	d := &dhcpv4.DHCPv4{
		OpCode:        dhcpv4.OpcodeBootReply,
		HWType:        r.HWType,
		ClientHWAddr:  r.ClientHWAddr,
		TransactionID: r.TransactionID,
		Flags:         r.Flags,
		ClientIPAddr:  net.IPv4zero,
		YourIPAddr:    net.IPv4zero,
		ServerIPAddr:  net.IPv4zero,
		GatewayIPAddr: r.GatewayIPAddr,
		Options:       dhcpv4.Options{},
	}
	d.UpdateOption(dhcpv4.OptMessageType(kind))
	d.UpdateOption(dhcpv4.OptServerIdentifier(serverID(r, server).AsSlice()))
	for _, code := range []dhcpv4.OptionCode{dhcpv4.OptionRelayAgentInformation, dhcpv4.OptionClientIdentifier} {
		if v := r.Options.Get(code); len(v) > 0 {
			d.UpdateOption(dhcpv4.OptGeneric(code, v))
		}
	}
	return d
}

// reply is an OFFER or an ACK of an address.
func (e *engine) reply(r request, kind dhcpv4.MessageType, a netip.Addr, hostname string) *dhcpv4.DHCPv4 {
	d := base(r.DHCPv4, kind, e.server)
	d.YourIPAddr = a.AsSlice()
	if kind == dhcpv4.MessageTypeAck {
		d.ClientIPAddr = r.ClientIPAddr
	}
	lease := e.subnets[r.subnet].LeaseTime
	d.UpdateOption(dhcpv4.OptIPAddressLeaseTime(lease))
	d.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionRenewTimeValue, seconds(lease/2)))
	d.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionRebindingTimeValue, seconds(lease/8*7)))
	if hostname != "" && r.IsOptionRequested(dhcpv4.OptionHostName) {
		d.UpdateOption(dhcpv4.OptHostName(hostname))
	}
	e.network4(r, d)
	e.addBoot(r, d)
	fit(r.DHCPv4, d)
	return d
}

// inform answers a client that has its address from elsewhere.
func (e *engine) inform(r request) *dhcpv4.DHCPv4 {
	d := base(r.DHCPv4, dhcpv4.MessageTypeAck, e.server)
	d.ClientIPAddr = r.ClientIPAddr
	e.network4(r, d)
	e.addBoot(r, d)
	fit(r.DHCPv4, d)
	return d
}

// fit leaves out what a client can do without, least wanted first, until the answer fits what the client takes: 576 bytes
// with the headers of IP and UDP, or what it says in option 57 (RFC 2132 §9.10).
func fit(r, d *dhcpv4.DHCPv4) {
	const headers, fixed, least = 28, 241, 576
	limit := least
	if size, err := r.MaxMessageSize(); err == nil {
		limit = max(least, int(size))
	}
	used := headers + fixed
	for _, value := range d.Options {
		used += len(value) + 2*max(1, (len(value)+254)/255)
	}
	for _, code := range []dhcpv4.OptionCode{
		dhcpv4.OptionBroadcastAddress, dhcpv4.OptionDNSDomainSearchList, dhcpv4.OptionNTPServers, dhcpv4.OptionHostName,
		dhcpv4.OptionDomainName, dhcpv4.OptionInterfaceMTU, dhcpv4.OptionClasslessStaticRoute,
	} {
		if used <= limit {
			return
		}
		if value, there := d.Options[code.Code()]; there {
			used -= len(value) + 2*max(1, (len(value)+254)/255)
			d.Options.Del(code)
		}
	}
}

func (e *engine) nak(r request) *dhcpv4.DHCPv4 {
	d := base(r.DHCPv4, dhcpv4.MessageTypeNak, e.server)
	d.UpdateOption(dhcpv4.OptMessage("the address is not this client's in this network"))
	if addr4(r.GatewayIPAddr).IsValid() {
		d.SetBroadcast() // RFC 2131 §4.3.2: the client has no address that the relay could reach
	}
	return d
}

// network4 adds the network's parameters that the client asks for. A client without a list of its own gets the short ones
// only, because a boot ROM may take no more than the 312 bytes of options of RFC 2131.
func (e *engine) network4(r request, d *dhcpv4.DHCPv4) {
	s := &e.subnets[r.subnet]
	listed := r.Options.Has(dhcpv4.OptionParameterRequestList)
	add := func(short bool, o dhcpv4.Option) {
		if (short || listed) && r.IsOptionRequested(o.Code) {
			d.UpdateOption(o)
		}
	}
	d.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(s.Prefix.Bits(), 32)))
	add(true, dhcpv4.OptBroadcastAddress(broadcast(s.Prefix).AsSlice()))
	if s.Gateway.IsValid() {
		add(true, dhcpv4.OptRouter(s.Gateway.AsSlice()))
	}
	if len(s.DNS) > 0 {
		add(true, dhcpv4.OptDNS(slices4(s.DNS)...))
	}
	if s.Domain != "" {
		add(true, dhcpv4.OptDomainName(s.Domain))
	}
	if s.MTU != 0 {
		add(true, dhcpv4.OptGeneric(dhcpv4.OptionInterfaceMTU, binary.BigEndian.AppendUint16(nil, uint16(s.MTU))))
	}
	if len(s.NTP) > 0 {
		add(false, dhcpv4.OptNTPServers(slices4(s.NTP)...))
	}
	if len(s.Search) > 0 {
		add(false, dhcpv4.OptDomainSearch(&rfc1035label.Labels{Labels: s.Search}))
	}
	if len(s.Routes) > 0 {
		add(false, dhcpv4.OptClasslessStaticRoute(s.routes()...))
	}
}

// routes ends with the default route: a client that takes option 121 ignores the router option (RFC 3442).
func (s *Subnet) routes() []*dhcpv4.Route {
	list := make([]*dhcpv4.Route, 0, len(s.Routes)+1)
	for _, r := range s.Routes {
		list = append(list, route(r.To, r.Via))
	}
	if s.Gateway.IsValid() {
		list = append(list, route(netip.PrefixFrom(netip.IPv4Unspecified(), 0), s.Gateway))
	}
	return list
}

func route(to netip.Prefix, via netip.Addr) *dhcpv4.Route {
	return &dhcpv4.Route{
		Dest:   &net.IPNet{IP: to.Masked().Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), 32)},
		Router: via.AsSlice(),
	}
}

// addBoot adds what to boot for a client that boots.
func (e *engine) addBoot(r request, d *dhcpv4.DHCPv4) {
	client, boots := clientOf(r.DHCPv4, e.server)
	if !boots {
		return
	}
	offer := e.boot.Boot(client)
	if offer.BootFile == "" {
		return
	}
	bootFields(r.DHCPv4, d, client, offer)
	switch {
	case client.IPXE: // no-pxedhcp: do not wait for the answer of a ProxyDHCP server
		d.UpdateOption(dhcpv4.OptGeneric(optionIPXE, []byte{176, 1, 1}))
	case client.PXE:
		d.UpdateOption(dhcpv4.OptGeneric(optionPXEVendor, takeBootFile()))
	}
}

// takeBootFile is PXE's discovery control: take the boot file of this answer, look for no boot server.
func takeBootFile() []byte { return []byte{6, 1, 8, 255} }

// bootFields names server and boot file, and repeats the class and identifier by which firmware knows its answer.
func bootFields(r, d *dhcpv4.DHCPv4, client Client, offer Offer) {
	if offer.NextServer.IsValid() {
		d.ServerIPAddr = offer.NextServer.AsSlice()
		if r.IsOptionRequested(dhcpv4.OptionTFTPServerName) {
			d.UpdateOption(dhcpv4.OptTFTPServerName(offer.NextServer.String()))
		}
	}
	if len(offer.BootFile) <= fileField {
		d.BootFileName = offer.BootFile
	}
	if len(offer.BootFile) > fileField || client.HTTP || r.IsOptionRequested(dhcpv4.OptionBootfileName) {
		d.UpdateOption(dhcpv4.OptBootFileName(offer.BootFile))
	}
	for code, value := range map[dhcpv4.OptionCode]string{
		dhcpv4.OptionPXELinuxConfigFile: offer.ConfigFile, dhcpv4.OptionPXELinuxPathPrefix: offer.PathPrefix,
	} {
		if value != "" && r.ParameterRequestList().Has(code) {
			d.UpdateOption(dhcpv4.OptGeneric(code, []byte(value)))
		}
	}
	if offer.VendorClass != "" && (client.PXE || client.HTTP) {
		d.UpdateOption(dhcpv4.OptClassIdentifier(offer.VendorClass))
	}
	if id := r.Options.Get(dhcpv4.OptionClientMachineIdentifier); len(id) > 0 {
		d.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionClientMachineIdentifier, id))
	}
}

func slices4(list []netip.Addr) []net.IP {
	ips := make([]net.IP, len(list))
	for i, a := range list {
		ips[i] = a.AsSlice()
	}
	return ips
}

func seconds(d time.Duration) []byte { return dhcpv4.Duration(d).ToBytes() }
