package tftp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// arrival is which of our addresses a request came to, and on what interface.
type arrival struct {
	address netip.Addr
	index   int
}

// wantArrival makes the kernel tell with each packet where it came to.
func wantArrival(conn *net.UDPConn, v6 bool) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	level, option := unix.IPPROTO_IP, unix.IP_PKTINFO
	if v6 {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO
	}
	return errors.Join(raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, option, 1) }), err)
}

// arrivalOf reads the control message. A packet to a broadcast or multicast address has none: RFC 1123 §4.2.3.4 wants no answer to it.
func arrivalOf(control []byte) (arrival, bool) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return arrival{}, false
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo:
			local, to := netip.AddrFrom4([4]byte(m.Data[4:8])), netip.AddrFrom4([4]byte(m.Data[8:12]))
			return arrival{to, int(int32(binary.NativeEndian.Uint32(m.Data)))}, local == to && !to.IsMulticast()
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo:
			to := netip.AddrFrom16([16]byte(m.Data[:16]))
			return arrival{to, int(binary.NativeEndian.Uint32(m.Data[16:]))}, !to.IsMulticast()
		}
	}
	return arrival{}, false
}

// departure is the control message that makes a packet leave from that address.
func departure(from arrival) []byte {
	if from.address.Is4() {
		return unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: int32(from.index), Spec_dst: from.address.As4()})
	}
	return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: from.address.As16(), Ifindex: uint32(from.index)})
}

// dial makes the socket of one transfer: bound to the address that the request came to, on a port of its own, and connected,
// so that the kernel drops what others send there and tells when the client is gone.
func dial(from arrival, to netip.AddrPort) (int, error) {
	family := unix.AF_INET
	if from.address.Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open transfer socket: %w", err)
	}
	if err := unix.Bind(fd, sockaddr(from.address, 0, from.index)); err != nil {
		return -1, errors.Join(fmt.Errorf("bind transfer socket to %s: %w", from.address, err), unix.Close(fd))
	}
	if err := unix.Connect(fd, sockaddr(to.Addr(), to.Port(), from.index)); err != nil {
		return -1, errors.Join(fmt.Errorf("connect transfer socket to %s: %w", to, err), unix.Close(fd))
	}
	// The largest window fits; a kernel that allows less gives less, and the client asks for what is missing.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 2*mostBytes)
	return fd, nil
}

func sockaddr(a netip.Addr, port uint16, index int) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Port: int(port), Addr: a.As4()}
	}
	s := &unix.SockaddrInet6{Port: int(port), Addr: a.As16()}
	if a.IsLinkLocalUnicast() {
		s.ZoneId = uint32(index)
	}
	return s
}

// fittingBlock is the block that the path to a connected socket's peer takes without fragments. The kernel has the path MTU
// with the socket's route: nothing is looked up.
func fittingBlock(fd int, v6 bool) int {
	level, option, headers := unix.IPPROTO_IP, unix.IP_MTU, 20+8+header
	if v6 {
		level, option, headers = unix.IPPROTO_IPV6, unix.IPV6_MTU, 40+8+header
	}
	mtu, err := unix.GetsockoptInt(fd, level, option)
	if err != nil {
		return defaultBlock
	}
	return mtu - headers
}

// segmentSize is the control message that makes the kernel cut what is sent into packets of that size (UDP generic segmentation offload).
func segmentSize(size int) []byte {
	control := make([]byte, unix.CmsgSpace(2))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	h.Level, h.Type = unix.SOL_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(control[unix.CmsgLen(0):], uint16(size))
	return control
}
