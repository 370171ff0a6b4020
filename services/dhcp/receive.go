package dhcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

// receiver waits in poll(2) with a thread of its own: a packet every few milliseconds then wakes one thread, where the runtime's
// poller and a handing on to another goroutine wake several, which cost more than the answer.
type receiver struct {
	socket  *net.UDPConn
	boot    bool // of the boot server's port
	packets *queue
	end     *os.File // its other end is closed to stop
}

// receive answers what comes until ctx ends. All that waits in the socket is read before anything is decided, so that under
// load the queue, and not chance, has the say over what is left out.
func (s *Server) receive(ctx context.Context, socket *net.UDPConn, boot bool) error {
	end, stop, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	defer end.Close()
	defer stop.Close()
	defer context.AfterFunc(ctx, func() { stop.Close() })()
	raw, err := socket.SyscallConn()
	if err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	r := &receiver{socket: socket, boot: boot, packets: newQueue(queueLimit), end: end}
	var failed error
	// The socket is not closed while Read runs, so the descriptor stays its own.
	outer := raw.Read(func(fd uintptr) bool {
		failed = s.attend(r, int(fd))
		return true
	})
	return errors.Join(outer, failed)
}

// pace is how far apart looks at the socket are while packets keep coming. A lone packet is answered at once; under load
// those of this time share one waking of the thread and one sync.
const pace = 10 * time.Millisecond

// attend decides and commits in the one thread: what comes during a sync waits in the socket, and shares the next one.
func (s *Server) attend(r *receiver, fd int) error {
	packet, end := unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}, unix.PollFd{Fd: int32(r.end.Fd()), Events: unix.POLLIN}
	buf := make([]byte, 1<<16)
	var next time.Time
	for {
		if err := await(-1, end, packet); err != nil {
			return err
		}
		if err := await(max(0, time.Until(next)), end); err != nil {
			return err
		}
		next = time.Now().Add(pace)
		if err := s.drain(r, fd, buf); err != nil {
			return err
		}
		if err := s.record(s.answer(r.packets.take())); err != nil {
			return err
		}
	}
}

// await waits for one of the descriptors, no longer than a time that is not negative. The first ends it with net.ErrClosed.
func await(most time.Duration, list ...unix.PollFd) error {
	var limit *unix.Timespec
	if most >= 0 {
		limit = new(unix.NsecToTimespec(int64(most)))
	}
	if _, err := unix.Ppoll(list, limit, nil); err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("receive: %w", err)
	}
	if list[0].Revents != 0 {
		return net.ErrClosed
	}
	return nil
}

// drain reads what waits in the socket, and of a flood that does not end only so much that answers are given in between.
func (s *Server) drain(r *receiver, fd int, buf []byte) error {
	for range 4 * queueLimit {
		n, from, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
		switch {
		case err == nil:
			s.take(r, buf[:n], from)
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR), errors.Is(err, errNetDown): // packets come again when the interface is up
		default:
			return fmt.Errorf("receive: %w", err)
		}
	}
	return nil
}

func (s *Server) take(r *receiver, b []byte, from unix.Sockaddr) {
	var at netip.AddrPort
	if inet, ok := from.(*unix.SockaddrInet4); ok {
		at = netip.AddrPortFrom(netip.AddrFrom4(inet.Addr), uint16(inet.Port))
	}
	p, err := dhcpv4.FromBytes(b)
	if err != nil {
		s.metrics.packets.WithLabelValues("unknown", string(Malformed)).Inc()
		s.log.Debug("packet is not DHCP", "ip", at.Addr(), "err", err)
		return
	}
	if r.packets.push(arrival{p, at, r.boot}) {
		s.metrics.dropped.Inc()
	}
}
