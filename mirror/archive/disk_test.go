package archive

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDisk runs TestDiskInside in a mount namespace of its own, where a small tmpfs is the disk.
func TestDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may mount")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDiskInside$", "-test.v")
	cmd.Env = append(os.Environ(), "SLIPWAY_DISK="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestDiskInside") {
		t.Fatalf("%v\n%s", err, out)
	}
}

func TestDiskInside(t *testing.T) {
	dir := os.Getenv("SLIPWAY_DISK")
	if dir == "" {
		t.Skip("only TestDisk starts this")
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=32m"); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "other")
	p, m := planned(t, 5, 4<<20) // 24 MiB, and four to spare
	t.Run("too small", func(t *testing.T) {
		fill(t, other, 8<<20)
		_, err := Write(t.Context(), WriteConfig{Dir: dir, Plan: p, Source: m, Workers: 1})
		if err == nil || !strings.Contains(err.Error(), "take a larger disk") || m.sent.Load() != 0 {
			t.Errorf("%v after %d bytes", err, m.sent.Load())
		}
	})
	t.Run("fills up on the way", func(t *testing.T) {
		fill(t, other, 0)
		m.after, m.stop = 10<<20, func() { fill(t, other, 20<<20) }
		_, err := Write(t.Context(), WriteConfig{Dir: dir, Plan: p, Source: m, Workers: 2})
		if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "make room, and the same command continues") {
			t.Errorf("%v", err)
		}
	})
	t.Run("continues where it fits exactly", func(t *testing.T) {
		fill(t, other, 3<<20) // of 32 MiB, with the 4 to spare
		sent := m.sent.Load()
		m.after = 0
		write(t, WriteConfig{Dir: dir, Plan: p, Source: m})
		if again := m.sent.Load() - sent; again > 24<<20-sent+2*noteEvery+buffer {
			t.Errorf("%d bytes were sent before and %d now", sent, again)
		}
		r, err := Open(dir, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		check(t, r, m)
	})
}

// fill makes a file of others so large, as far as there is room.
func fill(t *testing.T, path string, size int) {
	t.Helper()
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil && !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
}

// A run that dies when its segments have their names already and no index has loses nothing; what is gone from the disk is fetched again.
func TestDiesAtTheEnd(t *testing.T) {
	for name, lost := range map[string]bool{"all is there": false, "a segment is not": true} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			p, m := planned(t, 4, 300_000)
			c := WriteConfig{Dir: dir, Plan: p, Source: m, Segment: 256 << 10, Workers: 1}
			obstacle := filepath.Join(dir, PlanName, "x")
			m.after, m.stop = 1, func() {
				if err := os.MkdirAll(obstacle, 0o755); err != nil {
					t.Error(err)
				}
			}
			if _, err := Write(t.Context(), c); err == nil {
				t.Fatal("a plan was written over a directory")
			}
			segments, err := filepath.Glob(filepath.Join(dir, "*.segment"))
			if err != nil || len(segments) < 3 {
				t.Fatalf("%v, %v", segments, err)
			}
			if err := os.RemoveAll(filepath.Dir(obstacle)); err != nil {
				t.Fatal(err)
			}
			if lost {
				if err := os.Remove(segments[1]); err != nil {
					t.Fatal(err)
				}
			}
			m.after = 0
			m.sent.Store(0)
			write(t, c)
			if most := int64(0); !lost && m.sent.Load() != most || lost && (m.sent.Load() == 0 || m.sent.Load() > 2*(256<<10)+600_000) {
				t.Errorf("%d bytes were sent again", m.sent.Load())
			}
			r, err := Open(dir, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			check(t, r, m)
		})
	}
}

func TestLargestFile(t *testing.T) {
	for fileSystem, want := range map[int64]int64{unix.MSDOS_SUPER_MAGIC: 4<<30 - 1, unix.EXT4_SUPER_MAGIC: math.MaxInt64, unix.EXFAT_SUPER_MAGIC: math.MaxInt64} {
		if got := largestFile(fileSystem); got != want {
			t.Errorf("%x: %d, want %d", fileSystem, got, want)
		}
	}
}

func TestAdvice(t *testing.T) {
	for fault, want := range map[error]string{
		unix.ENOSPC: "make room", unix.EFBIG: "archiveSize", unix.EIO: "mount it again", unix.EROFS: "mount it again", unix.EPERM: "",
	} {
		err := fmt.Errorf("write segment: %w", fault)
		advised := Advise(err)
		if !errors.Is(advised, fault) || !strings.HasPrefix(advised.Error(), err.Error()) || !strings.Contains(advised.Error(), want) || Advise(advised) != advised {
			t.Errorf("%v: %v", fault, advised)
		}
	}
}
