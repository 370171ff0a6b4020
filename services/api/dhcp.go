package api

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Modes of DHCP on an interface.
const (
	DHCPServer = "server" // gives out leases, alone on its network
	DHCPProxy  = "proxy"  // adds what to boot to the leases of a DHCP server that is not ours
	DHCPOff    = "off"
)

// DHCP is what an interface does about DHCP.
type DHCP struct {
	// Mode is "server", "proxy" or "off" (the default).
	Mode string `json:"mode,omitempty"`
	// Pool is one or more ranges "first-last", separated by commas, of either family. Without one only reservations are served.
	Pool    string       `json:"pool,omitempty"`
	Gateway netip.Addr   `json:"gateway,omitempty,omitzero"`
	NTP     []netip.Addr `json:"ntp,omitempty"`
	// MTU in bytes; hosts keep theirs when 0.
	MTU    int     `json:"mtu,omitempty"`
	Routes []Route `json:"routes,omitempty"`
	// SLAAC says whether hosts make IPv6 addresses by themselves (RFC 4862); by default they do where the pool has none for them.
	SLAAC *bool `json:"slaac,omitempty"`
	// Search lists domains; the site's own when empty.
	Search       []string        `json:"search,omitempty"`
	LeaseTime    metav1.Duration `json:"leaseTime,omitempty,omitzero"`
	Reservations []Reservation   `json:"reservations,omitempty"`
	// SecureBoot starts the signed chain (shim, GRUB) on every x86 UEFI machine of this network for which neither a
	// BareMetalHost nor an InfraEnv says otherwise; iPXE when false.
	SecureBoot bool `json:"secureBoot,omitempty"`
	// Relayed are networks that relay agents forward from.
	Relayed []Relayed `json:"relayed,omitempty"`
}

// Relayed is a network behind a relay agent that has an address in it. In mode proxy only Subnet counts.
type Relayed struct {
	Subnet    netip.Prefix    `json:"subnet"`
	Pool      string          `json:"pool,omitempty"`
	Gateway   netip.Addr      `json:"gateway,omitempty,omitzero"`
	NTP       []netip.Addr    `json:"ntp,omitempty"`
	MTU       int             `json:"mtu,omitempty"`
	Routes    []Route         `json:"routes,omitempty"`
	Search    []string        `json:"search,omitempty"`
	LeaseTime metav1.Duration `json:"leaseTime,omitempty,omitzero"`
}

// Route sends a network through a router.
type Route struct {
	To  netip.Prefix `json:"to"`
	Via netip.Addr   `json:"via"`
}

// Reservation fixes the address of a MAC.
type Reservation struct {
	MAC      string     `json:"mac"`
	Address  netip.Addr `json:"address"`
	Hostname string     `json:"hostname,omitempty"`
}

func (d *DHCP) setDefaults() {
	if d.Mode == "" || d.Mode == unquotedOff {
		d.Mode = DHCPOff
	}
	if d.LeaseTime.Duration == 0 {
		d.LeaseTime.Duration = time.Hour
	}
	for i := range d.Relayed {
		if d.Relayed[i].LeaseTime.Duration == 0 {
			d.Relayed[i].LeaseTime = d.LeaseTime
		}
	}
}

// Ranges parses the pool into pairs of first and last address; both are of one family.
func (d DHCP) Ranges() ([][2]netip.Addr, error) {
	if d.Mode != DHCPServer {
		return nil, nil
	}
	return parseRanges(d.Pool)
}

// Ranges parses the pool into pairs of first and last address; both are of one family.
func (r Relayed) Ranges() ([][2]netip.Addr, error) { return parseRanges(r.Pool) }

func parseRanges(pool string) ([][2]netip.Addr, error) {
	if strings.TrimSpace(pool) == "" {
		return nil, nil
	}
	var ranges [][2]netip.Addr
	for part := range strings.SplitSeq(pool, ",") {
		first, last, ok := strings.Cut(strings.TrimSpace(part), "-")
		if !ok {
			return nil, fmt.Errorf("%q is not a range first-last, as 10.7.0.50-10.7.0.199", part)
		}
		from, err := netip.ParseAddr(strings.TrimSpace(first))
		if err != nil {
			return nil, err
		}
		to, err := netip.ParseAddr(strings.TrimSpace(last))
		if err != nil {
			return nil, err
		}
		if from.Is4() != to.Is4() {
			return nil, fmt.Errorf("%s and %s are of two families", from, to)
		}
		if to.Less(from) {
			return nil, fmt.Errorf("%s comes after %s", from, to)
		}
		ranges = append(ranges, [2]netip.Addr{from, to})
	}
	return ranges, nil
}

func (n Interface) validateDHCP(where string) []error {
	d := n.DHCP
	switch d.Mode {
	case DHCPOff:
		return nil
	case DHCPServer:
	case DHCPProxy:
		return d.validateProxy(where, n)
	default:
		return []error{fmt.Errorf("%s.mode: %q is none of server, proxy, off", where, d.Mode)}
	}
	var faults []error
	faults = append(faults, d.validateIPv6(where, n)...)
	served := slices.Clone(n.Addresses)
	faults = append(faults, validateNetwork(where, n.Addresses, d.Pool, d.Gateway, d.MTU, d.Routes, d.Search)...)
	for i, r := range d.Relayed {
		at := fmt.Sprintf("%s.relayed[%d]", where, i)
		if !r.Subnet.IsValid() || r.Subnet != r.Subnet.Masked() {
			faults = append(faults, fmt.Errorf("%s.subnet: %s is not a network, as 10.8.0.0/24", at, r.Subnet))
			continue
		}
		for _, other := range served {
			if other.Overlaps(r.Subnet) {
				faults = append(faults, fmt.Errorf("%s.subnet: %s overlaps %s", at, r.Subnet, other.Masked()))
			}
		}
		served = append(served, r.Subnet)
		faults = append(faults, validateNetwork(at, []netip.Prefix{r.Subnet}, r.Pool, r.Gateway, r.MTU, r.Routes, r.Search)...)
	}
	return append(faults, d.validateReservations(where, served)...)
}

// validateProxy refuses what only the other server can give: who writes it expects it to work.
func (d DHCP) validateProxy(where string, n Interface) []error {
	var faults []error
	for _, key := range []struct {
		name string
		set  bool
	}{
		{"pool", d.Pool != ""}, {"gateway", d.Gateway.IsValid()}, {"ntp", len(d.NTP) > 0}, {"mtu", d.MTU != 0},
		{"routes", len(d.Routes) > 0}, {"slaac", d.SLAAC != nil}, {"search", len(d.Search) > 0}, {"reservations", len(d.Reservations) > 0},
	} {
		if key.set {
			faults = append(faults, fmt.Errorf("%s.%s: in mode proxy the other DHCP server gives it; remove it here, or use mode server", where, key.name))
		}
	}
	for i, r := range d.Relayed {
		if !r.Subnet.IsValid() || r.Subnet != r.Subnet.Masked() {
			faults = append(faults, fmt.Errorf("%s.relayed[%d].subnet: %s is not a network, as 10.8.0.0/24", where, i, r.Subnet))
		}
	}
	return faults
}

func validateNetwork(where string, prefixes []netip.Prefix, pool string, gateway netip.Addr, mtu int, routes []Route, search []string) []error {
	var faults []error
	fault := func(key, format string, args ...any) {
		faults = append(faults, fmt.Errorf("%s.%s: %w", where, key, fmt.Errorf(format, args...)))
	}
	inside := func(a netip.Addr) bool {
		return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	ranges, err := parseRanges(pool)
	if err != nil {
		fault("pool", "%w", err)
	}
	for _, r := range ranges {
		for _, end := range r {
			if !inside(end) {
				fault("pool", "%s is outside %s", end, texts(prefixes))
			}
		}
	}
	if gateway.IsValid() && !inside(gateway) {
		fault("gateway", "%s is outside %s", gateway, texts(prefixes))
	}
	if mtu != 0 && (mtu < 576 || mtu > 65535) {
		fault("mtu", "%d is not between 576 and 65535 bytes", mtu)
	}
	for i, r := range routes {
		key := fmt.Sprintf("routes[%d]", i)
		switch {
		case !r.To.IsValid() || r.To != r.To.Masked():
			fault(key, "to: %s is not a network, as 10.9.0.0/16", r.To)
		case r.To.Addr().Is4() != r.Via.Is4():
			fault(key, "via: %s is not of the family of %s", r.Via, r.To)
		case r.Via.Is4() && !inside(r.Via):
			fault(key, "via: %s is outside %s: a router must be on the hosts' own network", r.Via, texts(prefixes))
		}
	}
	for i, domain := range search {
		if problems := validation.IsDNS1123Subdomain(domain); len(problems) > 0 {
			fault(fmt.Sprintf("search[%d]", i), "%q: %s", domain, strings.Join(problems, "; "))
		}
	}
	return faults
}

// texts are the networks, for a message.
func texts(prefixes []netip.Prefix) string {
	list := make([]string, len(prefixes))
	for i, prefix := range prefixes {
		list[i] = prefix.Masked().String()
	}
	return strings.Join(list, ", ")
}

func (d DHCP) validateReservations(where string, served []netip.Prefix) []error {
	var faults []error
	owners := map[netip.Addr]int{}
	for i, r := range d.Reservations {
		at := fmt.Sprintf("%s.reservations[%d]", where, i)
		if _, err := net.ParseMAC(r.MAC); err != nil {
			faults = append(faults, fmt.Errorf("%s.mac: %q is not a MAC address, as 52:54:00:aa:bb:cc", at, r.MAC))
		}
		if !slices.ContainsFunc(served, func(p netip.Prefix) bool { return p.Contains(r.Address) }) {
			faults = append(faults, fmt.Errorf("%s.address: %s is in no network that this interface serves", at, r.Address))
		}
		if other, taken := owners[r.Address]; taken {
			faults = append(faults, fmt.Errorf("%s.address: %s is taken by reservations[%d]", at, r.Address, other))
		}
		owners[r.Address] = i
	}
	return faults
}

// overlaps finds pools of the whole file that share addresses.
func (c *Config) overlaps() []error {
	type span struct {
		where    string
		from, to netip.Addr
	}
	var spans []span
	add := func(where string, ranges [][2]netip.Addr, err error) {
		if err != nil {
			return // said by validateNetwork
		}
		for _, r := range ranges {
			spans = append(spans, span{where, r[0], r[1]})
		}
	}
	for _, name := range c.InterfaceNames() {
		d := c.Interfaces[name].DHCP
		ranges, err := d.Ranges()
		add("interfaces."+name+".dhcp.pool", ranges, err)
		for i, r := range d.Relayed {
			ranges, err := r.Ranges()
			add(fmt.Sprintf("interfaces.%s.dhcp.relayed[%d].pool", name, i), ranges, err)
		}
	}
	sort.Slice(spans, func(i, j int) bool { return spans[i].from.Less(spans[j].from) })
	var faults []error
	for i := 1; i < len(spans); i++ {
		if !spans[i-1].to.Less(spans[i].from) {
			faults = append(faults, fmt.Errorf("%s: %s-%s overlaps %s-%s of %s", spans[i].where, spans[i].from, spans[i].to,
				spans[i-1].from, spans[i-1].to, spans[i-1].where))
		}
	}
	return faults
}

// validateIPv6 refuses what router advertisements cannot say.
func (d DHCP) validateIPv6(where string, n Interface) []error {
	own, ok := n.IPv6()
	if !ok {
		if d.SLAAC != nil {
			return []error{fmt.Errorf("%s.slaac: the interface has no IPv6 address", where)}
		}
		return nil
	}
	var faults []error
	if d.SLAAC != nil && *d.SLAAC && own.Bits() != 64 {
		faults = append(faults, fmt.Errorf("%s.slaac: hosts make addresses by themselves in a /64 only, not in %s", where, own.Masked()))
	}
	if d.Gateway.Is6() && d.Gateway != own.Addr() {
		faults = append(faults, fmt.Errorf("%s.gateway: an IPv6 router advertises itself; leave %s out, or give the appliance's own address %s when it is the router",
			where, d.Gateway, own.Addr()))
	}
	return faults
}

// Managed says whether hosts get IPv6 addresses by DHCPv6: there is a pool or a reservation for them.
func (d DHCP) Managed() bool {
	ranges, err := d.Ranges()
	return (err == nil && len(IPv6Ranges(ranges)) > 0) || slices.ContainsFunc(d.Reservations, func(r Reservation) bool { return r.Address.Is6() })
}

// IPv4Ranges are the ranges of IPv4.
func IPv4Ranges(ranges [][2]netip.Addr) [][2]netip.Addr { return rangesOf(netip.Addr.Is4, ranges) }

// IPv6Ranges are the ranges of IPv6.
func IPv6Ranges(ranges [][2]netip.Addr) [][2]netip.Addr { return rangesOf(netip.Addr.Is6, ranges) }

func rangesOf(family func(netip.Addr) bool, ranges [][2]netip.Addr) [][2]netip.Addr {
	var list [][2]netip.Addr
	for _, r := range ranges {
		if family(r[0]) {
			list = append(list, r)
		}
	}
	return list
}
