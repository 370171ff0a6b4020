package lease

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var start = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func leased(n int, expires time.Time) Lease {
	return Lease{Address: netip.AddrFrom4([4]byte{10, 7, byte(n >> 8), byte(n)}), Client: fmt.Sprintf("52:54:00:00:%02x:%02x", n>>8&255, n&255), Expires: expires}
}

func reopen(t *testing.T, dir string) (*Log, []Lease, Repair) {
	t.Helper()
	l, leases, fixed, err := Open(dir, "br0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, leases, fixed
}

func TestLogSurvivesAKillAtAnyByte(t *testing.T) {
	dir := t.TempDir()
	l, _, _ := reopen(t, dir)
	first, second := leased(1, start), leased(2, start)
	renewed := leased(1, start.Add(time.Hour))
	for _, batch := range [][]Lease{{first}, {second}, {renewed}} {
		if err := l.Append(batch); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := os.ReadFile(filepath.Join(dir, "br0.log"))
	if err != nil {
		t.Fatal(err)
	}
	whole = bytes.TrimRight(whole, "\x00")
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
		if err := l.Append([]Lease{leased(3, start)}); err != nil {
			t.Fatal(err)
		}
		if _, leases, fixed := reopen(t, dir); len(leases) != 3 || fixed != (Repair{}) {
			t.Fatalf("cut at %d: after the repair %v %+v", cut, leases, fixed)
		}
	}
}

func TestLogSkipsADamagedRecord(t *testing.T) {
	dir := t.TempDir()
	l, _, _ := reopen(t, dir)
	for n := range 3 {
		if err := l.Append([]Lease{leased(n+1, start)}); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "br0.log")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(bytes.TrimRight(data, "\x00"))/2] ^= 1
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
	live := []Lease{leased(1, start.Add(time.Hour)), leased(2, start)}
	for range 3 {
		batch := make([]Lease, 0, compactAt)
		for n := range compactAt / 2 {
			batch = append(batch, leased(n%2+1, start))
		}
		if err := l.Append(batch); err != nil {
			t.Fatal(err)
		}
	}
	if !l.wantsCompaction(len(live)) {
		t.Fatalf("%d records of %d leases are not compacted", l.records, len(live))
	}
	if err := l.compact(live); err != nil {
		t.Fatal(err)
	}
	if err := l.Append([]Lease{leased(3, start)}); err != nil {
		t.Fatal(err)
	}
	if _, leases, fixed := reopen(t, dir); len(leases) != 3 || fixed != (Repair{}) {
		t.Errorf("%d leases, %+v", len(leases), fixed)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("the directory keeps %v, %v", entries, err)
	}
}

// FuzzLeaseLog reads what a disk may hold: it never fails, and what it keeps is kept by the next reading too.
func FuzzLeaseLog(f *testing.F) {
	line, err := appendRecord(nil, leased(1, start))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line)
	f.Add(append(line, line[:len(line)-3]...))
	f.Add([]byte("00000000 {}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		leases, whole, records, _ := parseLog(data)
		if whole > len(data) || records < len(leases) {
			t.Fatalf("%d of %d bytes, %d records, %d leases", whole, len(data), records, len(leases))
		}
		again, rest, count, _ := parseLog(data[:whole])
		if rest != whole || count != records || len(again) != len(leases) {
			t.Fatalf("read again: %d bytes and %d leases, were %d and %d", rest, len(again), whole, len(leases))
		}
		for _, l := range leases {
			line, err := appendRecord(nil, l)
			if err != nil {
				t.Fatal(err)
			}
			if back, _, n, _ := parseLog(line); n != 1 || back[0].Address != l.Address || back[0].Client != l.Client || !back[0].Expires.Equal(l.Expires) {
				t.Fatalf("%v comes back as %v", l, back)
			}
		}
	})
}
