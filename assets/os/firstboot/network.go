package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// errNoPort says that none of the machine's ports is in the keyfiles: perhaps its driver is not ready yet.
var errNoPort = errors.New("no network port of this machine is in the keyfiles")

// network writes the shell commands that bring up what the keyfiles in dir describe. Apart from ip, by
// its path because the one of busybox knows no bonds, they call functions of the initramfs: claim PORT, made DEVICE, dhcp DEVICE.
func network(w io.Writer, dir, sys string) error {
	files, err := readKeyfiles(dir)
	if err != nil {
		return err
	}
	ports, err := portsByMAC(sys)
	if err != nil {
		return err
	}
	commands, err := plan(files, ports)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, strings.Join(commands, "\n")+"\n")
	return err
}

// link is a device of the plan.
type link struct {
	keyfile
	name, parent, controller string
}

// planner collects commands.
type planner struct {
	links    []*link
	ports    map[string]string // names by MAC address
	names    map[string]string // by the connection's identifier and by name
	commands []string
}

// plan turns keyfiles into commands; ports are the machine's, by MAC address.
func plan(files []keyfile, ports map[string]string) ([]string, error) {
	p := &planner{ports: ports, names: map[string]string{}}
	present := map[string]bool{}
	for _, name := range ports {
		present[name] = true
	}
	for _, file := range files {
		if file.get("connection", "autoconnect") == "false" {
			continue
		}
		name := file.get("connection", "interface-name")
		if mac := file.get("ethernet", "mac-address"); mac != "" && file.kind() == "ethernet" {
			name = ports[strings.ToLower(mac)]
		}
		if name == "" || file.kind() == "ethernet" && !present[name] {
			continue
		}
		p.links = append(p.links, &link{keyfile: file, name: name})
		p.names[name], p.names[file.get("connection", "uuid")] = name, name
	}
	if !slices.ContainsFunc(p.links, func(l *link) bool { return l.kind() == "ethernet" }) {
		return nil, errNoPort
	}
	for _, l := range p.links {
		l.parent = p.names[l.get("vlan", "parent")]
		l.controller = p.names[l.get("connection", "master", "controller")]
	}
	p.create()
	p.join()
	for _, l := range p.links {
		p.run("/usr/bin/ip", "link", "set", l.name, "up")
	}
	for _, l := range p.links {
		if l.controller == "" {
			p.family(l, "ipv4")
			p.family(l, "ipv6")
		}
	}
	for _, l := range p.links {
		p.routes(l)
	}
	return p.commands, nil
}

func (p *planner) run(words ...string) {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = quote(word)
	}
	p.commands = append(p.commands, "try "+strings.Join(quoted, " "))
}

// call is a function of the initramfs.
func (p *planner) call(function, device string) {
	p.commands = append(p.commands, function+" "+quote(device))
}

func quote(word string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:+,@-"
	if word != "" && strings.Trim(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// create makes bonds and bridges, then VLANs, and leaves the links in that order: what is carried comes after what
// carries it.
func (p *planner) create() {
	done := map[string]bool{}
	var order []*link
	for _, l := range p.links {
		switch l.kind() {
		case "ethernet":
			p.call("claim", l.name)
		case "bond":
			p.bond(l)
		case "bridge":
			p.call("made", l.name)
			p.run("/usr/bin/ip", "link", "add", "name", l.name, "type", "bridge")
		default:
			continue
		}
		done[l.name] = true
		order = append(order, l)
		p.hardware(l)
	}
	for more := true; more; {
		more = false
		for _, l := range p.links {
			if l.kind() != "vlan" || done[l.name] || !done[l.parent] {
				continue
			}
			done[l.name], more = true, true
			order = append(order, l)
			p.call("made", l.name)
			p.run("/usr/bin/ip", "link", "add", "link", l.parent, "name", l.name, "type", "vlan", "id", l.get("vlan", "id"))
			p.hardware(l)
		}
	}
	p.links = order
}

// laterOptions of a bond need its ports.
var laterOptions = []string{"mode", "active_slave"}

func (p *planner) bond(l *link) {
	p.call("made", l.name)
	base := []string{"/usr/bin/ip", "link", "add", "name", l.name, "type", "bond", "mode", l.get("bond", "mode")}
	if l.get("bond", "miimon", "arp_interval") == "" {
		base = append(base, "miimon", "100") // as NetworkManager does it
	}
	p.run(base...)
	var keys []string
	for key := range l.keyfile["bond"] {
		if !slices.Contains(laterOptions, key) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	if mac := l.get("user", "slipway.primary"); mac != "" {
		l.keyfile["bond"]["primary"] = p.ports[strings.ToLower(mac)]
	}
	// One by one: the bond is there without those that this kernel does not take.
	for _, key := range keys {
		if l.keyfile["bond"][key] == "" {
			continue
		}
		p.run("/usr/bin/ip", "link", "set", l.name, "type", "bond", key, l.keyfile["bond"][key])
	}
}

// hardware sets MAC address and MTU.
func (p *planner) hardware(l *link) {
	if mac := l.get("ethernet", "cloned-mac-address"); mac != "" {
		p.run("/usr/bin/ip", "link", "set", l.name, "address", mac)
	}
	if mtu := l.get("ethernet", "mtu"); mtu != "" {
		p.run("/usr/bin/ip", "link", "set", l.name, "mtu", mtu)
	}
}

// join makes ports of bonds and bridges; a bond takes only those that are down.
func (p *planner) join() {
	for _, l := range p.links {
		if l.controller != "" {
			p.run("/usr/bin/ip", "link", "set", l.name, "down")
			p.run("/usr/bin/ip", "link", "set", l.name, "master", l.controller)
		}
	}
}

func (p *planner) family(l *link, section string) {
	method := l.get(section, "method")
	v6 := section == "ipv6"
	if v6 && (method == "disabled" || method == "ignore" || method == "manual") {
		p.call("silent6", l.name)
	}
	if v6 && method == "disabled" {
		return
	}
	for _, address := range l.numbered(section, "address") {
		address, gateway, _ := strings.Cut(address, ",")
		words := []string{"/usr/bin/ip", "address", "replace", address, "dev", l.name}
		if v6 {
			words = append(words, "nodad")
		}
		p.run(words...)
		if gateway != "" {
			p.run("/usr/bin/ip", "route", "replace", "default", "via", gateway, "dev", l.name)
		}
	}
	if gateway := l.get(section, "gateway"); gateway != "" {
		p.run("/usr/bin/ip", "route", "replace", "default", "via", gateway, "dev", l.name)
	}
	if method == "auto" && !v6 {
		p.call("dhcp", l.name)
	}
	if v6 && (method == "auto" || method == "dhcp") {
		p.call("dhcp6", l.name)
	}
	for server := range strings.SplitSeq(l.get(section, "dns"), ";") {
		if server != "" {
			p.call("nameserver", server)
		}
	}
}

func (p *planner) routes(l *link) {
	if l.controller != "" {
		return
	}
	for _, section := range []string{"ipv4", "ipv6"} {
		for i, text := range l.numbered(section, "route") {
			parts := strings.Split(text, ",")
			words := []string{"/usr/bin/ip", "route", "replace", parts[0]}
			if len(parts) > 1 && parts[1] != "" && parts[1] != "0.0.0.0" && parts[1] != "::" {
				words = append(words, "via", parts[1])
			}
			words = append(words, "dev", l.name)
			if len(parts) > 2 && parts[2] != "" {
				words = append(words, "metric", parts[2])
			}
			words = append(words, table(l.get(section, fmt.Sprintf("route%d_options", i+1)))...)
			p.run(words...)
		}
	}
}

func table(options string) []string {
	for option := range strings.SplitSeq(options, ",") {
		if number, ok := strings.CutPrefix(option, "table="); ok {
			return []string{"table", number}
		}
	}
	return nil
}
