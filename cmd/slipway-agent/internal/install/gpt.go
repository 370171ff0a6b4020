package install

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf16"
)

// partition is one entry of a GPT, in bytes.
type partition struct {
	name          string
	offset, bytes int64
}

var errNoGPT = errors.New("the image has no GPT")

// partitions reads the GPT in an image's head.
func partitions(head []byte) ([]partition, error) {
	const sector, headerSize, nameOffset, nameSize = 512, 92, 56, 72
	if len(head) < 2*sector || !bytes.Equal(head[sector:sector+8], []byte("EFI PART")) {
		return nil, errNoGPT
	}
	header := head[sector : sector+headerSize]
	start := binary.LittleEndian.Uint64(header[72:])
	count, size := binary.LittleEndian.Uint32(header[80:]), binary.LittleEndian.Uint32(header[84:])
	const mostEntries, mostSize = 256, 4096
	if count > mostEntries || size < nameOffset+nameSize || size > mostSize || start > uint64(len(head)/sector) {
		return nil, fmt.Errorf("%w that makes sense (%d entries of %d bytes at %d)", errNoGPT, count, size, start)
	}
	var found []partition
	for i := range int64(count) {
		at := int64(start)*sector + i*int64(size)
		if at+int64(size) > int64(len(head)) {
			return nil, fmt.Errorf("%w: its entries lie beyond the image's head", errNoGPT)
		}
		entry := head[at : at+int64(size)]
		if bytes.Equal(entry[:16], make([]byte, 16)) {
			continue
		}
		first, last := binary.LittleEndian.Uint64(entry[32:]), binary.LittleEndian.Uint64(entry[40:])
		const mostSectors = 1 << 50
		if last < first || last > mostSectors {
			return nil, fmt.Errorf("partition %d from sector %d to %d is none", i+1, first, last)
		}
		found = append(found, partition{
			name: name16(entry[nameOffset : nameOffset+nameSize]), offset: int64(first) * sector, bytes: int64(last-first+1) * sector,
		})
	}
	return found, nil
}

func name16(raw []byte) string {
	var units []uint16
	for i := 0; i+1 < len(raw); i += 2 {
		unit := binary.LittleEndian.Uint16(raw[i:])
		if unit == 0 {
			break
		}
		units = append(units, unit)
	}
	return string(utf16.Decode(units))
}

// bootPartition is the one named boot.
func bootPartition(head []byte) (partition, error) {
	all, err := partitions(head)
	if err != nil {
		return partition{}, err
	}
	for _, p := range all {
		if p.name == "boot" {
			if p.offset < chunk {
				return partition{}, fmt.Errorf("partition boot lies in the first %d bytes, which are written last", chunk)
			}
			return p, nil
		}
	}
	return partition{}, errors.New("the image has no partition named boot")
}
