// Package tftptest is a TFTP client with all options, for tests and benches.
package tftptest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Options of a request; what is zero is not asked for.
type Options struct {
	Block   int
	Window  int
	Timeout int  // seconds
	Size    bool // ask for the size
	// Patience is how long to wait for a packet before the last one is sent again; a second when 0.
	Patience time.Duration
	// Tries is how often it is sent again before the server is given up; five times when 0.
	Tries int
}

// Result is what became of a transfer.
type Result struct {
	Bytes  int64
	Server netip.AddrPort    // that the data came from
	Agreed map[string]string // options that the server took
}

// Refused is an error packet.
type Refused struct {
	Code    int
	Message string
}

func (r *Refused) Error() string { return fmt.Sprintf("server said error %d: %s", r.Code, r.Message) }

// Request is the packet of a read request.
func Request(name, mode string, o Options) []byte {
	packet := append([]byte{0, 1}, name+"\x00"+mode+"\x00"...)
	for _, option := range []struct {
		name  string
		value int
		asked bool
	}{{"blksize", o.Block, o.Block > 0}, {"windowsize", o.Window, o.Window > 0}, {"timeout", o.Timeout, o.Timeout > 0}, {"tsize", 0, o.Size}} {
		if option.asked {
			packet = append(packet, option.name+"\x00"+strconv.Itoa(option.value)+"\x00"...)
		}
	}
	return packet
}

// Get reads a file into w.
func Get(server netip.AddrPort, name string, o Options, w io.Writer) (Result, error) {
	network := "udp4"
	if server.Addr().Is6() {
		network = "udp6"
	}
	conn, err := net.ListenUDP(network, nil)
	if err != nil {
		return Result{}, err
	}
	defer conn.Close()
	if o.Patience == 0 {
		o.Patience = time.Second
	}
	if o.Tries == 0 {
		o.Tries = 5
	}
	c := &client{conn: conn, o: o, to: server, w: w, block: 512, window: 1, packet: make([]byte, 65536), last: Request(name, "octet", o)}
	err = c.run()
	return c.result, err
}

type client struct {
	conn   *net.UDPConn
	o      Options
	to     netip.AddrPort
	w      io.Writer
	result Result

	block, window int
	got           uint64 // blocks in order
	unacked       int
	known         bool // to is the transfer's address
	packet        []byte
	last          []byte
	armed         time.Time
}

func (c *client) run() error {
	if err := c.again(); err != nil {
		return err
	}
	for silent := 0; ; {
		if now := time.Now(); now.Sub(c.armed) > c.o.Patience/2 {
			c.armed = now
			if err := c.conn.SetReadDeadline(now.Add(c.o.Patience)); err != nil {
				return err
			}
		}
		n, from, err := c.conn.ReadFromUDPAddrPort(c.packet)
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			if silent++; silent > c.o.Tries {
				return fmt.Errorf("server is silent after %d bytes", c.result.Bytes)
			}
			c.armed = time.Time{}
			if err := c.again(); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if c.known && from != c.to {
			if _, err := c.conn.WriteToUDPAddrPort([]byte("\x00\x05\x00\x05unknown transfer\x00"), from); err != nil {
				return err
			}
			continue
		}
		silent = 0
		if done, err := c.take(c.packet[:n], from); done || err != nil {
			return err
		}
	}
}

func (c *client) again() error {
	_, err := c.conn.WriteToUDPAddrPort(c.last, c.to)
	return err
}

func (c *client) acknowledge() error {
	c.unacked = 0
	c.last = binary.BigEndian.AppendUint16([]byte{0, 4}, uint16(c.got))
	return c.again()
}

func (c *client) take(packet []byte, from netip.AddrPort) (done bool, err error) {
	if len(packet) < 4 {
		return false, errors.New("packet is too short")
	}
	number := binary.BigEndian.Uint16(packet[2:])
	switch op := binary.BigEndian.Uint16(packet); op {
	case 5:
		return true, &Refused{int(number), strings.TrimRight(string(packet[4:]), "\x00")}
	case 6:
		c.to, c.known = from, true
		if c.got == 0 {
			if err := c.agree(packet[2:]); err != nil {
				return false, err
			}
		}
		return false, c.acknowledge()
	case 3:
		c.to, c.known = from, true
		return c.data(number, packet[4:])
	default:
		return false, fmt.Errorf("operation %d is none that a client takes", op)
	}
}

func (c *client) agree(raw []byte) error {
	fields := strings.Split(strings.TrimSuffix(string(raw), "\x00"), "\x00")
	if len(fields)%2 != 0 {
		return fmt.Errorf("options %q are no pairs", fields)
	}
	c.result.Agreed = map[string]string{}
	for ; len(fields) > 0; fields = fields[2:] {
		c.result.Agreed[fields[0]] = fields[1]
	}
	for name, value := range c.result.Agreed {
		n, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("option %s: %w", name, err)
		}
		switch name {
		case "blksize":
			c.block = n
		case "windowsize":
			c.window = n
		}
	}
	return nil
}

func (c *client) data(number uint16, data []byte) (done bool, err error) {
	if number != uint16(c.got+1) {
		if uint16(c.got)-number < 1<<15 || c.unacked < 0 {
			return false, nil // seen already, or its gap is told already
		}
		err := c.acknowledge()
		c.unacked = -1
		return false, err
	}
	c.got++
	c.unacked = max(c.unacked, 0) + 1
	c.result.Server = c.to
	n, err := c.w.Write(data)
	c.result.Bytes += int64(n)
	if err != nil {
		return false, err
	}
	last := len(data) < c.block
	if last || c.unacked >= c.window {
		return last, c.acknowledge()
	}
	return false, nil
}
