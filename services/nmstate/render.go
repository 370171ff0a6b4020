package nmstate

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// Suffix of a keyfile's name.
const Suffix = ".nmconnection"

// forEver as NetworkManager writes it: a host in a rack has nothing better to do than to wait for its network.
const forEver = "2147483647"

// profiles is what the identifiers of connections are derived from, so that the same network has the same ones.
var profiles = uuid.MustParse("6f5c2b1e-6a0f-4a55-9a4e-2c6b8c1f8d3a")

// renderer writes one keyfile.
type renderer struct {
	bytes.Buffer
	open bool
}

func (w *renderer) section(name string) {
	if w.open {
		w.WriteByte('\n')
	}
	w.open = true
	fmt.Fprintf(w, "[%s]\n", name)
}

func (w *renderer) set(key, value string) { fmt.Fprintf(w, "%s=%s\n", key, value) }

func (p *plan) render(ports map[string]string) map[string][]byte {
	host := strings.Join(slices.Sorted(maps.Values(ports)), " ")
	id := func(name string) string { return uuid.NewSHA1(profiles, []byte(host+" "+name)).String() }
	files := map[string][]byte{}
	hardware := map[string]string{}
	for _, d := range p.devices {
		hardware[d.name] = d.hardware
	}
	for _, d := range p.devices {
		w := &renderer{}
		d.connection(w, id(d.name))
		d.link(w, id(d.base), p.isPort(d.base))
		if d.controller == nil {
			p.family(w, d, d.v4, true)
			p.family(w, d, d.v6, false)
		}
		d.chosen(w, hardware)
		files[d.name+Suffix] = w.Bytes()
	}
	return files
}

// isPort says whether a name is one of the machine's own ports, which a keyfile cannot know the name of.
func (p *plan) isPort(name string) bool {
	return slices.ContainsFunc(p.devices, func(d *device) bool { return d.name == name && d.kind == ethernet })
}

func (d *device) connection(w *renderer, id string) {
	w.section("connection")
	w.set("id", d.name)
	w.set("uuid", id)
	w.set("type", strings.TrimPrefix(d.kind, "linux-"))
	if d.hardware == "" {
		w.set("interface-name", d.name)
	}
	w.set("autoconnect", strconv.FormatBool(d.up))
	w.set("autoconnect-priority", "1")
	if len(d.ports) > 0 {
		w.set("autoconnect-slaves", "1")
	}
	if d.controller != nil {
		w.set("master", d.controller.name)
		w.set("slave-type", strings.TrimPrefix(d.controller.kind, "linux-"))
	}
}

// link writes what makes the device. base is the identifier of the connection that carries a VLAN.
func (d *device) link(w *renderer, base string, baseIsPort bool) {
	switch d.kind {
	case vlan:
		w.section("vlan")
		w.set("id", strconv.FormatInt(d.tag, 10))
		if baseIsPort {
			w.set("parent", base)
		} else {
			w.set("parent", d.base)
		}
	case bond:
		w.section("bond")
		w.set("mode", d.mode)
		d.settings(w, d.options)
	case bridge:
		w.section("bridge")
		d.settings(w, d.options)
	}
	d.wired(w)
	if d.controller != nil && d.controller.kind == bridge {
		for _, p := range d.controller.ports {
			if p.name == d.name && len(p.settings) > 0 {
				w.section("bridge-port")
				d.settings(w, p.settings)
			}
		}
	}
}

// wired has the MAC address that finds a port, the one that the device gets, and its MTU.
func (d *device) wired(w *renderer) {
	if d.kind != ethernet && d.mac == "" && d.mtu < 0 {
		return
	}
	w.section("ethernet")
	if d.hardware != "" {
		w.set("mac-address", strings.ToUpper(d.hardware))
	}
	if d.mac != "" {
		w.set("cloned-mac-address", strings.ToUpper(d.mac))
	}
	if d.mtu >= 0 {
		w.set("mtu", strconv.FormatInt(d.mtu, 10))
	}
}

func (d *device) settings(w *renderer, all []setting) {
	for _, s := range all {
		w.set(s.key, s.value)
	}
}

// chosen has the MAC addresses of the ports that a bond names: their names are other ones on every kind of machine, and
// before udev has renamed them.
func (d *device) chosen(w *renderer, hardware map[string]string) {
	if d.kind != bond {
		return
	}
	open := false
	for _, option := range d.options {
		if !namesPort(option.key) || hardware[option.value] == "" {
			continue
		}
		if !open {
			w.section("user")
			open = true
		}
		w.set("slipway."+option.key, strings.ToUpper(hardware[option.value]))
	}
}

// method is how a family gets its addresses.
func (f family) method(v4 bool) string {
	switch {
	case !f.enabled:
		return "disabled"
	case f.dhcp && (v4 || f.autoconf):
		return "auto"
	case f.dhcp:
		return "dhcp"
	case len(f.addresses) > 0:
		return "manual"
	}
	return "link-local"
}

func (p *plan) family(w *renderer, d *device, f family, v4 bool) {
	w.section(map[bool]string{true: "ipv4", false: "ipv6"}[v4])
	method := f.method(v4)
	if !d.up {
		method = "disabled"
	}
	w.set("method", method)
	if method == "disabled" {
		return
	}
	if !v4 {
		w.set("addr-gen-mode", map[bool]string{true: "stable-privacy", false: "eui64"}[f.stablePrivacy])
	}
	if f.dhcp {
		w.set("dhcp-timeout", forEver)
		if !v4 {
			w.set("ra-timeout", forEver)
		}
		f.refusals(w)
	}
	for i, address := range f.addresses {
		w.set(fmt.Sprintf("address%d", i+1), address.String())
	}
	p.routing(w, d, v4)
	p.naming(w, d, v4)
}

// refusals are what is not taken from the network.
func (f family) refusals(w *renderer) {
	for _, one := range []setting{
		{"ignore-auto-dns", strconv.FormatBool(f.ignoreDNS)},
		{"ignore-auto-routes", strconv.FormatBool(f.ignoreRoutes)},
		{"never-default", strconv.FormatBool(f.neverDefault)},
	} {
		if one.value == "true" {
			w.set(one.key, one.value)
		}
	}
}

func (p *plan) routing(w *renderer, d *device, v4 bool) {
	number := 0
	for _, r := range p.routes[d] {
		if r.to.Addr().Is4() != v4 {
			continue
		}
		number++
		via := ""
		if r.via.IsValid() {
			via = "," + r.via.String()
		}
		if r.metric >= 0 {
			if via == "" {
				via = "," + map[bool]string{true: "0.0.0.0", false: "::"}[v4]
			}
			via += "," + strconv.FormatInt(r.metric, 10)
		}
		w.set(fmt.Sprintf("route%d", number), r.to.String()+via)
		if r.table > 0 {
			w.set(fmt.Sprintf("route%d_options", number), "table="+strconv.FormatInt(r.table, 10))
		}
	}
}

func (p *plan) naming(w *renderer, d *device, v4 bool) {
	var servers []string
	for _, address := range p.servers[d] {
		if address.Is4() == v4 {
			servers = append(servers, address.String())
		}
	}
	search := p.search[d]
	searches := v4 && search.v4 || !v4 && search.v6
	if len(servers) > 0 {
		w.set("dns", strings.Join(servers, ";")+";")
	}
	if searches {
		w.set("dns-search", strings.Join(search.domains, ";")+";")
	}
	if len(servers) > 0 || searches {
		const beforeDHCP = "40"
		w.set("dns-priority", beforeDHCP)
	}
}
