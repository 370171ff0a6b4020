package dhcp6

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/insomniacslk/dhcp/dhcpv6"
)

const (
	serverPort = 547
	clientPort = 546
)

// wire is an interface's socket.
type wire struct {
	udp  *net.UDPConn
	zone string
}

// listenWire binds to the device, so that one server per interface works and a taken port stops the start.
func listenWire(ctx context.Context, name string) (*wire, error) {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", name, err)
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		outer := c.Control(func(fd uintptr) {
			err = unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, name)
		})
		return errors.Join(outer, err)
	}}
	conn, err := lc.ListenPacket(ctx, "udp6", fmt.Sprintf(":%d", serverPort))
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", name, err)
	}
	groups := ipv6.NewPacketConn(conn)
	for _, group := range []string{"ff02::1:2", "ff05::1:3"} {
		if err := groups.JoinGroup(link, &net.UDPAddr{IP: net.ParseIP(group)}); err != nil {
			return nil, errors.Join(fmt.Errorf("join %s on %s (is IPv6 switched off there?): %w", group, name, err), conn.Close())
		}
	}
	return &wire{conn.(*net.UDPConn), name}, nil
}

// send answers a relay agent at its port, a client at its own (RFC 8415 §7.2).
func (w *wire) send(reply dhcpv6.DHCPv6, to netip.Addr) error {
	port := uint16(clientPort)
	if reply.IsRelay() {
		port = serverPort
	}
	if to.IsLinkLocalUnicast() {
		to = to.WithZone(w.zone)
	}
	if _, err := w.udp.WriteToUDPAddrPort(reply.ToBytes(), netip.AddrPortFrom(to, port)); err != nil {
		return fmt.Errorf("send to %s: %w", to, err)
	}
	return nil
}
