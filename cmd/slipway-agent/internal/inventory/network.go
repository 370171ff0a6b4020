package inventory

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-io/slipway/cmd/slipway-agent/internal/machine"
	"github.com/slipway-io/slipway/services/agentapi/wire"
)

type addressFunc func(name string) (v4, v6 []string, mtu int, flags []string)

// interfaces are the machine's own and those made of them (bonds, VLANs, bridges); the kernel's other inventions are left out.
func interfaces(root machine.Root, addresses addressFunc) []wire.Interface {
	found := []wire.Interface{}
	for _, name := range root.Names("sys/class/net") {
		kind := ""
		switch {
		case root.Exists("sys/class/net", name, "device"):
			kind = "physical"
		case root.Exists("sys/class/net", name, "bonding"):
			kind = "bond"
		case root.Exists("proc/net/vlan", name):
			kind = "vlan"
		case root.Exists("sys/class/net", name, "bridge"):
			kind = "bridge"
		default:
			continue
		}
		v4, v6, mtu, flags := addresses(name)
		nic := wire.Interface{
			Name: name, Type: kind, MACAddress: strings.ToLower(root.Line("sys/class/net", name, "address")),
			IPv4Addresses: list(v4), IPv6Addresses: list(v6), MTU: int64(mtu), Flags: list(flags),
			HasCarrier: root.Line("sys/class/net", name, "carrier") == "1",
			SpeedMbps:  max(0, number(root.Line("sys/class/net", name, "speed"))),
			Vendor:     root.Line("sys/class/net", name, "device/vendor"), Product: root.Line("sys/class/net", name, "device/device"),
		}
		if permanent := root.Line("sys/class/net", name, "bonding_slave/perm_hwaddr"); permanent != "" {
			nic.MACAddress = strings.ToLower(permanent)
		}
		found = append(found, nic)
	}
	return found
}

func list(of []string) []string {
	if of == nil {
		return []string{}
	}
	return of
}

// Families as the protocol numbers them.
const (
	familyV4 = 2
	familyV6 = 10
)

func routes(root machine.Root) []wire.Route {
	found := []wire.Route{}
	for i, line := range strings.Split(root.Line("proc/net/route"), "\n") {
		if route, ok := routeV4(strings.Fields(line)); ok && i > 0 {
			found = append(found, route)
		}
	}
	for line := range strings.Lines(root.Line("proc/net/ipv6_route")) {
		if route, ok := routeV6(strings.Fields(line)); ok {
			found = append(found, route)
		}
	}
	return found
}

// routeV4 reads a line of /proc/net/route, whose addresses are little endian.
func routeV4(fields []string) (wire.Route, bool) {
	if len(fields) < 8 {
		return wire.Route{}, false
	}
	destination, ok := littleEndian(fields[1])
	gateway, ok2 := littleEndian(fields[2])
	metric, err := strconv.ParseInt(fields[6], 10, 32)
	if !ok || !ok2 || err != nil {
		return wire.Route{}, false
	}
	route := wire.Route{Interface: fields[0], Destination: destination.String(), Family: familyV4, Metric: int32(metric)}
	if !gateway.IsUnspecified() {
		route.Gateway = gateway.String()
	}
	return route, true
}

func littleEndian(text string) (netip.Addr, bool) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != 4 {
		return netip.Addr{}, false
	}
	slices.Reverse(raw)
	return netip.AddrFromSlice(raw)
}

// routeV6 reads a line of /proc/net/ipv6_route and leaves out what the kernel makes for itself.
func routeV6(fields []string) (wire.Route, bool) {
	if len(fields) < 10 || fields[9] == "lo" {
		return wire.Route{}, false
	}
	raw, err := hex.DecodeString(fields[0])
	next, err2 := hex.DecodeString(fields[4])
	metric, err3 := strconv.ParseUint(fields[5], 16, 32)
	if err != nil || err2 != nil || err3 != nil {
		return wire.Route{}, false
	}
	destination, ok := netip.AddrFromSlice(raw)
	gateway, ok2 := netip.AddrFromSlice(next)
	if !ok || !ok2 || destination.Is4() || gateway.Is4() || destination.IsLinkLocalUnicast() || destination.IsMulticast() {
		return wire.Route{}, false
	}
	route := wire.Route{Interface: fields[9], Destination: destination.String(), Family: familyV6, Metric: int32(metric)}
	if !gateway.IsUnspecified() {
		route.Gateway = gateway.String()
	}
	return route, true
}
