package dhcp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

const (
	serverPort = 67
	clientPort = 68
	// receiveBuffer is in bytes; it holds what comes while a busy machine lets the service wait, half a second of 1,500 clients.
	receiveBuffer = 1 << 20

	bootPort = 4011 // PXE 2.1 §2.2.3: the boot server beside a foreign DHCP server
)

// wire is an interface's two sockets: UDP for what has an address, a packet socket for clients that have none yet.
type wire struct {
	udp    *net.UDPConn
	boot   *net.UDPConn // port 4011, in mode proxy
	packet *os.File
	index  int
	mac    net.HardwareAddr
	source netip.Addr
	oob    []byte // fixes source address and interface of what UDP sends
	arp    *os.File
	offers *os.File
	echo   net.PacketConn // for networks behind relay agents
}

// listenWire binds to the device, so that one server per interface works and a taken port stops the start.
func listenWire(ctx context.Context, name string, source netip.Addr, proxy bool) (*wire, error) {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", name, err)
	}
	if err := carries(link, source); err != nil {
		return nil, err
	}
	w := &wire{index: link.Index, mac: link.HardwareAddr, source: source}
	control := ipv4.ControlMessage{Src: source.AsSlice(), IfIndex: link.Index}
	w.oob = control.Marshal()
	if w.udp, err = listenUDP(ctx, name, serverPort); err != nil {
		return nil, err
	}
	if proxy {
		if w.boot, err = listenUDP(ctx, name, bootPort); err != nil {
			return nil, errors.Join(err, w.close())
		}
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open packet socket on %s: %w", name, err), w.close())
	}
	w.packet = os.NewFile(uintptr(fd), "packet")
	return w, nil
}

func listenUDP(ctx context.Context, name string, port int) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		outer := c.Control(func(fd uintptr) {
			err = errors.Join(
				unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, name),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer))
		})
		return errors.Join(outer, err)
	}}
	conn, err := lc.ListenPacket(ctx, "udp4", fmt.Sprintf(":%d", port))
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", name, err)
	}
	return conn.(*net.UDPConn), nil
}

func carries(link *net.Interface, want netip.Addr) error {
	addrs, err := link.Addrs()
	if err != nil {
		return fmt.Errorf("read addresses of %s: %w", link.Name, err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr() == want {
			return nil
		}
	}
	return fmt.Errorf("interface %s: does not have the address %s", link.Name, want)
}

func (w *wire) close() error { return errors.Join(w.closePorts(), w.closeAround()) }

// closePorts ends what answers leave by.
func (w *wire) closePorts() error {
	err := w.udp.Close()
	if w.boot != nil {
		err = errors.Join(err, w.boot.Close())
	}
	if w.packet != nil {
		err = errors.Join(err, w.packet.Close())
	}
	return err
}

// sendBoot answers from the boot server's port.
func (w *wire) sendBoot(reply *dhcpv4.DHCPv4, to netip.AddrPort) error {
	if _, _, err := w.boot.WriteMsgUDPAddrPort(reply.ToBytes(), w.oob, to); err != nil {
		return fmt.Errorf("send to %s: %w", to, err)
	}
	return nil
}

// destination is where RFC 2131 §4.1 sends an answer; link says that the client is reached by its MAC only.
func destination(reply *dhcpv4.DHCPv4) (to netip.AddrPort, link bool) {
	everyone := netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), clientPort)
	if relay := addr4(reply.GatewayIPAddr); relay.IsValid() {
		return netip.AddrPortFrom(relay, serverPort), false
	}
	if reply.MessageType() == dhcpv4.MessageTypeNak {
		return everyone, false
	}
	if current := addr4(reply.ClientIPAddr); current.IsValid() {
		return netip.AddrPortFrom(current, clientPort), false
	}
	yours := addr4(reply.YourIPAddr)
	if reply.IsBroadcast() || !yours.IsValid() || len(reply.ClientHWAddr) != 6 {
		return everyone, false
	}
	return netip.AddrPortFrom(yours, clientPort), true
}

func (w *wire) send(reply *dhcpv4.DHCPv4) error {
	to, link := destination(reply)
	payload := reply.ToBytes()
	if !link {
		if _, _, err := w.udp.WriteMsgUDPAddrPort(payload, w.oob, to); err != nil {
			return fmt.Errorf("send to %s: %w", to, err)
		}
		return nil
	}
	at := &unix.SockaddrLinklayer{Protocol: swap16(unix.ETH_P_IP), Ifindex: w.index, Halen: 6}
	copy(at.Addr[:], reply.ClientHWAddr)
	from := netip.AddrPortFrom(w.source, serverPort)
	if err := sendTo(w.packet, datagram(from, to, payload), at); err != nil {
		return fmt.Errorf("send to %s: %w", reply.ClientHWAddr, err)
	}
	return nil
}

// datagram wraps an answer in the IPv4 and UDP headers that the packet socket does not make.
func datagram(from, to netip.AddrPort, payload []byte) []byte {
	const ipLen, udpLen = 20, 8
	b := make([]byte, ipLen+udpLen, ipLen+udpLen+len(payload))
	b = append(b, payload...)
	src, dst := from.Addr().As4(), to.Addr().As4()
	b[0], b[8], b[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
	binary.BigEndian.PutUint16(b[10:], ^fold(sum16(0, b[:ipLen])))
	udp := b[ipLen:]
	binary.BigEndian.PutUint16(udp[0:], from.Port())
	binary.BigEndian.PutUint16(udp[2:], to.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	pseudo := sum16(uint32(unix.IPPROTO_UDP)+uint32(len(udp)), b[12:20])
	sum := ^fold(sum16(pseudo, udp))
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(udp[6:], sum)
	return b
}

func sum16(sum uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	return sum
}

func fold(sum uint32) uint16 {
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

func swap16(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}
