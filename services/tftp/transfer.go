package tftp

import (
	"errors"
	"io"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"
)

const (
	retransmitAfter = time.Second
	slowest         = 8 * time.Second        // between retransmissions, unless the client asked for more
	patience        = 40 * time.Second       // without a word from the client
	late            = 200 * time.Millisecond // no client on a network that boots machines has its answer under way so long
	shortPatience   = 15 * time.Second       // for one that has never answered: its address may be forged
)

// transfer is one file on its way to one client. The loop that it belongs to is the only one that touches it.
type transfer struct {
	fd     int
	window window
	from   source
	file   io.Closer
	hello  []byte // the OACK
	first  time.Duration
	pause  time.Duration // until the next retransmission
	sent   time.Time     // the last window
	due    time.Time
	heard  time.Time
	start  time.Time
	cut    []byte // segmentSize's message; nil when the kernel or the device cannot cut
	log    *slog.Logger
	ended  func(outcome string, sent int64)
	moved  func() // called at the first acknowledgement
}

func newTransfer(fd int, agreed terms, size int64) *transfer {
	return &transfer{
		fd: fd, hello: agreed.answer, first: agreed.timeout, cut: segmentSize(header + agreed.block),
		window: window{block: agreed.block, count: agreed.window, size: size, greeting: agreed.answer != nil},
	}
}

// out is what a loop sends from: one frame that all its transfers use in turn.
type out struct {
	frame   []byte // header, then blocks without gaps
	headers [mostBlocks][header]byte
	parts   [][]byte
}

func newOut() *out {
	return &out{frame: make([]byte, header+max(mostBytes, largestBlock)), parts: make([][]byte, 0, 2*mostBlocks)}
}

// begin sends what answers the request.
func (t *transfer) begin(o *out, now time.Time) {
	t.start, t.heard, t.pause = now, now, t.first
	t.send(o, now)
}

// send sends the window that is due, or the OACK. A packet that the kernel does not take is as good as lost on the way.
func (t *transfer) send(o *out, now time.Time) {
	t.sent, t.due = now, now.Add(t.pause)
	if t.window.greeting {
		_, _ = unix.Write(t.fd, t.hello)
		return
	}
	first, blocks := t.window.next()
	offset, length := t.window.span(first, blocks)
	data := o.frame[header : header+length]
	if length > 0 {
		if err := t.from.read(data, offset); err != nil {
			t.log.Warn("file cannot be read on", "err", err)
			t.tell(codeUndefined, errRefused.Error())
			t.end("broken")
			return
		}
	}
	if blocks == 1 {
		putHeader(o.frame, opData, uint16(first))
		_, _ = unix.Write(t.fd, o.frame[:header+length])
		return
	}
	o.parts = o.parts[:0]
	for i := range blocks {
		putHeader(o.headers[i][:], opData, uint16(first)+uint16(i))
		size := min(t.window.block, len(data))
		o.parts = append(o.parts, o.headers[i][:], data[:size])
		data = data[size:]
	}
	t.sendParts(o.parts)
}

// mostCut is what one call may carry; the kernel's limit is a UDP packet of 64 KiB.
const mostCut = 65000

func (t *transfer) sendParts(parts [][]byte) {
	each := max(1, mostCut/(header+t.window.block))
	for len(parts) > 0 {
		n := min(2*each, len(parts))
		if n == 2 || t.cut == nil {
			for i := 0; i < n; i += 2 {
				_, _ = unix.SendmsgBuffers(t.fd, parts[i:i+2], nil, nil, 0)
			}
		} else if _, err := unix.SendmsgBuffers(t.fd, parts[:n], t.cut, nil, 0); errors.Is(err, unix.EIO) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
			t.cut = nil
			continue
		}
		parts = parts[n:]
	}
}

// readable takes one packet of the client, or the kernel's word that it is gone.
func (t *transfer) readable(o *out, packet []byte, now time.Time) {
	n, err := unix.Read(t.fd, packet)
	if err != nil {
		if errors.Is(err, unix.ECONNREFUSED) {
			t.gone()
		}
		return
	}
	r, ok := parseReply(packet[:n])
	if !ok {
		return
	}
	if r.op == opError {
		// UEFI and others ask for the size with a transfer that they break off at once.
		say := t.log.Info
		if !t.window.progress {
			say = t.log.Debug
		}
		say("client ended the transfer", "code", r.code, "message", r.message, "bytes", t.window.bytes())
		t.end("broken")
		return
	}
	known := t.window.progress
	switch t.window.acknowledge(r.block, now.Sub(t.sent) >= late) {
	case finish:
		t.log.Info("file sent", "bytes", t.window.size, "duration", now.Sub(t.start).Round(time.Millisecond))
		t.end("done")
	case send:
		if !known {
			t.moved()
		}
		t.heard, t.pause = now, t.first
		t.send(o, now)
	}
}

// gone: a client that has everything may close its socket before its last acknowledgement arrives.
func (t *transfer) gone() {
	if t.window.delivered() {
		t.end("done")
		return
	}
	t.log.Info("client is gone", "bytes", t.window.bytes())
	t.end("broken")
}

// tick sends again what was not acknowledged in time, each time later, until the client has been silent for too long.
func (t *transfer) tick(o *out, now time.Time) {
	if now.Before(t.due) {
		return
	}
	limit := patience
	if !t.window.progress {
		limit = shortPatience
	}
	if now.Sub(t.heard) >= max(limit, 2*t.first) {
		t.log.Info("client does not answer", "bytes", t.window.bytes())
		t.end("broken")
		return
	}
	t.pause = min(2*t.pause, max(slowest, t.first))
	t.send(o, now)
}

func (t *transfer) tell(code uint16, message string) {
	_, _ = unix.Write(t.fd, errorPacket(code, message))
}

// end closes what the transfer holds; its loop forgets it then.
func (t *transfer) end(outcome string) {
	if t.fd < 0 {
		return
	}
	if err := errors.Join(unix.Close(t.fd), t.file.Close()); err != nil {
		t.log.Warn("close transfer", "err", err)
	}
	t.fd = -1
	t.ended(outcome, t.window.bytes())
}
