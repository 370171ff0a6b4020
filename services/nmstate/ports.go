package nmstate

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// bondModes by the number that the kernel also takes.
var bondModes = []string{"balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"}

// bondOptions are those of the kernel that NetworkManager has too.
var bondOptions = []string{
	"active_slave", "ad_actor_sys_prio", "ad_actor_system", "ad_select", "ad_user_port_key", "all_slaves_active", "arp_all_targets",
	"arp_interval", "arp_ip_target", "arp_validate", "downdelay", "fail_over_mac", "lacp_rate", "lp_interval", "miimon", "min_links",
	"num_grat_arp", "num_unsol_na", "packets_per_slave", "primary", "primary_reselect", "resend_igmp", "tlb_dynamic_lb", "updelay",
	"use_carrier", "xmit_hash_policy",
}

// plain is a value that a keyfile takes as it is.
var plain = regexp.MustCompile(`^[A-Za-z0-9_.:,+@-]{1,200}$`)

func (d *device) bond(o *object) {
	mode := o.get("mode")
	d.mode = strings.Trim(show(mode), `"`)
	if number, err := strconv.Atoi(d.mode); err == nil && number >= 0 && number < len(bondModes) {
		d.mode = bondModes[number]
	}
	if !slices.Contains(bondModes, d.mode) {
		o.found.add(o.at("mode"), "%s is no mode of a bond: %s", show(mode), strings.Join(bondModes, ", "))
	}
	options := o.object("options")
	for _, key := range slices.Sorted(maps.Keys(options.fields)) {
		if slices.Contains(bondOptions, key) {
			if value, ok := options.scalar(key); ok {
				d.options = append(d.options, setting{key, value})
			}
		}
	}
	options.done()
	// The old name of the list is still found in many files.
	for _, key := range []string{"port", "ports", "slaves"} {
		for i, name := range o.words(key) {
			d.ports = append(d.ports, port{path: o.at(key) + "[" + strconv.Itoa(i) + "]", name: name})
		}
	}
	if len(d.ports) == 0 {
		o.found.add(o.at("port"), "a bond needs ports")
	}
	o.done()
	for i, option := range d.options {
		if !namesPort(option.key) {
			continue
		}
		if !slices.ContainsFunc(d.ports, func(p port) bool { return p.name == d.options[i].value }) {
			options.found.add(options.at(option.key), "%q is no port of the bond", option.value)
		}
	}
}

func namesPort(option string) bool { return option == "primary" || option == "active_slave" }

// scalar is an option's value as the kernel writes it.
func (o *object) scalar(key string) (string, bool) {
	text := ""
	switch value := o.get(key).(type) {
	case string:
		text = value
	case json.Number:
		text = value.String()
	case bool:
		text = map[bool]string{true: "1", false: "0"}[value]
	}
	if !plain.MatchString(text) {
		o.found.add(o.at(key), "%s is no value of an option", show(o.get(key)))
		return "", false
	}
	return text, true
}

func (d *device) bridge(o *object) {
	const most = 1 << 16
	options := o.object("options")
	stp := options.object("stp")
	if stp.has("enabled") {
		d.options = append(d.options, setting{"stp", strconv.FormatBool(stp.yes("enabled", true))})
	}
	for _, key := range []string{"priority", "forward-delay", "hello-time", "max-age"} {
		if number := stp.number(key, 0, most); number >= 0 {
			d.options = append(d.options, setting{key, strconv.FormatInt(number, 10)})
		}
	}
	stp.done()
	options.done()
	for _, entry := range o.objects("port") {
		p := port{path: entry.path, name: entry.name("name")}
		if p.name == "" {
			entry.found.add(entry.at("name"), "the port has no name")
		}
		if entry.has("stp-hairpin-mode") {
			p.settings = append(p.settings, setting{"hairpin-mode", strconv.FormatBool(entry.yes("stp-hairpin-mode", false))})
		}
		for key, name := range map[string]string{"stp-path-cost": "path-cost", "stp-priority": "priority"} {
			if number := entry.number(key, 0, most); number >= 0 {
				p.settings = append(p.settings, setting{name, strconv.FormatInt(number, 10)})
			}
		}
		slices.SortFunc(p.settings, func(a, b setting) int { return strings.Compare(a.key, b.key) })
		entry.done()
		d.ports = append(d.ports, p)
	}
	o.done()
}
