package tftp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Operation codes, RFC 1350 §5 and RFC 2347.
const (
	opRead uint16 = iota + 1
	opWrite
	opData
	opAcknowledge
	opError
	opOptions
)

// Error codes, RFC 1350 appendix.
const (
	codeUndefined uint16 = 0
	codeNotFound  uint16 = 1
	codeAccess    uint16 = 2
	codeIllegal   uint16 = 4
)

const (
	header       = 4 // operation and block number
	defaultBlock = 512
	largestBlock = 65464 // RFC 2348
	// Blocks and bytes that are under way at most: what a socket's send buffer and a client's receive buffer hold.
	mostBlocks = 64
	mostBytes  = 128 << 10
)

var (
	errMalformed = errors.New("request is malformed")
	errNotARead  = errors.New("not a request")
)

// request is a read or write request.
type request struct {
	op      uint16
	name    string
	mode    string // lower case
	options options
}

// options are those that are understood; zero is not asked for, or asked for with a value that RFC 2348, 2349 or 7440 does not have.
type options struct {
	block   int
	window  int
	timeout time.Duration
	size    bool
}

// parseRequest reads a packet that came to the server's port. errNotARead is for what is no request at all and gets no answer.
func parseRequest(raw []byte) (request, error) {
	if len(raw) < 2 {
		return request{}, errNotARead
	}
	r := request{op: binary.BigEndian.Uint16(raw)}
	if r.op != opRead && r.op != opWrite {
		return request{}, errNotARead
	}
	if len(raw) < 4 || raw[len(raw)-1] != 0 {
		return r, fmt.Errorf("%w: it does not end with NUL", errMalformed)
	}
	fields := strings.Split(string(raw[2:len(raw)-1]), "\x00")
	if len(fields) < 2 {
		return r, fmt.Errorf("%w: it has no mode", errMalformed)
	}
	r.name, r.mode = fields[0], strings.ToLower(fields[1])
	for pairs := fields[2:]; len(pairs) >= 2; pairs = pairs[2:] {
		r.options.set(strings.ToLower(pairs[0]), pairs[1])
	}
	return r, nil
}

func (o *options) set(name, value string) {
	n, err := strconv.Atoi(value)
	if err != nil {
		return
	}
	between := func(low, high int) bool { return n >= low && n <= high }
	switch {
	case name == "blksize" && between(8, largestBlock):
		o.block = n
	case name == "windowsize" && between(1, 65535):
		o.window = n
	case name == "timeout" && between(1, 255):
		o.timeout = time.Duration(n) * time.Second
	case name == "tsize" && n >= 0:
		o.size = true
	}
}

// terms are what a transfer is done with.
type terms struct {
	block   int
	window  int
	timeout time.Duration // until the first retransmission
	answer  []byte        // the OACK, nil when no option was taken
}

// agree answers the options for a file of that size on a path that takes blocks up to fitting.
func agree(asked options, size int64, fitting int) terms {
	t := terms{block: defaultBlock, window: 1, timeout: retransmitAfter}
	var answer []byte
	add := func(name string, value int64) {
		answer = append(answer, name...)
		answer = append(answer, 0)
		answer = strconv.AppendInt(answer, value, 10)
		answer = append(answer, 0)
	}
	if asked.block > 0 {
		t.block = min(asked.block, max(fitting, defaultBlock))
		add("blksize", int64(t.block))
	}
	if asked.window > 0 {
		t.window = max(1, min(asked.window, mostBlocks, mostBytes/t.block))
		add("windowsize", int64(t.window))
	}
	if asked.timeout > 0 {
		t.timeout = asked.timeout
		add("timeout", int64(asked.timeout/time.Second))
	}
	if asked.size {
		add("tsize", size)
	}
	if answer != nil {
		t.answer = append([]byte{0, byte(opOptions)}, answer...)
	}
	return t
}

// reply is what a client sends during a transfer.
type reply struct {
	op      uint16
	block   uint16 // of an acknowledgement
	code    uint16 // of an error
	message string
}

// parseReply reads an acknowledgement or an error; anything else is no part of a read transfer.
func parseReply(raw []byte) (reply, bool) {
	if len(raw) < header {
		return reply{}, false
	}
	r := reply{op: binary.BigEndian.Uint16(raw)}
	number := binary.BigEndian.Uint16(raw[2:])
	switch r.op {
	case opAcknowledge:
		r.block = number
	case opError:
		text, _, _ := bytes.Cut(raw[header:], []byte{0})
		r.code, r.message = number, printable(string(text))
	default:
		return reply{}, false
	}
	return r, true
}

func putHeader(at []byte, op, number uint16) {
	binary.BigEndian.PutUint16(at, op)
	binary.BigEndian.PutUint16(at[2:], number)
}

func errorPacket(code uint16, message string) []byte {
	packet := make([]byte, header, header+len(message)+1)
	putHeader(packet, opError, code)
	return append(append(packet, message...), 0)
}

// printable is client's text that may stand in a log.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '.'
		}
		return r
	}, text[:min(len(text), 128)])
}
