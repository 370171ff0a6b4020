package tftp

// window decides what of a file is sent when. Blocks are counted from 1 without end; on the wire they are 16 bits that roll over to 0.
type window struct {
	block int   // bytes
	count int   // blocks under way at most
	size  int64 // of the file, bytes

	acked    uint64
	sent     uint64
	greeting bool // the answer to the options waits for its acknowledgement, block 0
	repeated bool // what follows acked was sent again because of an acknowledgement
	progress bool // the client has acknowledged something
}

type step int

const (
	wait step = iota
	send      // next has the blocks
	finish
)

// last is the block that is shorter than the others, maybe empty.
func (w *window) last() uint64 { return uint64(w.size/int64(w.block)) + 1 }

// acknowledge takes the number of an acknowledgement (RFC 7440 §4). One for a block in the middle of the window means that the next was lost.
// A repeated one is answered when it is late, that is when it comes so long after the last packet that the client's timer sent it. If it is not,
// it is answered never in lock-step (the Sorcerer's Apprentice, RFC 1123 §4.2.3.1), and once with a window: it tells of a gap then.
func (w *window) acknowledge(number uint16, late bool) step {
	if w.greeting {
		if number != 0 {
			return wait
		}
		w.greeting, w.progress = false, true
		return send
	}
	forward := uint64(number - uint16(w.acked))
	switch {
	case forward > w.sent-w.acked:
		return wait
	case forward > 0:
		w.acked += forward
		w.progress = true
		w.repeated = w.acked < w.sent
	case w.sent == w.acked, !late && (w.count == 1 || w.repeated):
		return wait
	default:
		w.repeated = true
	}
	if w.acked == w.last() {
		return finish
	}
	return send
}

// next is the window that follows what is acknowledged: its first block and how many. They count as sent.
func (w *window) next() (first uint64, blocks int) {
	blocks = int(min(uint64(w.count), w.last()-w.acked))
	w.sent = w.acked + uint64(blocks)
	return w.acked + 1, blocks
}

// span is where blocks are in the file.
func (w *window) span(first uint64, blocks int) (offset int64, length int) {
	offset = int64(first-1) * int64(w.block)
	return offset, int(min(int64(blocks)*int64(w.block), w.size-offset))
}

// delivered says whether the whole file has been sent, be it acknowledged or not.
func (w *window) delivered() bool { return w.sent == w.last() }

// bytes are those that the client has acknowledged.
func (w *window) bytes() int64 { return min(int64(w.acked)*int64(w.block), w.size) }
