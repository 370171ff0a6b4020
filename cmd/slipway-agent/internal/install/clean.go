package install

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Span of a disk, in bytes.
type Span struct{ Offset, Bytes int64 }

// The copies of btrfs' superblock that lie beyond a device's first chunk, and the size of one.
const (
	btrfsSecond = 64 << 20
	btrfsThird  = 256 << 30
	btrfsBytes  = 4 << 10
)

// signatures are where partition tables, file systems, LVM, RAID and ZFS have what they are known by: both ends of the disk and
// of each of its partitions, and btrfs' copies. The partitions come first and the disk's head last, as without it nobody would
// find them when this is cut short.
func signatures(size int64, partitions []Span) []Span {
	var spans []Span
	for _, device := range slices.Concat(partitions, []Span{{0, size}}) {
		end := min(device.Offset+device.Bytes, size)
		for _, one := range []Span{
			{device.Offset + btrfsThird, btrfsBytes}, {device.Offset + btrfsSecond, btrfsBytes}, {max(device.Offset, end-chunk), chunk}, {device.Offset, chunk},
		} {
			one.Bytes = min(one.Bytes, end-one.Offset)
			if one.Offset >= 0 && one.Bytes > 0 {
				spans = append(spans, one)
			}
		}
	}
	return spans
}

// Clean wipes partition tables and all signatures of a disk, whose contents are then lost though not erased. A disk that
// anything uses, such as a mounted partition, is refused and left as it is.
func Clean(path string, partitions []Span) (err error) {
	disk, err := openDevice(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, disk.file.Close()) }()
	for _, span := range signatures(disk.size, partitions) {
		if _, err := disk.file.WriteAt(disk.zeros[:span.Bytes], span.Offset); err != nil {
			return fmt.Errorf("wipe disk at %d: %w", span.Offset, err)
		}
	}
	if err := disk.sync(); err != nil {
		return err
	}
	for _, at := range []int64{0, disk.size - chunk} {
		if err := disk.holds(disk.zeros, at); err != nil {
			return err
		}
	}
	return disk.forget()
}

// forget the partitions that the kernel still knows.
func (d *device) forget() error {
	if !d.block {
		return nil
	}
	err := unix.IoctlSetInt(int(d.file.Fd()), unix.BLKRRPART, 0)
	// A device that cannot have partitions has none to forget.
	if err != nil && !errors.Is(err, unix.EINVAL) {
		return os.NewSyscallError("read partition table again", err)
	}
	return nil
}
