package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// listenAround opens the sockets that look at the link: for ARP, and for offers of other servers. Between looks their
// filters let nothing in, so that a busy link wakes nobody. A link that is not Ethernet has neither.
func (w *wire) listenAround(ctx context.Context, relayed bool) (err error) {
	if len(w.mac) == 6 {
		if w.arp, err = w.listenPackets(unix.ETH_P_ARP); err != nil {
			return fmt.Errorf("listen for ARP: %w", err)
		}
		if w.offers, err = w.listenPackets(unix.ETH_P_IP); err != nil {
			return fmt.Errorf("listen for offers: %w", err)
		}
	}
	if relayed {
		if w.echo, err = (&net.ListenConfig{}).ListenPacket(ctx, "ip4:icmp", w.source.String()); err != nil {
			return fmt.Errorf("listen for ICMP: %w", err)
		}
	}
	return nil
}

func (w *wire) closeAround() (err error) {
	if w.arp != nil {
		err = w.arp.Close()
	}
	if w.offers != nil {
		err = errors.Join(err, w.offers.Close())
	}
	if w.echo != nil {
		err = errors.Join(err, w.echo.Close())
	}
	return err
}

// listenPackets opens a packet socket for one protocol that lets nothing in yet.
func (w *wire) listenPackets(protocol uint16) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	socket := os.NewFile(uintptr(fd), "packet")
	if err := filter(socket, nothingAtAll()); err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: swap16(protocol), Ifindex: w.index}); err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	return socket, nil
}

// filter replaces what a packet socket lets in.
func filter(socket *os.File, program []bpf.Instruction) error {
	raw, err := bpf.Assemble(program)
	if err != nil {
		return fmt.Errorf("assemble filter: %w", err)
	}
	list := make([]unix.SockFilter, len(raw))
	for i, in := range raw {
		list[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	conn, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	outer := conn.Control(func(fd uintptr) {
		set = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(list)), Filter: &list[0]})
	})
	if err := errors.Join(outer, set); err != nil {
		return fmt.Errorf("attach filter: %w", err)
	}
	return nil
}

const wholePacket = 1 << 16

func everything() []bpf.Instruction { return []bpf.Instruction{bpf.RetConstant{Val: wholePacket}} }

func nothingAtAll() []bpf.Instruction { return []bpf.Instruction{bpf.RetConstant{Val: 0}} }

// toClients lets UDP to port 68 in.
func toClients() []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 4},
		bpf.LoadMemShift{Off: 0},
		bpf.LoadIndirect{Off: 2, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: clientPort, SkipTrue: 1},
		bpf.RetConstant{Val: wholePacket},
		bpf.RetConstant{Val: 0},
	}
}
