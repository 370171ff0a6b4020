package site

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/vishvananda/netlink"
)

// foreignScript waits for its cable; then dnsmasq takes the shell's place. It gives leases and knows nothing of booting.
const foreignScript = `until ip link set foreign1 up 2>/dev/null; do sleep 0.1; done
ip address add "$1" dev foreign1
exec dnsmasq --keep-in-foreground --conf-file=/dev/null --user=root --port=0 --interface=foreign1 --bind-interfaces \
	--dhcp-range="$2" --dhcp-leasefile="$3" --pid-file= --log-dhcp --log-facility=-`

// ForeignDHCP runs dnsmasq as the DHCP server that a segment already has, in a network namespace of its own.
// The server lives as long as the site.
func (s *Site) ForeignDHCP(segment string, address netip.Prefix, pool [2]netip.Addr) error {
	log, err := os.OpenFile(filepath.Join(s.Dir, "dnsmasq.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log of foreign DHCP server: %w", err)
	}
	defer log.Close()
	cmd := exec.Command("sh", "-c", foreignScript, "foreign-dhcp", address.String(), pool[0].String()+","+pool[1].String()+",1h", filepath.Join(s.Dir, "dnsmasq.leases"))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start foreign DHCP server (package dnsmasq-base): %w", err)
	}
	// The site's init collects it.
	go func() { _ = cmd.Wait() }()
	bridge, err := netlink.LinkByName(segment)
	if err != nil {
		return fmt.Errorf("find segment %s: %w", segment, err)
	}
	cable := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "foreign0", MasterIndex: bridge.Attrs().Index}, PeerName: "foreign1"}
	if err := netlink.LinkAdd(cable); err != nil {
		return fmt.Errorf("add cable of foreign DHCP server: %w", err)
	}
	if err := netlink.LinkSetUp(cable); err != nil {
		return fmt.Errorf("bring foreign0 up: %w", err)
	}
	peer, err := netlink.LinkByName("foreign1")
	if err != nil {
		return fmt.Errorf("find foreign1: %w", err)
	}
	if err := netlink.LinkSetNsPid(peer, cmd.Process.Pid); err != nil {
		return fmt.Errorf("move foreign1 to the foreign DHCP server: %w", err)
	}
	return nil
}
