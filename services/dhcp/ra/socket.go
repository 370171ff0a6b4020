package ra

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/mdlayher/ndp"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

const hopLimit = 255 // RFC 4861: proves that a message did not cross a router

// message is what another node said.
type message struct {
	from netip.Addr
	body ndp.Message // *ndp.RouterSolicitation or *ndp.RouterAdvertisement
}

// wire is an interface's ICMPv6 socket.
type wire struct {
	conn  *ipv6.PacketConn
	raw   net.PacketConn
	index int
	zone  string
	mac   net.HardwareAddr
}

func listenWire(ctx context.Context, name string) (*wire, error) {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", name, err)
	}
	raw, err := (&net.ListenConfig{}).ListenPacket(ctx, "ip6:ipv6-icmp", "::")
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", name, err)
	}
	conn := ipv6.NewPacketConn(raw)
	var only ipv6.ICMPFilter
	only.SetAll(true)
	only.Accept(ipv6.ICMPTypeRouterSolicitation)
	only.Accept(ipv6.ICMPTypeRouterAdvertisement)
	err = errors.Join(
		conn.SetICMPFilter(&only),
		conn.SetControlMessage(ipv6.FlagInterface|ipv6.FlagHopLimit, true),
		conn.SetMulticastLoopback(false),
		conn.JoinGroup(link, &net.IPAddr{IP: net.IPv6linklocalallrouters}))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen on %s (is IPv6 switched off there?): %w", name, err), raw.Close())
	}
	return &wire{conn, raw, link.Index, name, link.HardwareAddr}, nil
}

// receive gives what is worth a look until stopReading.
func (w *wire) receive(heard chan<- message) error {
	buf := make([]byte, 1<<16)
	for {
		n, control, from, err := w.conn.ReadFrom(buf)
		if errors.Is(err, unix.ENETDOWN) {
			continue // the interface went down; packets come again when it is up
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		sender, ok := from.(*net.IPAddr)
		if !ok || control == nil || control.IfIndex != w.index || control.HopLimit != hopLimit {
			continue
		}
		body, ok := parse(buf[:n])
		addr, valid := netip.AddrFromSlice(sender.IP)
		if !ok || !valid {
			continue
		}
		select {
		case heard <- message{addr, body}:
		default: // a flood; a host that misses its answer asks again
		}
	}
}

// parse takes router solicitations and advertisements.
func parse(b []byte) (ndp.Message, bool) {
	if len(b) < 8 || b[1] != 0 {
		return nil, false
	}
	body, err := ndp.ParseMessage(b)
	if err != nil {
		return nil, false
	}
	switch body.(type) {
	case *ndp.RouterSolicitation, *ndp.RouterAdvertisement:
		return body, true
	}
	return nil, false
}

// stopReading ends receive; sending goes on.
func (w *wire) stopReading() { _ = w.raw.SetReadDeadline(time.Unix(1, 0)) }

func (w *wire) send(raw []byte, to netip.Addr) error {
	control := &ipv6.ControlMessage{HopLimit: hopLimit, IfIndex: w.index}
	if _, err := w.conn.WriteTo(raw, control, &net.IPAddr{IP: to.AsSlice(), Zone: w.zone}); err != nil {
		return fmt.Errorf("send to %s: %w", to, err)
	}
	return nil
}
