package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
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
	t.Run("what an earlier archive took counts as free", func(t *testing.T) {
		p, m := planned(t, 4, 4<<20) // 20 MiB, and 24 are there
		write(t, WriteConfig{Dir: dir, Plan: p, Source: m})
	})
	t.Run("is unmounted on the way", func(t *testing.T) { unmounted(t, dir) })
}

// unmounted: below the mount point is the machine's own disk, and nothing of an archive gets there.
func unmounted(t *testing.T, dir string) {
	p, m := planned(t, 3, 5<<20)
	m.after, m.stop = 1<<20, func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) { // it is, after the first time
			t.Error(err)
		}
	}
	_, err := Write(t.Context(), WriteConfig{Dir: dir, Plan: p, Source: m, Workers: 1})
	if err == nil || !strings.Contains(err.Error(), "mount the disk there again") || !Broken(err) {
		t.Errorf("%v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("below the mount point: %v, %v", left, err)
	}
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

func TestBroken(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"pulled out":         {&fs.PathError{Op: "read", Path: "x", Err: unix.EIO}, true},
		"full":               {fmt.Errorf("note in state: %w", &fs.PathError{Op: "write", Path: "x", Err: unix.ENOSPC}), true},
		"rename":             {&os.LinkError{Op: "rename", Err: unix.EROFS}, true},
		"FUSE is gone":       {&fs.PathError{Op: "read", Path: "x", Err: unix.ENOTCONN}, true},
		"connection is gone": {&net.OpError{Op: "read", Err: os.NewSyscallError("read", unix.ENOTCONN)}, false},
		"not there":          {&fs.PathError{Op: "open", Path: "x", Err: unix.ENOENT}, false},
		"a registry":         {errors.New("registry answers 500"), false},
		"nothing":            {nil, false},
	} {
		if got := Broken(c.err); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestMount(t *testing.T) {
	table := "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n" +
		"95 22 8:17 / /media/my\\040stick rw shared:1 - vfat /dev/sdb1 rw\n" + "half a line"
	for want, device := range map[string][2]uint32{"ext4 of /dev/vda on /": {254, 0}, "vfat of /dev/sdb1 on /media/my stick": {8, 17}, "": {8, 1}} {
		if got := mount(strings.NewReader(table), device[0], device[1]); got != want {
			t.Errorf("%v: %q, want %q", device, got, want)
		}
	}
}
