package lease

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// record is one line of the lease log: the CRC-32 of the JSON in hex, a space, the JSON.
type record struct {
	Address  netip.Addr `json:"address"`
	Client   string     `json:"client,omitempty"`
	Hostname string     `json:"hostname,omitempty"`
	Expires  time.Time  `json:"expires"`
}

// Log is the append-only file of one interface's leases. The last record of an address counts.
//
// Zeros are written ahead of the records: a sync then has the bytes of a record to write and no change of the file system's
// own, which on a busy disk is the greater part of its cost.
type Log struct {
	path    string
	file    *os.File
	records int   // in the file
	size    int64 // of what is whole in the file
	ahead   int64 // size and the zeros behind it
	broken  error // why the file can take nothing more
}

// Repair is what was wrong with a log when it was opened.
type Repair struct {
	Cut     int64 // bytes of an unfinished record at the end, removed
	Skipped int   // records inside that were damaged
}

const (
	compactAt  = 4096      // records before compaction is thought about
	writeAhead = 256 << 10 // bytes of zeros
)

// Open reads the log of that name in the directory, which is made if need be, and mends what a crash left.
func Open(dir, name string) (*Log, []Lease, Repair, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, Repair{}, fmt.Errorf("make lease directory: %w", err)
	}
	path := filepath.Join(dir, name+".log")
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, Repair{}, fmt.Errorf("read lease log: %w", err)
	}
	data = bytes.TrimRight(data, "\x00")
	leases, whole, records, skipped := parseLog(data)
	fixed := Repair{Cut: int64(len(data) - whole), Skipped: skipped}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, nil, Repair{}, fmt.Errorf("open lease log: %w", err)
	}
	l := &Log{path: path, file: file, records: records, size: int64(whole)}
	if err := l.settle(); err != nil {
		return nil, nil, Repair{}, errors.Join(err, file.Close())
	}
	return l, leases, fixed, nil
}

// parseLog reads whole records; what follows the last whole one is the trace of a crash.
func parseLog(data []byte) (leases []Lease, whole, records, skipped int) {
	last := map[netip.Addr]int{}
	damaged := 0
	for at := 0; at < len(data); {
		end := bytes.IndexByte(data[at:], '\n')
		if end < 0 {
			break
		}
		l, ok := parseRecord(data[at : at+end])
		at += end + 1
		if !ok {
			damaged++
			continue
		}
		skipped, damaged, whole, records = skipped+damaged, 0, at, records+1
		if i, again := last[l.Address]; again {
			leases[i] = l
			continue
		}
		last[l.Address] = len(leases)
		leases = append(leases, l)
	}
	return leases, whole, records, skipped
}

func parseRecord(line []byte) (Lease, bool) {
	if len(line) < 10 || line[8] != ' ' {
		return Lease{}, false
	}
	sum, err := strconv.ParseUint(string(line[:8]), 16, 32)
	if err != nil || uint32(sum) != crc32.ChecksumIEEE(line[9:]) {
		return Lease{}, false
	}
	var r record
	if err := json.Unmarshal(line[9:], &r); err != nil || !r.Address.IsValid() || r.Address.Zone() != "" {
		return Lease{}, false
	}
	return Lease(r), true
}

func appendRecord(b []byte, l Lease) ([]byte, error) {
	body, err := json.Marshal(record(l))
	if err != nil {
		return nil, fmt.Errorf("encode lease of %s: %w", l.Address, err)
	}
	b = fmt.Appendf(b, "%08x ", crc32.ChecksumIEEE(body))
	return append(append(b, body...), '\n'), nil
}

// settle cuts what is not whole and leaves the file ready to append.
func (l *Log) settle() error {
	if err := l.file.Truncate(l.size); err != nil {
		return fmt.Errorf("repair lease log: %w", err)
	}
	l.ahead = l.size
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("sync lease log: %w", err)
	}
	return syncDir(filepath.Dir(l.path))
}

// Append returns when all records are on disk. After a write that went wrong half a record may stand in the file, so it is
// cut off before anything follows; after a sync that went wrong nobody knows what the disk has, so nothing follows.
func (l *Log) Append(leases []Lease) error {
	if l.broken != nil {
		return l.broken
	}
	var b []byte
	var err error
	for _, lease := range leases {
		if b, err = appendRecord(b, lease); err != nil {
			return err
		}
	}
	if err := l.write(b); err != nil {
		if again := l.settle(); again != nil {
			l.broken = again
		}
		return fmt.Errorf("write lease log: %w", err)
	}
	if err := unix.Fdatasync(int(l.file.Fd())); err != nil {
		l.broken = fmt.Errorf("sync lease log: %w", err)
		return l.broken
	}
	l.records += len(leases)
	l.size += int64(len(b))
	return nil
}

// Broken says why the log can take nothing more; nil while it can.
func (l *Log) Broken() error { return l.broken }

// write puts bytes behind what is whole, over zeros that are on disk already.
func (l *Log) write(b []byte) error {
	if need := l.size + int64(len(b)); need > l.ahead {
		zeros := make([]byte, need-l.ahead+writeAhead)
		if _, err := l.file.WriteAt(zeros, l.ahead); err != nil {
			return err
		}
		if err := l.file.Sync(); err != nil {
			return err
		}
		l.ahead += int64(len(zeros))
	}
	_, err := l.file.WriteAt(b, l.size)
	return err
}

func (l *Log) wantsCompaction(leases int) bool {
	return l.records >= compactAt && l.records > 4*leases
}

// Tidy replaces a file that has become long for the table by one with a record per lease. After an error the log goes on
// as long as it is.
func (l *Log) Tidy(t *Table) error {
	if !l.Long(t) {
		return nil
	}
	return l.Compact(t.Leases())
}

// Long tells whether the file has become long for the table.
func (l *Log) Long(t *Table) bool { return l.wantsCompaction(len(t.byAddr)) }

// Compact replaces the file by one with a record per lease. After an error the log goes on as long as it is.
func (l *Log) Compact(leases []Lease) error {
	err := l.compact(leases)
	if err != nil {
		l.records = 0 // not again with the next packet
	}
	return err
}

func (l *Log) compact(leases []Lease) error {
	var b []byte
	var err error
	for _, lease := range leases {
		if b, err = appendRecord(b, lease); err != nil {
			return err
		}
	}
	temp, err := os.OpenFile(l.path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("compact lease log: %w", err)
	}
	_, err = temp.Write(b)
	if err == nil {
		err = temp.Sync()
	}
	if err == nil {
		err = os.Rename(temp.Name(), l.path)
	}
	if err != nil {
		return fmt.Errorf("compact lease log: %w", errors.Join(err, temp.Close(), os.Remove(temp.Name())))
	}
	old := l.file
	l.file, l.records, l.size, l.ahead = temp, len(leases), int64(len(b)), int64(len(b))
	if err := errors.Join(old.Close(), syncDir(filepath.Dir(l.path))); err != nil {
		return fmt.Errorf("compact lease log: %w", err)
	}
	return nil
}

// Close ends it.
func (l *Log) Close() error { return errors.Join(l.file.Truncate(l.size), l.file.Close()) }

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
