package dhcp6

import (
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/slipway-io/slipway/services/dhcp"
	"github.com/slipway-io/slipway/services/dhcp/lease"
)

const (
	offerHold   = time.Minute      // how long an advertised address waits for its REQUEST
	declineHold = 10 * time.Minute // how long an address in foreign use is left alone
	rewindEvery = time.Minute      // how often an exhausted range is searched from its start
)

// Outcome is what became of a packet; it is a metric's label.
type Outcome string

// Outcomes.
const (
	Advertised Outcome = "advertise"
	Leased     Outcome = "lease"
	Informed   Outcome = "information"
	Confirmed  Outcome = "confirm"
	Refused    Outcome = "refused" // answered, with a status that is not success
	Released   Outcome = "released"
	Declined   Outcome = "declined"
	Foreign    Outcome = "foreign" // not for this server
	Unknown    Outcome = "unknown-network"
	Exhausted  Outcome = "exhausted" // no address is left
	Malformed  Outcome = "malformed"
)

// Decision is all that has to be done for one packet. Records are on disk before the reply leaves.
type Decision struct {
	Outcome Outcome
	Client  string
	Address netip.Addr // that the packet was about, if any
	Subnet  netip.Prefix
	Reply   dhcpv6.DHCPv6 // nil when nothing is answered
	Records []lease.Lease
}

// engine decides. It does no I/O and does not read the clock.
type engine struct {
	server       netip.Addr
	duid         dhcpv6.DUID
	proxy        bool
	subnets      []Subnet
	boot         Boot
	reservations Reservations
	leases       *lease.Table
	rewound      []time.Time
}

func newEngine(cfg Config, duid dhcpv6.DUID, boot Boot, reservations Reservations) *engine {
	subnets := cfg.subnets()
	var ranges [][]lease.Range
	for i := range subnets {
		if cfg.Proxy {
			subnets[i].Ranges = nil
		}
		ranges = append(ranges, subnets[i].Ranges)
	}
	return &engine{
		cfg.Address.Addr(), duid, cfg.Proxy, subnets, boot, reservations, lease.NewTable(ranges), make([]time.Time, len(subnets)),
	}
}

// load takes leases from the log; those of networks that are no longer served are left out.
func (e *engine) load(leases []lease.Lease) (taken int) {
	for _, l := range leases {
		if i, ok := e.subnetOf(l.Address); ok {
			e.leases.Put(i, l, false)
			taken++
		}
	}
	return taken
}

func (e *engine) subnetOf(a netip.Addr) (int, bool) {
	for i, s := range e.subnets {
		if s.Prefix.Contains(a) {
			return i, true
		}
	}
	return 0, false
}

func (e *engine) decide(now time.Time, a arrival) Decision {
	r, err := e.open(now, a)
	switch {
	case errors.Is(err, errUnknown):
		return Decision{Outcome: Unknown, Client: r.client}
	case err != nil:
		return Decision{Outcome: Malformed}
	}
	d := e.answer(r)
	d.Client, d.Subnet = r.client, e.subnets[r.subnet].Prefix
	if d.Reply != nil && len(r.relays) > 0 {
		wrapped, err := dhcpv6.NewRelayReplFromRelayForw(r.relays[0], d.Reply.(*dhcpv6.Message))
		if err != nil {
			return Decision{Outcome: Malformed}
		}
		d.Reply = wrapped
	}
	return d
}

// answer keeps the rules of RFC 8415 §16 about who is meant.
func (e *engine) answer(r request) Decision {
	asked := r.Options.ServerID()
	ours := asked != nil && string(asked.ToBytes()) == string(e.duid.ToBytes())
	if asked != nil && !ours {
		e.forget(r)
		return Decision{Outcome: Foreign}
	}
	if r.Options.ClientID() == nil && r.MessageType != dhcpv6.MessageTypeInformationRequest {
		return Decision{Outcome: Malformed}
	}
	switch r.MessageType {
	case dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeConfirm, dhcpv6.MessageTypeRebind:
		if asked != nil {
			return Decision{Outcome: Malformed}
		}
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline:
		if asked == nil {
			return Decision{Outcome: Malformed}
		}
	}
	if e.proxy {
		return e.bootOnly(r)
	}
	switch r.MessageType {
	case dhcpv6.MessageTypeSolicit:
		return e.solicit(r)
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRebind:
		return e.request(r)
	case dhcpv6.MessageTypeConfirm:
		return e.confirm(r)
	case dhcpv6.MessageTypeRelease:
		return e.release(r)
	case dhcpv6.MessageTypeDecline:
		return e.decline(r)
	case dhcpv6.MessageTypeInformationRequest:
		return Decision{Outcome: Informed, Reply: e.reply(r, dhcpv6.MessageTypeReply)}
	}
	return Decision{Outcome: Malformed}
}

// forget takes back an offer whose client has chosen another server.
func (e *engine) forget(r request) {
	if held := e.leases.ByClient(r.subnet, r.client); held != nil && held.Offered {
		e.leases.Expire(held, r.now)
	}
}

// bootOnly answers in mode proxy: an advertisement without an address, beside that of the other server.
func (e *engine) bootOnly(r request) Decision {
	kind := dhcpv6.MessageTypeReply
	switch r.MessageType {
	case dhcpv6.MessageTypeSolicit:
		kind = dhcpv6.MessageTypeAdvertise
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeInformationRequest:
	default:
		return Decision{Outcome: Foreign}
	}
	m := e.base(r, kind)
	if !e.addBoot(r, m) {
		return Decision{Outcome: Foreign}
	}
	return Decision{Outcome: Informed, Reply: m}
}

func (e *engine) solicit(r request) Decision {
	ias := r.Options.IANA()
	rapid := r.GetOneOption(dhcpv6.OptionRapidCommit) != nil
	kind := dhcpv6.MessageTypeAdvertise
	if rapid {
		kind = dhcpv6.MessageTypeReply
	}
	if len(ias) == 0 {
		return Decision{Outcome: Refused, Reply: e.none(r, dhcpv6.MessageTypeAdvertise, nil)}
	}
	a, hostname, ok := e.choose(r, wanted(ias[0]))
	if !ok {
		// Without ranges the network has no addresses by design, and a client may boot with one of its own making.
		d := Decision{Outcome: Exhausted, Reply: e.none(r, dhcpv6.MessageTypeAdvertise, ias)}
		if len(e.subnets[r.subnet].Ranges) == 0 {
			d.Outcome = Refused
		}
		return d
	}
	d := Decision{Outcome: Advertised, Address: a}
	if rapid {
		d.Outcome, d.Records = Leased, e.grant(r, a, hostname)
	} else if held := e.leases.ByAddr(a); held == nil || held.Offered || held.Client != r.client || !held.Active(r.now) {
		e.leases.Put(r.subnet, lease.Lease{Address: a, Client: r.client, Hostname: hostname, Expires: r.now.Add(offerHold)}, true)
	}
	m := e.reply(r, kind)
	if rapid {
		m.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionRapidCommit})
	}
	e.addAddress(r, m, ias, a, nil)
	d.Reply = m
	return d
}

// keep picks the address of a client that has one or was offered one: the reserved one, else what it names, else any.
func (e *engine) keep(r request, want []netip.Addr) (netip.Addr, string, bool) {
	_, _, reserved := e.reservation(r)
	for _, a := range want {
		if !reserved && e.mayHave(r, a) {
			return a, "", true
		}
	}
	return e.choose(r, nil)
}

// choose picks an address: the reserved one, the one that the client has or had, one of those that it asks for, a free one.
func (e *engine) choose(r request, want []netip.Addr) (netip.Addr, string, bool) {
	if a, hostname, ok := e.reservation(r); ok {
		return a, hostname, true
	}
	if had := e.leases.ByClient(r.subnet, r.client); had != nil && e.mayHave(r, had.Address) {
		return had.Address, "", true
	}
	for _, a := range want {
		if e.mayHave(r, a) {
			return a, "", true
		}
	}
	usable := func(a netip.Addr) bool { return e.mayHave(r, a) }
	a, ok := e.leases.Free(r.subnet, r.now, usable)
	if !ok && r.now.Sub(e.rewound[r.subnet]) >= rewindEvery {
		e.rewound[r.subnet] = r.now
		e.leases.Rewind(r.subnet)
		a, ok = e.leases.Free(r.subnet, r.now, usable)
	}
	return a, "", ok
}

// reservation finds the client's own address, unless another client still has a lease on it.
func (e *engine) reservation(r request) (netip.Addr, string, bool) {
	if r.mac == nil {
		return netip.Addr{}, "", false
	}
	a, hostname, ok := e.reservations.Reservation(r.mac)
	if !ok || !e.subnets[r.subnet].Prefix.Contains(a) || a == e.server || !e.unused(r, a) {
		return netip.Addr{}, "", false
	}
	return a, hostname, true
}

// mayHave tells whether the client may get an address of the ranges.
func (e *engine) mayHave(r request, a netip.Addr) bool {
	inside := slices.ContainsFunc(e.subnets[r.subnet].Ranges, func(s lease.Range) bool { return s.Contains(a) })
	return inside && !e.reservations.Reserved(a) && e.unused(r, a)
}

func (e *engine) unused(r request, a netip.Addr) bool {
	held := e.leases.ByAddr(a)
	return held == nil || held.Client == r.client || (!held.Active(r.now) && !dhcp.Keeps(e.reservations, held))
}

// grant makes the lease; what the client had before in that network ends.
func (e *engine) grant(r request, a netip.Addr, hostname string) []lease.Lease {
	var records []lease.Lease
	if old := e.leases.ByClient(r.subnet, r.client); old != nil && old.Address != a && old.Active(r.now) {
		wasLease := !old.Offered
		e.leases.Expire(old, r.now)
		if wasLease {
			records = append(records, old.Lease)
		}
	}
	l := lease.Lease{Address: a, Client: r.client, Hostname: hostname, Expires: r.now.Add(e.subnets[r.subnet].LeaseTime)}
	e.leases.Put(r.subnet, l, false)
	return append(records, l)
}

// request answers REQUEST, RENEW and REBIND (RFC 8415 §18.3.2, 4, 5). A client that renews an address of ours without a
// record keeps it when it is free: after a lost log the machines keep what they have.
func (e *engine) request(r request) Decision {
	ias := r.Options.IANA()
	if len(ias) == 0 {
		return Decision{Outcome: Refused, Reply: e.none(r, dhcpv6.MessageTypeReply, nil)}
	}
	want := wanted(ias[0])
	if r.MessageType == dhcpv6.MessageTypeRebind && !slices.ContainsFunc(want, func(a netip.Addr) bool { return e.speaksFor(r, a) }) {
		return Decision{Outcome: Foreign}
	}
	a, hostname, ok := e.keep(r, want)
	if !ok {
		return Decision{Outcome: Exhausted, Reply: e.none(r, dhcpv6.MessageTypeReply, ias)}
	}
	m := e.reply(r, dhcpv6.MessageTypeReply)
	gone := slices.DeleteFunc(want, func(w netip.Addr) bool { return w == a })
	e.addAddress(r, m, ias, a, gone)
	return Decision{Outcome: Leased, Address: a, Reply: m, Records: e.grant(r, a, hostname)}
}

// speaksFor tells whether an address is one that this server decides about: in its ranges or reserved, or wrong on that
// network. Any server hears a REBIND.
func (e *engine) speaksFor(r request, a netip.Addr) bool {
	s := e.subnets[r.subnet]
	return !s.Prefix.Contains(a) || e.reservations.Reserved(a) || e.leases.ByAddr(a) != nil ||
		slices.ContainsFunc(s.Ranges, func(s lease.Range) bool { return s.Contains(a) })
}

// confirm says whether addresses fit the network that the client woke up in.
func (e *engine) confirm(r request) Decision {
	var asked []netip.Addr
	for _, ia := range r.Options.IANA() {
		asked = append(asked, wanted(ia)...)
	}
	if len(asked) == 0 {
		return Decision{Outcome: Malformed}
	}
	m := e.base(r, dhcpv6.MessageTypeReply)
	for _, a := range asked {
		if !e.subnets[r.subnet].Prefix.Contains(a) {
			m.AddOption(status(iana.StatusNotOnLink))
			return Decision{Outcome: Refused, Address: a, Reply: m}
		}
	}
	m.AddOption(status(iana.StatusSuccess))
	return Decision{Outcome: Confirmed, Address: asked[0], Reply: m}
}

// release ends leases at once; the address stays the client's first choice.
func (e *engine) release(r request) Decision {
	return e.giveBack(r, Released, func(held *lease.Entry) lease.Lease {
		e.leases.Expire(held, r.now)
		return held.Lease
	})
}

// decline sets addresses aside that the client found in use by someone else.
func (e *engine) decline(r request) Decision {
	return e.giveBack(r, Declined, func(held *lease.Entry) lease.Lease {
		aside := lease.Lease{Address: held.Address, Expires: r.now.Add(declineHold)}
		e.leases.Put(r.subnet, aside, false)
		return aside
	})
}

func (e *engine) giveBack(r request, outcome Outcome, end func(*lease.Entry) lease.Lease) Decision {
	d := Decision{Outcome: Refused}
	m := e.base(r, dhcpv6.MessageTypeReply)
	for _, ia := range r.Options.IANA() {
		known := false
		for _, a := range wanted(ia) {
			held := e.leases.ByAddr(a)
			if held == nil || held.Client != r.client || held.Offered || held.Subnet != r.subnet {
				continue
			}
			known = true
			d.Outcome, d.Address, d.Records = outcome, a, append(d.Records, end(held))
		}
		if !known {
			m.AddOption(&dhcpv6.OptIANA{IaId: ia.IaId, Options: dhcpv6.IdentityOptions{Options: dhcpv6.Options{status(iana.StatusNoBinding)}}})
		}
	}
	m.AddOption(status(iana.StatusSuccess))
	d.Reply = m
	return d
}

// wantedMost bounds what one message can ask about.
const wantedMost = 16

func wanted(ia *dhcpv6.OptIANA) []netip.Addr {
	var list []netip.Addr
	for _, o := range ia.Options.Addresses() {
		if a := addr6(o.IPv6Addr); a.IsValid() && len(list) < wantedMost && !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list
}
