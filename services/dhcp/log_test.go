package dhcp

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func lease(n int, expires time.Time) Lease {
	return Lease{Address: netip.AddrFrom4([4]byte{10, 7, byte(n >> 8), byte(n)}), Client: fmt.Sprintf("52:54:00:00:%02x:%02x", n>>8&255, n&255), Expires: expires}
}

func reopen(t *testing.T, dir string) (*leaseLog, []Lease, repair) {
	t.Helper()
	l, leases, fixed, err := openLog(dir, "br0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.close() })
	return l, leases, fixed
}

func TestLogSurvivesAKillAtAnyByte(t *testing.T) {
	dir := t.TempDir()
	l, _, _ := reopen(t, dir)
	first, second := lease(1, start), lease(2, start)
	renewed := lease(1, start.Add(time.Hour))
	for _, batch := range [][]Lease{{first}, {second}, {renewed}} {
		if err := l.append(batch); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := os.ReadFile(filepath.Join(dir, "br0.log"))
	if err != nil {
		t.Fatal(err)
	}
	before, err := appendRecord(nil, first)
	if err != nil {
		t.Fatal(err)
	}
	if before, err = appendRecord(before, second); err != nil {
		t.Fatal(err)
	}
	for cut := len(before); cut <= len(whole); cut++ {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "br0.log"), whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		want, wantCut := []Lease{first, second}, cut-len(before)
		if cut == len(whole) {
			want, wantCut = []Lease{renewed, second}, 0
		}
		l, leases, fixed := reopen(t, dir)
		if diff := cmp.Diff(want, leases, cmpopts.EquateComparable(netip.Addr{})); diff != "" || fixed.Cut != int64(wantCut) {
			t.Fatalf("cut at %d: repaired %+v\n%s", cut, fixed, diff)
		}
		if err := l.append([]Lease{lease(3, start)}); err != nil {
			t.Fatal(err)
		}
		if _, leases, fixed := reopen(t, dir); len(leases) != 3 || fixed != (repair{}) {
			t.Fatalf("cut at %d: after the repair %v %+v", cut, leases, fixed)
		}
	}
}

func TestLogSkipsADamagedRecord(t *testing.T) {
	dir := t.TempDir()
	l, _, _ := reopen(t, dir)
	for n := range 3 {
		if err := l.append([]Lease{lease(n+1, start)}); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "br0.log")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, leases, fixed := reopen(t, dir); len(leases) != 2 || fixed.Skipped != 1 || fixed.Cut != 0 {
		t.Errorf("%d leases, %+v", len(leases), fixed)
	}
}

func TestLogCompaction(t *testing.T) {
	dir := t.TempDir()
	l, _, _ := reopen(t, dir)
	live := []Lease{lease(1, start.Add(time.Hour)), lease(2, start)}
	for range 3 {
		batch := make([]Lease, 0, compactAt)
		for n := range compactAt / 2 {
			batch = append(batch, lease(n%2+1, start))
		}
		if err := l.append(batch); err != nil {
			t.Fatal(err)
		}
	}
	if !l.wantsCompaction(len(live)) {
		t.Fatalf("%d records of %d leases are not compacted", l.records, len(live))
	}
	if err := l.compact(live); err != nil {
		t.Fatal(err)
	}
	if err := l.append([]Lease{lease(3, start)}); err != nil {
		t.Fatal(err)
	}
	if _, leases, fixed := reopen(t, dir); len(leases) != 3 || fixed != (repair{}) {
		t.Errorf("%d leases, %+v", len(leases), fixed)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("the directory keeps %v, %v", entries, err)
	}
}

func TestRestartKeepsLeases(t *testing.T) {
	dir := t.TempDir()
	l, _, _ := reopen(t, dir)
	s := newSite(t)
	d, _ := s.send(2, ask, asking("10.7.0.101"))
	if err := l.append(d.Records); err != nil {
		t.Fatal(err)
	}
	_, leases, _ := reopen(t, dir)
	again := newSite(t)
	if n := again.load(leases); n != 1 {
		t.Fatalf("%d leases taken", n)
	}
	again.want(Offered, "10.7.0.101")(again.send(2, discover))
	again.want(Naked, "")(again.send(3, ask, asking("10.7.0.101"), server("10.7.0.2")))
}

func BenchmarkFourWay(b *testing.B) {
	for _, clients := range []int{100, 10000} {
		b.Run(fmt.Sprint(clients), func(b *testing.B) {
			cfg := testConfig()
			cfg.Address = netip.MustParsePrefix("10.7.0.2/16")
			cfg.Ranges, cfg.Relayed = []Range{{ip("10.7.1.0"), ip("10.7.250.0")}}, nil
			e := newEngine(cfg, Chain{}, Fixed{})
			for i := 0; b.Loop(); i++ {
				p := packet(b, 0, discover)
				p.ClientHWAddr[3], p.ClientHWAddr[4] = byte(i%clients>>8), byte(i%clients)
				offer := e.decide(start, p)
				p.UpdateOption(typeOption(ask))
				p.UpdateOption(requested(offer.Reply.YourIPAddr))
				if d := e.decide(start, p); d.Outcome != Acked {
					b.Fatal(d.Outcome)
				}
			}
		})
	}
}
