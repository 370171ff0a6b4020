package nmstate

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// interfaceName is what the kernel takes, without what a keyfile or a shell would read otherwise.
var interfaceName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.@-]{0,14}$`)

// Types of interfaces.
const (
	ethernet = "ethernet"
	vlan     = "vlan"
	bond     = "bond"
	bridge   = "linux-bridge"
)

// mostInterfaces of a host.
const mostInterfaces = 256

// state is the document.
type state struct {
	interfaces []*device
	routes     []route
	servers    []server
	search     []string
}

// device is one interface of the document.
type device struct {
	path, name, kind string
	up               bool
	mtu              int64  // -1: the driver's
	mac              string // that it shall have
	hardware         string // the permanent one that a port is found by; by its name without one
	byMAC            bool
	v4, v6           family
	base             string // of a VLAN
	tag              int64
	mode             string // of a bond
	options          []setting
	ports            []port
	controller       *device
	given            bool // in the document, not only named by another interface
}

type setting struct{ key, value string }

type port struct {
	path, name string
	settings   []setting
}

type family struct {
	path                        string
	enabled, dhcp, autoconf     bool
	ignoreDNS, ignoreRoutes     bool
	neverDefault, stablePrivacy bool
	addresses                   []netip.Prefix
}

type route struct {
	path          string
	to            netip.Prefix
	via           netip.Addr
	device        string
	metric, table int64
}

type server struct {
	path    string
	address netip.Addr
}

func parse(config []byte, found *faults) *state {
	root := document(config, found)
	s := &state{}
	interfaces := root.objects("interfaces")
	if len(interfaces) > mostInterfaces {
		found.add("interfaces", "there are %d, at most %d are taken", len(interfaces), mostInterfaces)
		return s
	}
	seen := map[string]bool{}
	for _, o := range interfaces {
		d := parseDevice(o)
		if d.name != "" && seen[d.name] {
			found.add(o.at("name"), "interface %s is there twice", d.name)
		}
		seen[d.name] = true
		s.interfaces = append(s.interfaces, d)
	}
	routes := root.object("routes")
	for _, o := range routes.objects("config") {
		s.routes = append(s.routes, parseRoute(o))
	}
	routes.done()
	resolver := root.object("dns-resolver")
	s.resolver(resolver.object("config"))
	resolver.done()
	root.done()
	return s
}

func parseDevice(o *object) *device {
	d := &device{path: o.path, name: o.name("name"), given: true}
	if d.name == "" {
		o.found.add(o.at("name"), "the interface has no name")
	}
	d.kind = o.word("type", ethernet, vlan, bond, bridge)
	if d.kind == "" {
		o.found.add(o.at("type"), "the type is missing: ethernet, vlan, bond or linux-bridge")
	}
	is := o.word("state", "up", "down", "absent")
	d.up = is == "" || is == "up"
	d.mtu = o.number("mtu", 68, 65535)
	d.mac = o.mac("mac-address")
	d.byMAC = o.word("identifier", "name", "mac-address") == "mac-address"
	if d.byMAC && (d.kind != ethernet || d.mac == "") {
		o.found.add(o.at("identifier"), "mac-address is for an interface of type ethernet with a mac-address")
	}
	o.text("description")
	d.v4, d.v6 = parseFamily(o.object("ipv4"), 32), parseFamily(o.object("ipv6"), 128)
	const leastV6 = 1280
	if d.v6.enabled && d.mtu >= 0 && d.mtu < leastV6 {
		o.found.add(o.at("mtu"), "IPv6 needs at least %d", leastV6)
	}
	switch d.kind {
	case vlan:
		d.vlan(o.object("vlan"))
	case bond:
		d.bond(o.object("link-aggregation"))
	case bridge:
		d.bridge(o.object("bridge"))
	}
	o.done()
	return d
}

func (d *device) vlan(o *object) {
	const mostTag = 4094
	d.base, d.tag = o.name("base-iface"), o.number("id", 1, mostTag)
	if d.base == "" {
		o.found.add(o.at("base-iface"), "the interface that carries the VLAN is missing")
	}
	if !o.has("id") {
		o.found.add(o.at("id"), "the number of the VLAN is missing")
	}
	o.word("protocol", "802.1q")
	o.done()
}

// parseFamily reads ipv4 or ipv6; bits tells them apart.
func parseFamily(o *object, bits int) family {
	f := family{path: o.path}
	f.dhcp = o.yes("dhcp", false)
	if bits == 128 {
		f.autoconf = o.yes("autoconf", false)
		f.stablePrivacy = o.word("addr-gen-mode", "eui64", "stable-privacy") == "stable-privacy"
	}
	f.ignoreDNS = !o.yes("auto-dns", true)
	f.ignoreRoutes = !o.yes("auto-routes", true)
	f.neverDefault = !o.yes("auto-gateway", true)
	for _, entry := range o.objects("address") {
		f.address(entry, bits)
	}
	f.enabled = o.yes("enabled", f.dhcp || f.autoconf || len(f.addresses) > 0)
	if f.autoconf && !f.dhcp {
		o.found.add(o.at("autoconf"), "NetworkManager cannot do it without dhcp: with both it asks for what the router announces")
	}
	o.done()
	return f
}

func (f *family) address(o *object, bits int) {
	ip, length := o.address("ip"), o.number("prefix-length", 1, int64(bits))
	o.done()
	switch {
	case !ip.IsValid():
		o.found.add(o.at("ip"), "the address is missing")
	case ip.BitLen() != bits:
		o.found.add(o.at("ip"), "%s is of the other family", ip)
	case ip.IsUnspecified() || ip.IsLoopback() || ip.IsMulticast():
		o.found.add(o.at("ip"), "%s is no address of a host", ip)
	case length < 0:
		o.found.add(o.at("prefix-length"), "the length of the prefix is missing")
	case slices.ContainsFunc(f.addresses, func(p netip.Prefix) bool { return p.Addr() == ip }):
		o.found.add(o.at("ip"), "%s is there twice", ip)
	default:
		f.addresses = append(f.addresses, netip.PrefixFrom(ip, int(length)))
	}
}

func parseRoute(o *object) route {
	const mostMetric, mostTable, mainTable = 1<<32 - 1, 1<<32 - 1, 254
	r := route{path: o.path, via: o.address("next-hop-address"), device: o.name("next-hop-interface")}
	r.metric, r.table = o.number("metric", -1, mostMetric), o.number("table-id", 0, mostTable)
	if r.table == mainTable {
		r.table = 0
	}
	to, err := netip.ParsePrefix(o.text("destination"))
	switch {
	case err != nil || to.Addr().Is4In6():
		o.found.add(o.at("destination"), "%s is no network as 192.0.2.0/24", show(o.get("destination")))
	case to.Masked() != to:
		o.found.add(o.at("destination"), "%s has bits beyond its prefix, %s has not", to, to.Masked())
	case r.via.IsValid() && r.via.Is4() != to.Addr().Is4():
		o.found.add(o.at("next-hop-address"), "%s is of another family than the destination", r.via)
	}
	if r.device == "" {
		o.found.add(o.at("next-hop-interface"), "the interface is missing")
	}
	r.to = to
	o.done()
	return r
}

// searchDomain is a name as resolv.conf takes it; "~" routes questions.
var searchDomain = regexp.MustCompile(`^~?[A-Za-z0-9_.-]{1,253}$`)

func (s *state) resolver(o *object) {
	for i, text := range o.words("server") {
		at := fmt.Sprintf("%s[%d]", o.at("server"), i)
		address, err := netip.ParseAddr(text)
		if err != nil || address.Is4In6() || address.Zone() != "" || address.IsUnspecified() {
			o.found.add(at, "%q is no address", text)
			continue
		}
		s.servers = append(s.servers, server{at, address})
	}
	for i, domain := range o.words("search") {
		if !searchDomain.MatchString(domain) {
			o.found.add(fmt.Sprintf("%s[%d]", o.at("search"), i), "%q is no domain", domain)
		}
		s.search = append(s.search, strings.ToLower(domain))
	}
	o.done()
}
