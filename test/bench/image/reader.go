package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	rangeSize   = 2048
	connections = 32
)

// connection reads ranges with as little work as there can be, so that what is measured is the server.
type connection struct {
	net.Conn
	in     *bufio.Reader
	header *textproto.Reader
}

func dial(address string) (*connection, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	in := bufio.NewReaderSize(c, 256<<10)
	return &connection{c, in, textproto.NewReader(in)}, nil
}

func (c *connection) close() error { return c.Close() }

// ask sends a request and gives the length of what follows the header.
func (c *connection) ask(request string, status string) (int64, error) {
	if _, err := io.WriteString(c, request); err != nil {
		return 0, err
	}
	line, err := c.header.ReadLine()
	if err != nil {
		return 0, err
	}
	if !strings.HasPrefix(line, "HTTP/1.1 "+status) {
		return 0, fmt.Errorf("the answer is %q, expected %s", line, status)
	}
	length := int64(-1)
	for {
		line, err := c.header.ReadLine()
		if err != nil {
			return 0, err
		}
		if line == "" {
			break
		}
		if name, value, _ := strings.Cut(line, ":"); strings.EqualFold(name, "Content-Length") {
			if length, err = strconv.ParseInt(strings.TrimSpace(value), 10, 64); err != nil {
				return 0, err
			}
		}
	}
	if length < 0 {
		return 0, errors.New("the answer has no length")
	}
	return length, nil
}

// read discards one range.
func (c *connection) read(path string, at, size int64) (int64, error) {
	length, err := c.ask(fmt.Sprintf("GET %s HTTP/1.1\r\nHost: b\r\nRange: bytes=%d-%d\r\n\r\n", path, at, at+size-1), "206")
	if err != nil {
		return 0, err
	}
	if length != size {
		return 0, fmt.Errorf("the range has %d bytes, expected %d", length, size)
	}
	_, err = c.in.Discard(int(length))
	return length, err
}

// size asks for the length of the whole.
func (c *connection) size(path string) (int64, error) {
	return c.ask("HEAD "+path+" HTTP/1.1\r\nHost: b\r\n\r\n", "200")
}

// whole reads everything; first is when the first byte of the body was there.
func (c *connection) whole(path string) (first, all time.Duration, size int64, err error) {
	start := time.Now()
	if size, err = c.ask("GET "+path+" HTTP/1.1\r\nHost: b\r\n\r\n", "200"); err != nil {
		return 0, 0, 0, err
	}
	if _, err = c.in.ReadByte(); err != nil {
		return 0, 0, 0, err
	}
	first = time.Since(start)
	_, err = io.CopyN(io.Discard, c.in, size-1)
	return first, time.Since(start), size, err
}

// result has times in milliseconds, rates per second.
type result struct {
	name                   string
	p50, p99, single, many float64
	first, whole           float64
}

func measure(ctx context.Context, s side, length time.Duration) (result, error) {
	r := result{name: s.name}
	c, err := dial(s.address)
	if err != nil {
		return r, err
	}
	defer c.close()
	size, err := c.size(s.path)
	if err != nil {
		return r, err
	}
	if _, _, _, err := c.whole(s.path); err != nil { // everything is in the page cache now, for every side
		return r, err
	}
	times, err := ranges(ctx, s, size, length)
	if err != nil {
		return r, err
	}
	r.single = float64(len(times)) / length.Seconds()
	slices.Sort(times)
	r.p50, r.p99 = ms(times[len(times)/2]), ms(times[len(times)*99/100])
	if r.many, err = parallel(ctx, s, size, length); err != nil {
		return r, err
	}
	var firsts []time.Duration
	var best float64
	for range 5 {
		first, all, size, err := c.whole(s.path)
		if err != nil {
			return r, err
		}
		firsts = append(firsts, first)
		best = max(best, float64(size)/(1<<20)/all.Seconds())
	}
	slices.Sort(firsts)
	r.first, r.whole = ms(firsts[len(firsts)/2]), best
	return r, nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// ranges reads one after the other from places all over the file, on one connection.
func ranges(ctx context.Context, s side, size int64, length time.Duration) ([]time.Duration, error) {
	c, err := dial(s.address)
	if err != nil {
		return nil, err
	}
	defer c.close()
	var times []time.Duration
	for end := time.Now().Add(length); time.Now().Before(end) && ctx.Err() == nil; {
		start := time.Now()
		if _, err := c.read(s.path, rand.Int64N(size/rangeSize)*rangeSize, rangeSize); err != nil {
			return nil, err
		}
		times = append(times, time.Since(start))
	}
	return times, ctx.Err()
}

func parallel(ctx context.Context, s side, size int64, length time.Duration) (float64, error) {
	counts, faults := make([]int, connections), make([]error, connections)
	var all sync.WaitGroup
	for n := range connections {
		all.Go(func() {
			times, err := ranges(ctx, s, size, length)
			counts[n], faults[n] = len(times), err
		})
	}
	all.Wait()
	total := 0
	for _, count := range counts {
		total += count
	}
	return float64(total) / length.Seconds(), errors.Join(faults...)
}
