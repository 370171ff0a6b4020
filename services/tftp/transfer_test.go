package tftp

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"
)

// A kernel or device that cannot cut a window into packets gets the packets one by one.
func TestWindowWithoutOffload(t *testing.T) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	fd, err := dial(arrival{address: client.Addr()}, client)
	if err != nil {
		t.Fatal(err)
	}
	content := blob(10*1000 + 7)
	sent := newTransfer(fd, terms{block: 1000, window: 16, timeout: time.Second}, int64(len(content)))
	sent.from, sent.file, sent.log = sourceOf(bytes.NewReader(content)), io.NopCloser(nil), slog.New(slog.DiscardHandler)
	sent.moved = func() {}
	outcome := ""
	sent.ended = func(how string, _ int64) { outcome = how }
	for _, cut := range [][]byte{segmentSize(header + 1000), segmentSize(1), nil} { // the second is more packets than the kernel makes of one
		sent.cut = cut
		sent.begin(newOut(), time.Now())
		var got []byte
		packet := make([]byte, 2000)
		for block := range 11 {
			n, _, err := conn.ReadFromUDP(packet)
			if err != nil || n < header || int(packet[3]) != block+1 {
				t.Fatalf("block %d: %d bytes, % x, %v", block+1, n, packet[:header], err)
			}
			got = append(got, packet[header:n]...)
		}
		if !bytes.Equal(got, content) {
			t.Errorf("with %v: %d bytes", cut, len(got))
		}
		sent.window.sent = 0
	}
	if sent.cut != nil {
		t.Error("what does not work is tried again")
	}
	sent.end("done")
	if outcome != "done" || sent.fd >= 0 {
		t.Errorf("outcome %q, socket %d", outcome, sent.fd)
	}
}

// A client that is silent is given up; before that it is asked again, each time later.
func TestSilentClient(t *testing.T) {
	conn, err := net.ListenUDP("udp6", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("[::1]:0")))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	for _, c := range []struct {
		timeout  time.Duration
		progress bool
		times    int
		end      time.Duration
	}{{time.Second, false, 3, shortPatience}, {time.Second, true, 7, patience}, {30 * time.Second, true, 1, time.Minute}} {
		fd, err := dial(arrival{address: client.Addr()}, client)
		if err != nil {
			t.Fatal(err)
		}
		silent := newTransfer(fd, terms{block: 512, window: 1, timeout: c.timeout}, 1000)
		silent.from, silent.file, silent.log = sourceOf(bytes.NewReader(blob(1000))), io.NopCloser(nil), slog.New(slog.DiscardHandler)
		outcome := ""
		silent.ended = func(how string, _ int64) { outcome = how }
		start, o, times := time.Now(), newOut(), 0
		silent.begin(o, start)
		silent.window.progress = c.progress
		now := start
		for outcome == "" && now.Sub(start) < 10*time.Minute {
			now = now.Add(tick)
			before := silent.sent
			if silent.tick(o, now); silent.sent != before {
				times++
			}
		}
		if took := now.Sub(start); outcome != "broken" || times != c.times || took < c.end || took > c.end+slowest {
			t.Errorf("timeout %s: %q after %s and %d times; want %d times and %s", c.timeout, outcome, took, times, c.times, c.end)
		}
	}
}
