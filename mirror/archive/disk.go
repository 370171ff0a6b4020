package archive

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Disk is what a directory was on when a run began. The zero value is any disk.
type Disk struct {
	dir    string
	device uint64
}

// LookAt notes what disk a directory is on.
func LookAt(dir string) (Disk, error) {
	var stat unix.Stat_t
	if err := unix.Stat(dir, &stat); err != nil {
		return Disk{}, Advise(&fs.PathError{Op: "look at disk of", Path: dir, Err: err})
	}
	return Disk{dir: dir, device: uint64(stat.Dev)}, nil
}

// Stays refuses to go on where the directory is on another disk now: below a mount point whose disk is gone lies the machine's own.
func (d Disk) Stays() error {
	if d.dir == "" {
		return nil
	}
	now, err := LookAt(d.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil || now.device != d.device {
		return &diskError{fmt.Errorf("%s is not on the disk any more that it was on when the run began", d.dir),
			"mount the disk there again, and the same command continues"}
	}
	return nil
}

// Describe says which disk a directory, or what there is of its path, is on, and how much room that has; own is whether it is
// the one that the system runs from.
func Describe(dir string) (text string, own bool) {
	var stat, root unix.Stat_t
	path, err := filepath.Abs(dir)
	if err != nil {
		return "", false
	}
	for err = unix.Stat(path, &stat); errors.Is(err, fs.ErrNotExist) && path != "/"; err = unix.Stat(path, &stat) {
		path = filepath.Dir(path)
	}
	var room unix.Statfs_t
	if err != nil || unix.Stat("/", &root) != nil || unix.Statfs(path, &room) != nil {
		return "", false
	}
	text = fmt.Sprintf("%d MiB free", int64(room.Bavail)*room.Bsize>>20)
	if table, err := os.Open("/proc/self/mountinfo"); err == nil {
		defer table.Close()
		if found := mount(table, unix.Major(uint64(stat.Dev)), unix.Minor(uint64(stat.Dev))); found != "" {
			text = found + ", " + text
		}
	}
	return text, stat.Dev == root.Dev
}

// mount finds a device in a table of mounts (proc_pid_mountinfo(5)): its file system, its name, and where it is.
func mount(table io.Reader, major, minor uint32) string {
	device := strconv.FormatUint(uint64(major), 10) + ":" + strconv.FormatUint(uint64(minor), 10)
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		place, kind, found := strings.Cut(lines.Text(), " - ")
		fields, kinds := strings.Fields(place), strings.Fields(kind)
		if found && len(fields) > 4 && len(kinds) > 1 && fields[2] == device {
			return kinds[0] + " of " + kinds[1] + " on " + strings.ReplaceAll(fields[4], `\040`, " ")
		}
	}
	return ""
}

// largestFile that a file system takes; FAT has 32 bits for it.
func largestFile(fileSystem int64) int64 {
	if fileSystem == unix.MSDOS_SUPER_MAGIC {
		return math.MaxUint32
	}
	return math.MaxInt64
}

// diskError is a fault of the archive's disk, and not of a source.
type diskError struct {
	err    error
	advice string
}

func (e *diskError) Error() string { return e.err.Error() + ": " + e.advice }
func (e *diskError) Unwrap() error { return e.err }

// Advise says what to do about an error that comes from a disk. Others stay as they are.
func Advise(err error) error {
	if known := (*diskError)(nil); err == nil || errors.As(err, &known) {
		return err
	}
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return &diskError{err, "the disk is full; what is on it stays: make room, and the same command continues"}
	case errors.Is(err, unix.EFBIG):
		return &diskError{err, "the disk takes no file of this size: say a smaller archiveSize in the image set, 3 on FAT"}
	case errors.Is(err, unix.EROFS), errors.Is(err, unix.EIO), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ESHUTDOWN):
		return pulled(err)
	}
	if onDisk(err) && errors.Is(err, unix.ENOTCONN) { // of FUSE, which many a system mounts sticks with; on the network it means something else
		return pulled(err)
	}
	return err
}

func pulled(err error) error {
	return &diskError{err, "the disk was pulled out, or fails (dmesg says more): plug it in and mount it again, and the same command continues"}
}

func onDisk(err error) bool {
	var path *fs.PathError
	var link *os.LinkError
	return errors.As(err, &path) || errors.As(err, &link)
}

// Broken tells whether an error comes from a disk that nothing more can be had from or put on, and not from the network.
func Broken(err error) bool {
	var known *diskError
	return errors.As(err, &known) || onDisk(err) && errors.As(Advise(err), &known)
}
