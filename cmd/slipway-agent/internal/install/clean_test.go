package install

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSignatures(t *testing.T) {
	const m, g = 1 << 20, 1 << 30
	for _, c := range []struct {
		name       string
		size       int64
		partitions []Span
		want       []Span
	}{
		{"small disk", 8 * m, nil, []Span{{7 * m, m}, {0, m}}},
		{"btrfs' copies", 300 * g, nil, []Span{{256 * g, 4096}, {64 * m, 4096}, {300*g - m, m}, {0, m}}},
		{"partitions first", 100 * m, []Span{{m, 2 * m}, {3 * m, 512}}, []Span{
			{2 * m, m}, {m, m}, {3 * m, 512}, {3 * m, 512}, {64 * m, 4096}, {99 * m, m}, {0, m},
		}},
		{"beyond the disk's end", 8 * m, []Span{{7*m + 512, 4 * m}, {9 * m, m}, {-m, m}}, []Span{{7*m + 512, m - 512}, {7*m + 512, m - 512}, {7 * m, m}, {0, m}}},
	} {
		got := signatures(c.size, c.partitions)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		for _, span := range got {
			if span.Offset < 0 || span.Bytes < 1 || span.Bytes > chunk || span.Offset+span.Bytes > c.size {
				t.Errorf("%s: %v is not on the disk", c.name, span)
			}
		}
	}
}

func TestCleanFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, bytes.Repeat([]byte{'x'}, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Clean(path, []Span{{2 << 20, 3 << 20}}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[int]byte{0: 0, 1<<20 - 1: 0, 1 << 20: 'x', 2 << 20: 0, 3<<20 + 1: 'x', 4<<20 + 1: 0, 5<<20 + 1: 'x', 7<<20 - 1: 'x', 7 << 20: 0} {
		if data[at] != want {
			t.Errorf("at %d: %q, want %q", at, data[at], want)
		}
	}
	for _, path := range []string{"/dev/null", t.TempDir(), filepath.Join(t.TempDir(), "none")} {
		if Clean(path, nil) == nil {
			t.Errorf("%s is a disk", path)
		}
	}
}

// loop is a real disk of the kernel's, with the image file behind it.
type loop struct {
	*testing.T
	path, image string
}

func newLoop(t *testing.T) loop {
	t.Helper()
	for _, tool := range []string{"losetup", "sgdisk", "mkfs.ext4", "mkswap", "wipefs"} {
		if _, err := exec.LookPath(tool); err != nil || os.Getuid() != 0 {
			t.Skipf("a loop device needs root and %s", tool)
		}
	}
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 200<<20); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("losetup", "-P", "-f", "--show", image).CombinedOutput()
	if err != nil {
		t.Skipf("no loop device to be had here: %s", out)
	}
	l := loop{t, strings.TrimSpace(string(out)), image}
	t.Cleanup(func() { l.run("losetup", "-d", l.path) })
	return l
}

func (l loop) run(command ...string) string {
	l.Helper()
	out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
	if err != nil {
		l.Fatalf("%v: %v: %s", command, err, out)
	}
	return string(out)
}

// partition as the kernel has it, with a node of its own: not every container has udev.
func (l loop) partition(number int) (node string, span Span) {
	l.Helper()
	dir := fmt.Sprintf("/sys/class/block/%sp%d", filepath.Base(l.path), number)
	read := func(file string) string {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			l.Fatal(err)
		}
		return strings.TrimSpace(string(data))
	}
	numbers := func(text string) []int64 {
		var out []int64
		for part := range strings.SplitSeq(text, ":") {
			n, err := strconv.ParseInt(part, 10, 64)
			if err != nil {
				l.Fatal(err)
			}
			out = append(out, n)
		}
		return out
	}
	dev := numbers(read("dev"))
	node = filepath.Join(l.TempDir(), "partition")
	if err := unix.Mknod(node, unix.S_IFBLK|0o600, int(unix.Mkdev(uint32(dev[0]), uint32(dev[1])))); err != nil {
		l.Fatal(err)
	}
	return node, Span{numbers(read("start"))[0] * 512, numbers(read("size"))[0] * 512}
}

// TestCleanDisk has a partitioned disk with a mounted file system, which is refused, and then the same without it.
func TestCleanDisk(t *testing.T) {
	l := newLoop(t)
	l.run("sgdisk", "-n", "1:0:+64M", "-n", "2:0:0", l.path)
	l.run("partx", "-u", l.path)
	one, first := l.partition(1)
	two, second := l.partition(2)
	l.run("mkfs.ext4", "-q", one)
	l.run("mkswap", two)
	at := t.TempDir()
	l.run("mount", one, at)
	err := Clean(l.path, []Span{first, second})
	l.run("umount", at)
	if err == nil || !strings.Contains(err.Error(), "in use") || !strings.Contains(l.run("wipefs", one), "ext4") {
		t.Fatalf("a mounted disk: %v", err)
	}
	if err := Clean(l.path, []Span{first, second}); err != nil {
		t.Fatal(err)
	}
	if left, err := os.Stat("/sys/class/block/" + filepath.Base(l.path) + "p1"); err == nil {
		t.Errorf("the kernel still knows %s", left.Name())
	}
	// Whoever makes the same partitions again finds nothing in them.
	for _, span := range []Span{{0, 200 << 20}, first, second} {
		if found := l.run("wipefs", "-O", "OFFSET,TYPE", "--noheadings", l.window(span)); found != "" {
			t.Errorf("left at %d: %s", span.Offset, found)
		}
	}
}

// window on a part of the disk, as a device.
func (l loop) window(span Span) string {
	l.Helper()
	path := strings.TrimSpace(l.run("losetup", "-f", "--show", "-o", strconv.FormatInt(span.Offset, 10), "--sizelimit", strconv.FormatInt(span.Bytes, 10), l.path))
	l.Cleanup(func() { l.run("losetup", "-d", path) })
	return path
}
