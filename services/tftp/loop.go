package tftp

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const tick = 100 * time.Millisecond // how exact retransmissions are

// loop carries out many transfers in one goroutine. Lock-step transfers are two packets and a wait for each block: with epoll of its own
// that is four system calls, without the runtime's timers, wake-ups and hand-overs that a goroutine for each would cost.
type loop struct {
	epoll, wake int
	out         *out
	transfers   map[int32]*transfer

	mu       sync.Mutex
	arriving []*transfer
	stopped  bool
}

func newLoop() (*loop, error) {
	l := &loop{epoll: -1, wake: -1, out: newOut(), transfers: map[int32]*transfer{}}
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	if l.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, errors.Join(fmt.Errorf("create eventfd: %w", err), l.close())
	}
	if err := l.watch(l.wake); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func (l *loop) watch(fd int) error {
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
		return fmt.Errorf("watch socket: %w", err)
	}
	return nil
}

func (l *loop) close() (err error) {
	for _, fd := range []int{l.wake, l.epoll} {
		if fd >= 0 {
			err = errors.Join(err, unix.Close(fd))
		}
	}
	return err
}

// add hands a transfer over; one that comes after the stop is ended at once.
func (l *loop) add(t *transfer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		t.end("broken")
		return
	}
	l.arriving = append(l.arriving, t)
	l.ring()
}

// stop ends the loop and what it carries.
func (l *loop) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
	l.ring()
}

// ring fails only when the bell has not been heard yet.
func (l *loop) ring() { _, _ = unix.Write(l.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

// run returns after stop.
func (l *loop) run() error {
	events := make([]unix.EpollEvent, 64)
	packet := make([]byte, 256)
	swept := time.Now()
	for {
		timeout := -1
		if len(l.transfers) > 0 {
			timeout = int(tick / time.Millisecond)
		}
		n, err := unix.EpollWait(l.epoll, events, timeout)
		if err != nil && !errors.Is(err, unix.EINTR) {
			l.endAll()
			return fmt.Errorf("wait for packets: %w", err)
		}
		now := time.Now()
		for _, event := range events[:max(n, 0)] {
			if int(event.Fd) == l.wake {
				if stopped := l.arrive(packet, now); stopped {
					l.endAll()
					return nil
				}
				continue
			}
			if t, ok := l.transfers[event.Fd]; ok {
				t.readable(l.out, packet, now)
				l.forget(event.Fd, t)
			}
		}
		if now.Sub(swept) >= tick {
			swept = now
			for fd, t := range l.transfers {
				t.tick(l.out, now)
				l.forget(fd, t)
			}
		}
	}
}

func (l *loop) forget(fd int32, t *transfer) {
	if t.fd < 0 {
		delete(l.transfers, fd)
	}
}

// arrive takes the new transfers in and says whether the loop is to stop.
func (l *loop) arrive(packet []byte, now time.Time) bool {
	_, _ = unix.Read(l.wake, packet[:8]) // the bell is level-triggered: reading stills it
	l.mu.Lock()
	arriving := l.arriving
	l.arriving = nil
	stopped := l.stopped
	l.mu.Unlock()
	for _, t := range arriving {
		if err := l.watch(t.fd); err != nil {
			t.log.Warn("transfer cannot start", "err", err)
			t.end("broken")
			continue
		}
		fd := int32(t.fd)
		l.transfers[fd] = t
		t.begin(l.out, now)
		l.forget(fd, t)
	}
	return stopped
}

func (l *loop) endAll() {
	for fd, t := range l.transfers {
		t.tell(codeUndefined, errStopping.Error())
		t.end("broken")
		l.forget(fd, t)
	}
}
