package lease

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

const writerDir = "SLIPWAY_TEST_LEASE_DIR"

// TestWriter is the process that TestKilledWriter kills: it appends without end and says what is on disk.
func TestWriter(t *testing.T) {
	dir := os.Getenv(writerDir)
	if dir == "" {
		t.Skip("is run by TestKilledWriter")
	}
	l, leases, _, err := Open(dir, "br0")
	if err != nil {
		t.Fatal(err)
	}
	table := NewTable(make([][]Range, 1))
	at := start
	for _, lease := range leases {
		table.Put(0, lease, false)
		if lease.Expires.After(at) {
			at = lease.Expires
		}
	}
	for {
		batch := make([]Lease, 1+rand.IntN(200))
		for i := range batch {
			at = at.Add(time.Second)
			batch[i] = leased(rand.IntN(50), at)
			table.Put(0, batch[i], false)
		}
		if err := l.Append(batch); err != nil {
			t.Fatal(err)
		}
		for _, lease := range batch {
			fmt.Printf("have %s %d\n", lease.Address, lease.Expires.Unix())
		}
		if err := l.Tidy(table); err != nil {
			t.Fatal(err)
		}
	}
}

// A process that is killed at any moment, also while it compacts, loses nothing that it said was on disk.
func TestKilledWriter(t *testing.T) {
	dir, last := t.TempDir(), map[string]int64{}
	for round := range 12 {
		writer := exec.Command(os.Args[0], "-test.run=^TestWriter$")
		writer.Env = append(os.Environ(), writerDir+"="+dir)
		out, err := writer.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := writer.Start(); err != nil {
			t.Fatal(err)
		}
		var kill *time.Timer
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var address string
			var expires int64
			if _, err := fmt.Sscanf(lines.Text(), "have %s %d", &address, &expires); err != nil {
				if strings.Contains(lines.Text(), "FAIL") {
					t.Fatalf("round %d: the writer fails: %s", round, lines.Text())
				}
				continue // the last line may be cut
			}
			if strconv.FormatInt(expires, 10) == lines.Text()[len(lines.Text())-10:] {
				last[address] = expires
			}
			if kill == nil {
				kill = time.AfterFunc(time.Duration(rand.IntN(int(200*time.Millisecond))), func() { _ = writer.Process.Kill() })
			}
		}
		_ = writer.Wait()
		l, leases, fixed, err := Open(dir, "br0")
		if err != nil {
			t.Fatal(err)
		}
		if fixed.Skipped > 0 {
			t.Errorf("round %d: records inside are damaged: %+v", round, fixed)
		}
		have := map[string]int64{}
		for _, lease := range leases {
			have[lease.Address.String()] = lease.Expires.Unix()
		}
		for address, expires := range last {
			if have[address] < expires {
				t.Fatalf("round %d: lease of %s until %d was on disk, is until %d", round, address, expires, have[address])
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(last) == 0 {
		t.Error("the writer wrote nothing")
	}
}
