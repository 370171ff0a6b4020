package nmstate

import (
	"net/netip"
	"slices"
	"strings"
)

// plan is a state whose parts fit together.
type plan struct {
	devices []*device
	routes  map[*device][]route
	servers map[*device][]netip.Addr
	search  map[*device]searchOf
}

// searchOf says which families of a device carry the search domains.
type searchOf struct {
	v4, v6  bool
	domains []string
}

// arrange finds what the names in the state mean. ports are the host's MAC addresses by name.
func arrange(s *state, ports map[string]string, found *faults) *plan {
	a := &arranger{ports: ports, byName: map[string]*device{}, found: found}
	for _, d := range s.interfaces {
		a.declare(d)
	}
	for _, d := range slices.Clone(a.devices) {
		a.connect(d)
	}
	for _, d := range a.devices {
		a.check(d)
	}
	p := &plan{devices: a.devices, routes: map[*device][]route{}, servers: map[*device][]netip.Addr{}, search: map[*device]searchOf{}}
	for _, r := range s.routes {
		if d := a.routed(r); d != nil {
			p.routes[d] = append(p.routes[d], r)
		}
	}
	p.resolvers(s, found)
	return p
}

type arranger struct {
	ports   map[string]string
	devices []*device
	byName  map[string]*device
	found   *faults
}

// declare takes a device of the document. A virtual one that shall not be is none.
func (a *arranger) declare(d *device) {
	_, isPort := a.ports[d.name]
	if d.kind != ethernet {
		if isPort {
			a.found.add(d.path+".name", "%s is a port with a MAC address, it cannot be of type %s", d.name, d.kind)
		}
		if !d.up {
			return
		}
	} else if !isPort && !d.byMAC && !strings.HasPrefix(d.name, "en") {
		a.found.add(d.path+".name", "%s has no MAC address: name it in spec.interfaces, or give identifier: mac-address and mac-address", d.name)
	}
	a.add(d)
}

func (a *arranger) add(d *device) {
	switch {
	case d.byMAC:
		d.hardware, d.mac = d.mac, ""
	case d.kind == ethernet:
		d.hardware = a.ports[d.name]
	}
	if d.mac == d.hardware {
		d.mac = ""
	}
	a.devices = append(a.devices, d)
	a.byName[d.name] = d
}

// connect finds what a device is made of. What is only named there is a port of the machine.
func (a *arranger) connect(d *device) {
	if d.kind == vlan {
		// A port that is described nowhere gets its addresses by itself, as it does without a configuration.
		byItself := family{enabled: true, dhcp: true, autoconf: true}
		a.find(d.base, d.path+".vlan.base-iface", device{v4: byItself, v6: byItself})
	}
	for _, p := range d.ports {
		member := a.find(p.name, p.path, device{})
		if member == nil {
			continue
		}
		switch {
		case member.controller != nil:
			a.found.add(p.path, "%s is already a port of %s", p.name, member.controller.name)
		case member == d || member.kind == bridge || member.kind == bond && d.kind == bond:
			a.found.add(p.path, "%s of type %s cannot be a port of this %s", p.name, member.kind, d.kind)
		case member.v4.enabled || member.v6.enabled:
			a.found.add(p.path, "%s has addresses of its own: give them to %s", p.name, d.name)
		default:
			member.controller = d
		}
	}
}

// find gives a device that is up; one that the document only names becomes a port like the given one.
func (a *arranger) find(name, path string, otherwise device) *device {
	d, ok := a.byName[name]
	switch {
	case ok && d.up:
		return d
	case ok:
		a.found.add(path, "interface %s is not up", name)
	case name == "":
		// Its absence was told.
	case a.ports[name] == "":
		a.found.add(path, "there is no interface %s, neither among interfaces nor in spec.interfaces", name)
	default:
		otherwise.name, otherwise.kind, otherwise.up, otherwise.path, otherwise.mtu = name, ethernet, true, path, -1
		a.add(&otherwise)
		return &otherwise
	}
	return nil
}

// check is about a device with everything around it.
func (a *arranger) check(d *device) {
	if !d.up {
		return
	}
	if base := a.byName[d.base]; d.kind == vlan && base != nil && base.controller != nil && base.controller.kind == bond {
		a.found.add(d.path+".vlan.base-iface", "%s is a port of %s: put the VLAN on that", d.base, base.controller.name)
	}
	if d.v4.enabled && !d.v4.dhcp && len(d.v4.addresses) == 0 {
		a.found.add(d.v4.path+".enabled", "IPv4 needs dhcp: true or an address")
	}
	if a.leadsTo(d, d, map[*device]bool{}) {
		a.found.add(d.path, "%s is made of itself", d.name)
	}
}

// leadsTo says whether the device from is made of to: a VLAN of what carries it, a bond or a bridge of its ports.
func (a *arranger) leadsTo(from, to *device, seen map[*device]bool) bool {
	parts := []string{from.base}
	for _, p := range from.ports {
		parts = append(parts, p.name)
	}
	for _, name := range parts {
		part := a.byName[name]
		if part == nil || seen[part] {
			continue
		}
		seen[part] = true
		if part == to || a.leadsTo(part, to, seen) {
			return true
		}
	}
	return false
}

func (a *arranger) routed(r route) *device {
	d := a.byName[r.device]
	switch {
	case r.device == "":
		return nil
	case d == nil || !d.up:
		a.found.add(r.path+".next-hop-interface", "there is no interface %s that is up", r.device)
	case d.controller != nil:
		a.found.add(r.path+".next-hop-interface", "%s is a port of %s: the route belongs there", r.device, d.controller.name)
	case !d.has(r.to.Addr().Is4()):
		a.found.add(r.path+".next-hop-interface", "%s has no addresses of this family", r.device)
	default:
		return d
	}
	return nil
}

// has says whether the device has the family.
func (d *device) has(v4 bool) bool {
	if v4 {
		return d.v4.enabled
	}
	return d.v6.enabled
}

// resolvers gives name servers to the device that leads to them: one with a default route of their family, else one
// with an address of its own, else any.
func (p *plan) resolvers(s *state, found *faults) {
	for _, one := range s.servers {
		d := p.leads(one.address.Is4())
		if d == nil {
			found.add(one.path, "no interface has addresses of the family of %s", one.address)
			continue
		}
		p.servers[d] = append(p.servers[d], one.address)
	}
	if len(s.search) == 0 {
		return
	}
	for _, v4 := range []bool{true, false} {
		if d := p.leads(v4); d != nil {
			of := p.search[d]
			of.v4, of.v6, of.domains = of.v4 || v4, of.v6 || !v4, s.search
			p.search[d] = of
			return
		}
	}
	found.add("dns-resolver.config.search", "no interface has addresses")
}

func (p *plan) leads(v4 bool) *device {
	var best *device
	rank := 0
	for _, d := range p.devices {
		if !d.up || d.controller != nil || !d.has(v4) {
			continue
		}
		own := len(d.v6.addresses)
		if v4 {
			own = len(d.v4.addresses)
		}
		now := 1
		switch {
		case slices.ContainsFunc(p.routes[d], func(r route) bool { return r.to.Bits() == 0 && r.table == 0 && r.to.Addr().Is4() == v4 }):
			now = 3
		case own > 0:
			now = 2
		}
		if now > rank {
			best, rank = d, now
		}
	}
	return best
}
