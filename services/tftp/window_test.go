package tftp

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestWindow(t *testing.T) {
	const blocks = 10 // of 100 bytes, the last is empty
	type ack struct {
		number uint16
		late   bool
		want   string
	}
	for name, c := range map[string]struct {
		count    int
		greeting bool
		acks     []ack
	}{
		"lock-step":           {1, false, []ack{{1, false, "2"}, {2, false, "3"}}},
		"options first":       {1, true, []ack{{1, false, "wait"}, {0, false, "1"}, {1, false, "2"}}},
		"Sorcerer":            {1, false, []ack{{1, false, "2"}, {1, false, "wait"}, {2, false, "3"}, {1, false, "wait"}}},
		"client's timer":      {1, false, []ack{{1, false, "2"}, {1, true, "2"}, {2, false, "3"}}},
		"not sent yet":        {1, false, []ack{{2, false, "wait"}, {65535, false, "wait"}, {1, false, "2"}}},
		"to the end":          {4, false, []ack{{4, false, "5-8"}, {8, false, "9-10"}, {10, false, "finish"}}},
		"gap":                 {4, false, []ack{{4, false, "5-8"}, {6, false, "7-10"}, {6, false, "wait"}, {10, false, "finish"}}},
		"first is lost":       {4, false, []ack{{0, false, "1-4"}, {0, false, "wait"}, {0, true, "1-4"}, {4, false, "5-8"}}},
		"old acknowledgement": {4, false, []ack{{4, false, "5-8"}, {2, false, "wait"}, {3, true, "wait"}, {8, false, "9-10"}}},
		"lost last":           {16, false, []ack{{9, false, "10"}, {9, false, "wait"}, {10, false, "finish"}}},
	} {
		w := window{block: 100, count: c.count, size: (blocks - 1) * 100, greeting: c.greeting}
		if !c.greeting {
			w.next()
		}
		for i, a := range c.acks {
			got := map[step]string{wait: "wait", finish: "finish"}[w.acknowledge(a.number, a.late)]
			if got == "" {
				first, n := w.next()
				got = fmt.Sprint(first)
				if n > 1 {
					got = fmt.Sprintf("%d-%d", first, first+uint64(n)-1)
				}
			}
			if got != a.want {
				t.Errorf("%s: acknowledgement %d of %d gives %s, want %s", name, i, a.number, got, a.want)
			}
		}
	}
}

func TestWindowRollsOver(t *testing.T) {
	w := window{block: 8, count: 16, size: 8 * 200_000}
	for {
		first, n := w.next()
		offset, length := w.span(first, n)
		if offset != int64(w.acked)*8 || length > n*8 {
			t.Fatalf("block %d: offset %d, length %d", first, offset, length)
		}
		if w.acknowledge(uint16(first+uint64(n)-1), false) == finish {
			break
		}
	}
	if w.acked != 200_001 || w.bytes() != w.size || !w.delivered() {
		t.Errorf("%+v", w)
	}
}

func TestAgree(t *testing.T) {
	for request, want := range map[string]string{
		"":                              "512 1 1s ",
		"blksize 1468":                  "1468 1 1s blksize 1468",
		"BLKSIZE 1468 tsize 0":          "1468 1 1s blksize 1468 tsize 1000",
		"blksize 65464":                 "1468 1 1s blksize 1468",
		"blksize 7":                     "512 1 1s ",
		"blksize 65465":                 "512 1 1s ",
		"blksize x":                     "512 1 1s ",
		"windowsize 16 blksize 1024":    "1024 16 1s blksize 1024 windowsize 16",
		"windowsize 65535":              "512 64 1s windowsize 64",
		"windowsize 0":                  "512 1 1s ",
		"timeout 3":                     "512 1 3s timeout 3",
		"timeout 256":                   "512 1 1s ",
		"tsize -1":                      "512 1 1s ",
		"multicast  blksize2 1024":      "512 1 1s ",
		"utimeout 5 rollover 0 tsize 0": "512 1 1s tsize 1000",
	} {
		packet := "\x00\x01x\x00OcTet\x00"
		if request != "" {
			packet += strings.ReplaceAll(request, " ", "\x00") + "\x00"
		}
		r, err := parseRequest([]byte(packet))
		if err != nil || r.name != "x" || r.mode != "octet" {
			t.Errorf("%s: %+v, %v", request, r, err)
			continue
		}
		got := agree(r.options, 1000, 1468)
		answer := strings.TrimSpace(strings.ReplaceAll(strings.TrimPrefix(string(got.answer), "\x00\x06"), "\x00", " "))
		if text := fmt.Sprintf("%d %d %s %s", got.block, got.window, got.timeout, answer); text != want {
			t.Errorf("%s: %s, want %s", request, text, want)
		}
	}
	if got := agree(options{block: 1468}, 0, 200); got.block != defaultBlock {
		t.Errorf("a path too small gives blocks of %d", got.block)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte("\x00\x01snponly.efi\x00octet\x00blksize\x001468\x00windowsize\x0016\x00tsize\x000\x00timeout\x003\x00"))
	f.Add([]byte("\x00\x01../x\x00netascii\x00"))
	f.Add([]byte("\x00\x02x\x00octet\x00"))
	f.Add([]byte("\x00\x04\x00\x01"))
	f.Add([]byte("\x00\x05\x00\x08user aborted\x00"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		r, err := parseRequest(raw)
		if err == nil {
			if name, ok := cleanName(r.name); ok && (strings.Contains(name, "..") && strings.Contains("/"+name+"/", "/../") || strings.HasPrefix(name, "/") || strings.ContainsRune(name, 0)) {
				t.Errorf("name %q", name)
			}
			for _, fitting := range []int{-1, 508, 1468, 65504} {
				got := agree(r.options, 1<<40, fitting)
				if got.block < 8 || got.block > largestBlock || got.window < 1 || got.window > mostBlocks || got.window > 1 && got.block*got.window > mostBytes ||
					got.timeout < time.Second || got.timeout > 255*time.Second || len(got.answer) > 200 {
					t.Errorf("%q: %+v", raw, got)
				}
			}
		}
		w := window{block: 512, count: 4, size: 5000}
		w.next()
		if answer, ok := parseReply(raw); ok && answer.op == opAcknowledge {
			if w.acknowledge(answer.block, true) == send {
				w.next()
			}
		}
		if w.acked > w.sent || w.sent > w.last() {
			t.Errorf("%q: %+v", raw, w)
		}
		if !bytes.Equal(raw, before) {
			t.Error("the parser changes the packet")
		}
	})
}
