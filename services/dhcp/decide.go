package dhcp

import (
	"encoding/hex"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/slipway-io/slipway/services/dhcp/lease"
)

const (
	offerHold   = time.Minute      // how long an offered address waits for its REQUEST
	declineHold = 10 * time.Minute // how long an address in foreign use is left alone
	rewindEvery = time.Minute      // how often an exhausted range is searched from its start
)

// Outcome is what became of a packet; it is a metric's label.
type Outcome string

// Outcomes.
const (
	Offered   Outcome = "offer"
	Acked     Outcome = "ack"
	Naked     Outcome = "nak"
	Released  Outcome = "released"
	Declined  Outcome = "declined"
	Foreign   Outcome = "foreign"   // not for this server, or not from a network that it serves
	Exhausted Outcome = "exhausted" // no address is left
	Malformed Outcome = "malformed"
	Unknown   Outcome = "unknown-network" // relayed from a network that is not configured
	NoBoot    Outcome = "nothing-to-boot" // proxy: the client does not boot, or there is nothing for it
)

// Decision is all that has to be done for one packet. Records are on disk before the reply leaves.
type Decision struct {
	Outcome Outcome
	Subnet  netip.Prefix
	Reply   *dhcpv4.DHCPv4 // nil when nothing is answered
	Records []Lease
	Other   netip.Addr // the DHCP server on this link that the client chose instead of us
}

// arrival is a packet as it came.
type arrival struct {
	*dhcpv4.DHCPv4
	from netip.AddrPort
	boot bool // on the boot server's port, 4011
}

// engine decides. It does no I/O and does not read the clock.
type engine struct {
	server       netip.Addr
	subnets      []Subnet
	boot         Boot
	reservations Reservations
	leases       *lease.Table
	reserves     []reserve // per subnet
	rewound      []time.Time
}

func newEngine(cfg Config, boot Boot, reservations Reservations) *engine {
	subnets := cfg.subnets()
	return &engine{cfg.Address.Addr(), subnets, boot, reservations, newTable(subnets), make([]reserve, len(subnets)), make([]time.Time, len(subnets))}
}

// load takes leases from the log; those of networks that are no longer served are left out.
func (e *engine) load(leases []Lease) (taken int) {
	for _, l := range leases {
		if i, ok := e.subnetOf(l.Address); ok {
			e.leases.Put(i, l, false)
			taken++
		}
	}
	return taken
}

// request is a packet with what decide found out about it.
type request struct {
	*dhcpv4.DHCPv4
	now    time.Time
	subnet int
	client string
}

func (e *engine) decide(now time.Time, p *dhcpv4.DHCPv4) Decision {
	r := request{DHCPv4: p, now: now, client: clientKey(p)}
	if p.OpCode != dhcpv4.OpcodeBootRequest || r.client == "" {
		return Decision{Outcome: Malformed}
	}
	var ok bool
	if r.subnet, ok = e.network(p); !ok {
		return Decision{Outcome: Unknown}
	}
	var d Decision
	switch p.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		d = e.discover(r)
	case dhcpv4.MessageTypeRequest:
		d = e.request(r)
	case dhcpv4.MessageTypeDecline:
		d = e.decline(r)
	case dhcpv4.MessageTypeRelease:
		d = e.release(r)
	case dhcpv4.MessageTypeInform:
		d = Decision{Outcome: Acked, Reply: e.inform(r)}
	default:
		d = Decision{Outcome: Malformed}
	}
	d.Subnet = e.subnets[r.subnet].Prefix
	return d
}

// network finds the client's subnet: the relay's, else, for a client that renews through a router, that of its own address,
// else the interface's network.
func (e *engine) network(p *dhcpv4.DHCPv4) (int, bool) {
	if link := relayLink(p); link.IsValid() {
		return e.subnetOf(link)
	}
	if i, ok := e.subnetOf(addr4(p.ClientIPAddr)); ok {
		return i, true
	}
	return 0, true
}

// relayLink is an address of the network that a relayed packet comes from: the relay's link selection (RFC 3527), else the
// relay's address. It is the zero Addr for a packet that was not relayed.
func relayLink(p *dhcpv4.DHCPv4) netip.Addr {
	giaddr := addr4(p.GatewayIPAddr)
	if !giaddr.IsValid() {
		return netip.Addr{}
	}
	if link := relayOption(p, dhcpv4.LinkSelectionSubOption); link.IsValid() {
		return link
	}
	return giaddr
}

// relayOption is an address that a relay agent put into its option (RFC 3046).
func relayOption(p *dhcpv4.DHCPv4, code dhcpv4.OptionCode) netip.Addr {
	if !p.Options.Has(dhcpv4.OptionRelayAgentInformation) {
		return netip.Addr{}
	}
	info := p.RelayAgentInfo()
	if info == nil {
		return netip.Addr{}
	}
	return addr4(info.Get(code))
}

// serverID is who a client is told to answer: ourselves, or the relay that wants to see renewals too (RFC 5107).
func serverID(p *dhcpv4.DHCPv4, own netip.Addr) netip.Addr {
	if addr4(p.GatewayIPAddr).IsValid() {
		if override := relayOption(p, dhcpv4.ServerIdentifierOverrideSubOption); override.IsValid() {
			return override
		}
	}
	return own
}

// ours tells whether a client that names a server means this one.
func (e *engine) ours(r request) bool {
	server := addr4(r.ServerIdentifier())
	return server == e.server || (server.IsValid() && server == serverID(r.DHCPv4, e.server))
}

func (e *engine) subnetOf(a netip.Addr) (int, bool) {
	for i, s := range e.subnets {
		if s.Prefix.Contains(a) {
			return i, true
		}
	}
	return 0, false
}

func (e *engine) discover(r request) Decision {
	a, hostname, ok := e.choose(r)
	if !ok {
		return Decision{Outcome: Exhausted}
	}
	if held := e.leases.ByAddr(a); held == nil || held.Offered || held.Client != r.client || !held.Active(r.now) {
		e.leases.Put(r.subnet, Lease{Address: a, Client: r.client, Hostname: hostname, Expires: r.now.Add(offerHold)}, true)
	}
	return Decision{Outcome: Offered, Reply: e.reply(r, dhcpv4.MessageTypeOffer, a, hostname)}
}

// choose picks the address to offer: the reserved one, the one that the client has or had, the one it asks for, one
// of the reserve, a free one.
// A client may have a name without an address of its own.
func (e *engine) choose(r request) (netip.Addr, string, bool) {
	a, hostname, ok := e.reservation(r)
	if ok {
		return a, hostname, true
	}
	if had := e.leases.ByClient(r.subnet, r.client); had != nil && e.mayHave(r, had.Address) {
		return had.Address, hostname, true
	}
	if want := addr4(r.RequestedIPAddress()); want.IsValid() && e.mayHave(r, want) {
		return want, hostname, true
	}
	if a, ok := e.fromReserve(r); ok {
		return a, hostname, true
	}
	usable := func(a netip.Addr) bool { return e.mayHave(r, a) }
	a, ok = e.leases.Free(r.subnet, r.now, usable)
	if !ok && r.now.Sub(e.rewound[r.subnet]) >= rewindEvery {
		e.rewound[r.subnet] = r.now
		e.leases.Rewind(r.subnet)
		a, ok = e.leases.Free(r.subnet, r.now, usable)
	}
	return a, hostname, ok
}

// reservation finds the client's name and its own address, unless another client still has a lease on that.
func (e *engine) reservation(r request) (netip.Addr, string, bool) {
	a, hostname, ok := e.reservations.Reservation(r.ClientHWAddr)
	if !ok || !e.subnets[r.subnet].Prefix.Contains(a) || a == e.server || !e.unused(r, a) {
		return netip.Addr{}, hostname, false
	}
	return a, hostname, true
}

// mayHave tells whether the client may get an address of the ranges.
func (e *engine) mayHave(r request, a netip.Addr) bool {
	return e.inRanges(r.subnet, a) && !e.reservations.Reserved(a) && e.unused(r, a)
}

func (e *engine) inRanges(subnet int, a netip.Addr) bool {
	for _, s := range e.subnets[subnet].Ranges {
		if s.Contains(a) {
			return true
		}
	}
	return false
}

func (e *engine) unused(r request, a netip.Addr) bool {
	held := e.leases.ByAddr(a)
	return held == nil || held.Client == r.client || (!held.Active(r.now) && !Keeps(e.reservations, held))
}

// Keeps tells whether an expired lease stays its client's because the inventory knows the client.
func Keeps(reservations Reservations, held *lease.Entry) bool {
	if held.Offered || held.Client == "" {
		return false
	}
	mac, err := net.ParseMAC(held.Client)
	if err != nil {
		return false
	}
	a, _, known := reservations.Reservation(mac)
	return known && (!a.IsValid() || a == held.Address)
}

// request answers the four kinds of REQUEST of RFC 2131 §4.3.2. A client that asks for an address of ours without a
// record is given it when it is free: after a lost log the machines keep what they have.
func (e *engine) request(r request) Decision {
	want, current := addr4(r.RequestedIPAddress()), addr4(r.ClientIPAddr)
	selecting := len(r.ServerIdentifier()) > 0
	if selecting && !e.ours(r) {
		if held := e.leases.ByClient(r.subnet, r.client); held != nil && held.Offered {
			e.leases.Expire(held, r.now)
		}
		d := Decision{Outcome: Foreign}
		if !addr4(r.GatewayIPAddr).IsValid() {
			d.Other = addr4(r.ServerIdentifier())
		}
		return d
	}
	a := want
	if !a.IsValid() {
		a = current
	}
	if !a.IsValid() {
		return Decision{Outcome: Malformed}
	}
	reserved, hostname, fixed := e.reservation(r)
	if (fixed && a == reserved) || (!fixed && e.mayHave(r, a)) {
		return e.grant(r, a, hostname)
	}
	ours := !e.subnets[r.subnet].Prefix.Contains(a) || e.inRanges(r.subnet, a) || e.reservations.Reserved(a) || fixed
	if !selecting && !ours {
		return Decision{Outcome: Foreign}
	}
	return Decision{Outcome: Naked, Reply: e.nak(r)}
}

func (e *engine) grant(r request, a netip.Addr, hostname string) Decision {
	var records []Lease
	if old := e.leases.ByClient(r.subnet, r.client); old != nil && old.Address != a && old.Active(r.now) {
		wasLease := !old.Offered
		e.leases.Expire(old, r.now)
		if wasLease {
			records = append(records, old.Lease)
		}
	}
	lease := Lease{Address: a, Client: r.client, Hostname: hostname, Expires: r.now.Add(e.subnets[r.subnet].LeaseTime)}
	if hostname == "" {
		lease.Hostname = hostLabel(r.HostName())
	}
	e.leases.Put(r.subnet, lease, false)
	return Decision{Outcome: Acked, Reply: e.reply(r, dhcpv4.MessageTypeAck, a, hostname), Records: append(records, lease)}
}

// decline sets an address aside that its client found in use by someone else.
func (e *engine) decline(r request) Decision {
	held := e.leases.ByAddr(addr4(r.RequestedIPAddress()))
	if !e.ours(r) || held == nil || held.Client != r.client || held.Subnet != r.subnet {
		return Decision{Outcome: Foreign}
	}
	aside := Lease{Address: held.Address, Expires: r.now.Add(declineHold)}
	e.leases.Put(r.subnet, aside, false)
	return Decision{Outcome: Declined, Records: []Lease{aside}}
}

// release ends a lease at once; the address stays the client's first choice.
func (e *engine) release(r request) Decision {
	held := e.leases.ByAddr(addr4(r.ClientIPAddr))
	if !e.ours(r) || held == nil || held.Client != r.client || held.Offered || held.Subnet != r.subnet {
		return Decision{Outcome: Foreign}
	}
	e.leases.Expire(held, r.now)
	return Decision{Outcome: Released, Records: []Lease{held.Lease}}
}

// clientKey is the MAC, or the client identifier where the link has no addresses in packets (InfiniBand).
func clientKey(p *dhcpv4.DHCPv4) string {
	if len(p.ClientHWAddr) > 0 {
		return p.ClientHWAddr.String()
	}
	if id := p.Options.Get(dhcpv4.OptionClientIdentifier); len(id) > 0 {
		return "id:" + hex.EncodeToString(id)
	}
	return ""
}

// addr4 is the zero Addr for anything that is not the address of a host.
func addr4(ip net.IP) netip.Addr {
	a, ok := netip.AddrFromSlice(ip)
	if a = a.Unmap(); !ok || !a.Is4() || a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return netip.Addr{}
	}
	return a
}

// hostLabel keeps the first label of a name that a client claims, when it is one.
func hostLabel(name string) string {
	for i, c := range []byte(name) {
		switch {
		case c == '.' && i > 0:
			return name[:i]
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-' && i > 0:
		default:
			return ""
		}
		if i >= 63 {
			return ""
		}
	}
	return name
}
