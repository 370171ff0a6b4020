package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"

	"golang.org/x/net/ipv6"
)

// solicit answers IPv6 router solicitations with an advertisement that says "no router, no prefix, no DHCPv6". Without one,
// iPXE asks for 17 seconds before it goes on with the IPv4 address that it has had all the time.
type solicit struct {
	conn   *ipv6.PacketConn
	raw    net.PacketConn
	index  int
	answer []byte
}

const (
	typeRouterSolicitation  = ipv6.ICMPTypeRouterSolicitation
	typeRouterAdvertisement = ipv6.ICMPTypeRouterAdvertisement
	hopLimit                = 255 // RFC 4861: proves that a message did not cross a router
)

func listenSolicit(ctx context.Context, name string) (*solicit, error) {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", name, err)
	}
	raw, err := (&net.ListenConfig{}).ListenPacket(ctx, "ip6:ipv6-icmp", "::")
	if err != nil {
		return nil, fmt.Errorf("listen for router solicitations: %w", err)
	}
	conn := ipv6.NewPacketConn(raw)
	var only ipv6.ICMPFilter
	only.SetAll(true)
	only.Accept(typeRouterSolicitation)
	err = errors.Join(
		conn.SetICMPFilter(&only),
		conn.SetControlMessage(ipv6.FlagInterface|ipv6.FlagHopLimit, true),
		conn.JoinGroup(link, &net.IPAddr{IP: net.IPv6linklocalallrouters}))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for router solicitations on %s: %w", name, err), raw.Close())
	}
	return &solicit{conn, raw, link.Index, advertisement(link.HardwareAddr)}, nil
}

// advertisement is a router advertisement of RFC 4861 §4.2 whose router lifetime is zero; the kernel adds the checksum.
func advertisement(mac net.HardwareAddr) []byte {
	b := make([]byte, 16, 24)
	b[0] = byte(typeRouterAdvertisement)
	if len(mac) == 6 {
		b = append(append(b, 1, 1), mac...) // source link-layer address, in units of 8 bytes
	}
	return b
}

// run answers until the socket is closed.
func (s *solicit) run() error {
	buf := make([]byte, 1500)
	for {
		n, control, from, err := s.conn.ReadFrom(buf)
		if errors.Is(err, errNetDown) {
			continue
		}
		if err != nil {
			return fmt.Errorf("receive router solicitation: %w", err)
		}
		if !asksForRouter(buf[:n]) || control == nil || control.IfIndex != s.index || control.HopLimit != hopLimit {
			continue
		}
		to := &net.IPAddr{IP: net.IPv6linklocalallnodes}
		if addr, ok := from.(*net.IPAddr); ok && addr.IP.IsLinkLocalUnicast() {
			to = addr
		}
		// A client that misses the answer asks again.
		_, _ = s.conn.WriteTo(s.answer, &ipv6.ControlMessage{HopLimit: hopLimit, IfIndex: s.index}, to)
	}
}

func asksForRouter(b []byte) bool {
	return len(b) >= 8 && b[0] == byte(typeRouterSolicitation) && b[1] == 0
}

func (s *solicit) close() error { return s.raw.Close() }
