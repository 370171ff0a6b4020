package nmstate

import "net/netip"

// Addresses are the host's own static ones: those of a port by its MAC address, and the others (of VLANs, bonds and
// bridges), which belong to no port alone.
func Addresses(host Host) (ports map[string][]netip.Addr, others []netip.Addr, err error) {
	found := &faults{}
	names := host.ports(found)
	state := parse(host.Config, found)
	if err := found.err(); err != nil {
		return nil, nil, err
	}
	ports = map[string][]netip.Addr{}
	for _, d := range state.interfaces {
		if !d.up {
			continue
		}
		for _, f := range []family{d.v4, d.v6} {
			if !f.enabled {
				continue
			}
			for _, prefix := range f.addresses {
				if mac := names[d.name]; mac != "" && d.kind == ethernet {
					ports[mac] = append(ports[mac], prefix.Addr())
				} else {
					others = append(others, prefix.Addr())
				}
			}
		}
	}
	return ports, others, nil
}
