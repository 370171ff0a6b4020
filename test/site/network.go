package site

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Segment is a network of the site: a bridge on which the appliance has addresses.
type Segment struct {
	// Name of the bridge, which is the appliance's interface.
	Name      string
	Addresses []netip.Prefix
	// DHCP of the interface as the appliance's configuration has it; reservations for the segment's machines are added.
	DHCP map[string]any
}

// soleSegment is the one of a site that names none.
func soleSegment() Segment {
	return Segment{Name: "site0", Addresses: Addresses(), DHCP: map[string]any{"mode": "server", "pool": "10.77.0.100-10.77.0.199"}}
}

// mountPrivate gives the site its own /proc and resolver, seen by nobody else.
func mountPrivate(dir string, resolver netip.Addr) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	resolv := filepath.Join(dir, "resolv.conf")
	if err := os.WriteFile(resolv, fmt.Appendf(nil, "nameserver %s\noptions timeout:1 attempts:2\n", resolver), 0o644); err != nil {
		return fmt.Errorf("write resolver configuration: %w", err)
	}
	target, err := filepath.EvalSymlinks("/etc/resolv.conf")
	if err != nil {
		return fmt.Errorf("find resolver configuration: %w", err)
	}
	if err := unix.Mount(resolv, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount resolver configuration: %w", err)
	}
	return nil
}

// bringUpLoopback of the site's namespace.
func bringUpLoopback() error {
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find loopback: %w", err)
	}
	if err := netlink.LinkSetUp(loopback); err != nil {
		return fmt.Errorf("bring loopback up: %w", err)
	}
	return nil
}

// make brings the segment's bridge up; it carries the appliance's addresses.
func (s Segment) make() error {
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: s.Name}}
	if err := netlink.LinkAdd(bridge); err != nil {
		return fmt.Errorf("add bridge %s: %w", s.Name, err)
	}
	for _, prefix := range s.Addresses {
		address, err := netlink.ParseAddr(prefix.String())
		if err != nil {
			return fmt.Errorf("parse %s: %w", prefix, err)
		}
		if prefix.Addr().Is6() {
			address.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrAdd(bridge, address); err != nil {
			return fmt.Errorf("add %s to %s: %w", prefix, s.Name, err)
		}
	}
	if err := netlink.LinkSetUp(bridge); err != nil {
		return fmt.Errorf("bring %s up: %w", s.Name, err)
	}
	return nil
}

// addTap plugs a machine's cable into a segment.
func addTap(name, segment string) error {
	bridge, err := netlink.LinkByName(segment)
	if err != nil {
		return fmt.Errorf("find bridge: %w", err)
	}
	tap := &netlink.Tuntap{
		LinkAttrs: netlink.LinkAttrs{Name: name, MasterIndex: bridge.Attrs().Index},
		Mode:      netlink.TUNTAP_MODE_TAP,
		Flags:     netlink.TUNTAP_DEFAULTS | netlink.TUNTAP_VNET_HDR,
	}
	if err := netlink.LinkAdd(tap); err != nil {
		return fmt.Errorf("add tap %s: %w", name, err)
	}
	for _, fd := range tap.Fds {
		fd.Close()
	}
	if err := netlink.LinkSetUp(tap); err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	return nil
}
