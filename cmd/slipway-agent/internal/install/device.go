package install

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// chunk is the unit of writing, and what is held back at both ends so that a disk that is half written never boots.
const chunk = 1 << 20

// device is the disk that is written.
type device struct {
	file  *os.File
	size  int64
	block bool
	zeros []byte
}

// openDevice takes a whole disk for itself, or a regular file as a disk's stand-in.
func openDevice(path string) (*device, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("open disk: %w", err)
	}
	d := &device{block: info.Mode()&os.ModeDevice != 0 && info.Mode()&os.ModeCharDevice == 0, zeros: make([]byte, chunk)}
	flags := os.O_RDWR
	switch {
	case d.block:
		flags |= unix.O_EXCL
		if err := wholeDisk(path); err != nil {
			return nil, err
		}
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("open disk: %s is no disk", path)
	}
	d.file, err = os.OpenFile(path, flags, 0)
	if err != nil {
		if errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("open disk: %s is in use: %w", path, err)
		}
		return nil, fmt.Errorf("open disk: %w", err)
	}
	d.size, err = d.file.Seek(0, io.SeekEnd)
	if err != nil || d.size < 2*chunk {
		return nil, errors.Join(fmt.Errorf("disk %s has %d bytes: %w", path, d.size, err), d.file.Close())
	}
	return d, nil
}

// wholeDisk refuses a partition.
func wholeDisk(path string) error {
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("open disk: %w", err)
	}
	name := strings.TrimPrefix(resolved, "/dev/")
	if _, err := os.Stat("/sys/class/block/" + name + "/partition"); err == nil {
		return fmt.Errorf("open disk: %s is a partition, not a disk", resolved)
	}
	return nil
}

// wipe makes the disk unbootable for every firmware: both copies of its partition table go.
func (d *device) wipe() error {
	for _, at := range []int64{0, d.size - chunk} {
		if _, err := d.file.WriteAt(d.zeros, at); err != nil {
			return fmt.Errorf("wipe disk: %w", err)
		}
	}
	return d.sync()
}

// write puts data at its place; zeros are left to the disk where it can make them itself.
func (d *device) write(data []byte, at int64) error {
	if bytes.Equal(data, d.zeros[:len(data)]) && len(data) == chunk && d.zero(at, chunk) == nil {
		return nil
	}
	if _, err := d.file.WriteAt(data, at); err != nil {
		return fmt.Errorf("write disk at %d: %w", at, err)
	}
	return nil
}

func (d *device) zero(at, length int64) error {
	return unix.Fallocate(int(d.file.Fd()), unix.FALLOC_FL_ZERO_RANGE|unix.FALLOC_FL_KEEP_SIZE, at, length)
}

// holds says whether the disk really has the data at its place.
func (d *device) holds(data []byte, at int64) error {
	read := make([]byte, len(data))
	if d.block {
		// What the disk says counts, not what memory remembers of it.
		if err := unix.Fadvise(int(d.file.Fd()), at, int64(len(data)), unix.FADV_DONTNEED); err != nil {
			return fmt.Errorf("drop cache: %w", err)
		}
	}
	if _, err := d.file.ReadAt(read, at); err != nil {
		return fmt.Errorf("read disk at %d: %w", at, err)
	}
	if !bytes.Equal(read, data) {
		return fmt.Errorf("the disk does not hold what was written at %d", at)
	}
	return nil
}

func (d *device) sync() error {
	if err := d.file.Sync(); err != nil {
		return fmt.Errorf("flush disk: %w", err)
	}
	return nil
}

// Wipe makes the disk unbootable; the running system may still be mounted from it.
func Wipe(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open disk: %w", err)
	}
	d := &device{file: file, zeros: make([]byte, chunk)}
	d.size, err = file.Seek(0, io.SeekEnd)
	if err == nil && d.size < 2*chunk {
		err = fmt.Errorf("disk %s has only %d bytes", path, d.size)
	}
	if err == nil {
		err = d.wipe()
	}
	return errors.Join(err, file.Close())
}
