package dhcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

const (
	probeTimes = 2                      // a probe may be lost
	probeWait  = 200 * time.Millisecond // for answers, after each
)

// probeARP asks on the link who has the addresses, without saying that we do (RFC 5227 §2.1.1), and returns the MACs of
// those who answer.
func (w *wire) probeARP(list []netip.Addr) (map[netip.Addr]string, error) {
	if err := filter(w.arp, everything()); err != nil {
		return nil, fmt.Errorf("probe addresses: %w", err)
	}
	defer filter(w.arp, nothingAtAll())
	users := map[netip.Addr]string{}
	buf := make([]byte, 64)
	for range probeTimes {
		for _, a := range list {
			if err := w.broadcast(w.arp, unix.ETH_P_ARP, arpProbe(w.mac, a)); err != nil {
				return nil, fmt.Errorf("probe %s: %w", a, err)
			}
		}
		if err := w.arp.SetReadDeadline(time.Now().Add(probeWait)); err != nil {
			return nil, err
		}
		for {
			n, err := w.arp.Read(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("probe addresses: %w", err)
			}
			if a, mac, ok := arpSender(buf[:n]); ok && mac.String() != w.mac.String() {
				users[a] = mac.String()
			}
		}
	}
	return users, nil
}

// arpProbe is an ARP request without a sender's address.
func arpProbe(from net.HardwareAddr, to netip.Addr) []byte {
	b := make([]byte, 28)
	copy(b, []byte{0, 1, 8, 0, 6, 4, 0, 1})
	copy(b[8:], from)
	copy(b[24:], to.AsSlice())
	return b
}

// arpSender is who speaks in an ARP packet for Ethernet and IPv4, if it has an address.
func arpSender(b []byte) (netip.Addr, net.HardwareAddr, bool) {
	if len(b) < 28 || string(b[:6]) != "\x00\x01\x08\x00\x06\x04" {
		return netip.Addr{}, nil, false
	}
	a := netip.AddrFrom4([4]byte(b[14:18]))
	return a, net.HardwareAddr(b[8:14]), !a.IsUnspecified()
}

// probeEcho pings addresses behind a relay agent, where ARP does not reach. Who answers is not known by MAC.
func (w *wire) probeEcho(list []netip.Addr) (map[netip.Addr]string, error) {
	id := os.Getpid() & 0xffff
	users := map[netip.Addr]string{}
	buf := make([]byte, 1500)
	for seq := range probeTimes {
		ping, err := (&icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: id, Seq: seq}}).Marshal(nil)
		if err != nil {
			return nil, fmt.Errorf("ping addresses: %w", err)
		}
		for _, a := range list {
			// Where no route leads nobody is found, and the relay would not reach us either.
			_, _ = w.echo.WriteTo(ping, &net.IPAddr{IP: a.AsSlice()})
		}
		if err := w.echo.SetReadDeadline(time.Now().Add(probeWait)); err != nil {
			return nil, err
		}
		for {
			n, from, err := w.echo.ReadFrom(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("ping addresses: %w", err)
			}
			if m, err := icmp.ParseMessage(1, buf[:n]); err == nil && m.Type == ipv4.ICMPTypeEchoReply {
				if echo, ok := m.Body.(*icmp.Echo); ok && echo.ID == id {
					users[addr4(from.(*net.IPAddr).IP)] = ""
				}
			}
		}
	}
	return users, nil
}

// broadcast sends to everyone on the link.
func (w *wire) broadcast(socket *os.File, protocol uint16, payload []byte) error {
	at := &unix.SockaddrLinklayer{Protocol: swap16(protocol), Ifindex: w.index, Halen: 6}
	binary.BigEndian.PutUint64(at.Addr[:], 0xffffffffffff0000)
	return sendTo(socket, payload, at)
}

func sendTo(socket *os.File, payload []byte, at unix.Sockaddr) error {
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	outer := raw.Write(func(fd uintptr) bool {
		sent = unix.Sendto(int(fd), payload, 0, at)
		return sent != unix.EAGAIN
	})
	return errors.Join(outer, sent)
}
