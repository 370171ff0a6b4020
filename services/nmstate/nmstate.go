// Package nmstate turns a strict subset of the nmstate schema into NetworkManager keyfiles, and those of an InfraEnv's
// hosts into what an initramfs takes.
//
// Interfaces of type ethernet, vlan, bond and linux-bridge, their addresses, routes and name servers are the subset.
// Everything else is refused with its path in the YAML, never left out: a host that lacks a part of its network is
// found only when somebody stands in front of it.
package nmstate

import (
	"errors"
	"fmt"
	"net"
	"strings"
)

// Interface is a port of the host: the name that the configuration has for it, and its permanent MAC address.
type Interface struct {
	Name, MAC string
}

// Host is one host's network.
type Host struct {
	// Name is for messages.
	Name string
	// Config is the nmstate document, YAML or JSON.
	Config []byte
	// Interfaces are what the host is recognised by, at least one. Names and addresses are unique.
	Interfaces []Interface
}

// Fault is a mistake in a configuration.
type Fault struct {
	// Path in the YAML, as interfaces[2].vlan.id; empty for the whole document.
	Path string
	// Problem says what was found and what to do.
	Problem string
}

func (f *Fault) Error() string {
	if f.Path == "" {
		return f.Problem
	}
	return f.Path + ": " + f.Problem
}

// faults collects what is wrong, so that one look at a condition shows all of it.
type faults struct{ list []error }

// mostFaults are told; more of them help nobody.
const mostFaults = 8

func (f *faults) add(path, format string, args ...any) {
	if len(f.list) < mostFaults {
		f.list = append(f.list, &Fault{Path: path, Problem: fmt.Sprintf(format, args...)})
	}
}

func (f *faults) err() error { return errors.Join(f.list...) }

// Keyfiles are the files of the host's /etc/NetworkManager/system-connections by name. Ports are named in them by their
// MAC address. A bond's primary and active_slave hold the name that the configuration has, and the section user has
// slipway.primary and slipway.active_slave with the MAC address of that port.
func Keyfiles(host Host) (map[string][]byte, error) {
	found := &faults{}
	ports := host.ports(found)
	if err := found.err(); err != nil {
		return nil, err
	}
	state := parse(host.Config, found)
	if err := found.err(); err != nil {
		return nil, err
	}
	plan := arrange(state, ports, found)
	if err := found.err(); err != nil {
		return nil, err
	}
	return plan.render(ports), nil
}

// ports are the MAC addresses by name, in small letters with colons.
func (h Host) ports(found *faults) map[string]string {
	ports, seen := map[string]string{}, map[string]bool{}
	if len(h.Interfaces) == 0 {
		found.add("interfaces", "there is no MAC address to recognise the host by")
	}
	for i, port := range h.Interfaces {
		at := fmt.Sprintf("interfaces[%d]", i)
		mac, err := net.ParseMAC(port.MAC)
		switch {
		case err != nil || len(mac) != 6:
			found.add(at+".macAddress", "%q is no MAC address", port.MAC)
			continue
		case !interfaceName.MatchString(port.Name):
			found.add(at+".name", "%q is no interface name", port.Name)
		case ports[port.Name] != "":
			found.add(at+".name", "%q is there twice", port.Name)
		case seen[mac.String()]:
			found.add(at+".macAddress", "%s is there twice", mac)
		}
		ports[port.Name] = strings.ToLower(mac.String())
		seen[mac.String()] = true
	}
	return ports
}
