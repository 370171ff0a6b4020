package iso

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
)

const (
	// What a directory tree may have; CoreOS ISOs have about 40 entries.
	maxRecords   = 20_000
	maxDirectory = 4 << 20
	maxDepth     = 16

	flagDirectory   = 1 << 1
	flagMultiExtent = 1 << 7
)

// record is one directory record of one of the trees.
type record struct {
	at        int64 // of the record
	length    int64
	path      string
	joliet    bool
	directory bool
	extent    Area
}

// pathTable is one of the lists of directories; the extents in it have a byte order (ECMA-119 §9.4).
type pathTable struct {
	at     int64 // of the pointer in the descriptor
	order  binary.ByteOrder
	start  uint32 // block; 0 for none
	length int64
}

// readTree walks the trees of all descriptors; file names come from the primary one.
func (i *Image) readTree(s source) error {
	for _, v := range i.volumes {
		w := walker{image: i, source: s, joliet: v.joliet, seen: map[int64]bool{}}
		if err := w.directory(v.root, "", 0); err != nil {
			return err
		}
		i.records = append(i.records, w.records...)
	}
	for _, r := range i.records {
		if r.joliet || r.directory {
			continue
		}
		if r.extent.end() > i.Size {
			return fault("%s lies at bytes %d to %d, the file has %d bytes", r.path, r.extent.Offset, r.extent.end(), i.Size)
		}
		i.Files[r.path] = r.extent
	}
	return nil
}

type walker struct {
	image   *Image
	source  source
	joliet  bool
	seen    map[int64]bool
	records []record
}

func (w *walker) directory(extent Area, path string, depth int) error {
	switch {
	case depth > maxDepth:
		return fault("directory %q is more than %d levels deep", path, maxDepth)
	case w.seen[extent.Offset]:
		return fault("directory %q at byte %d is its own parent", path, extent.Offset)
	case extent.Length > maxDirectory:
		return fault("directory %q has %d bytes, more than %d", path, extent.Length, maxDirectory)
	}
	w.seen[extent.Offset] = true
	raw, err := w.source.read(fmt.Sprintf("directory %q", path), extent)
	if err != nil {
		return err
	}
	for at := 0; at < len(raw); {
		length := int(raw[at])
		if length == 0 { // records do not cross blocks
			at = (at/block + 1) * block
			continue
		}
		if length < 34 || at+length > len(raw) || at%block+length > block {
			return fault("byte %d: a directory record of %d bytes in %q", extent.Offset+int64(at), length, path)
		}
		if err := w.entry(raw[at:at+length], extent.Offset+int64(at), path, depth); err != nil {
			return err
		}
		at += length
	}
	return nil
}

func (w *walker) entry(raw []byte, at int64, parent string, depth int) error {
	extent, err := extentOf(raw, at)
	if err != nil {
		return err
	}
	nameLength := int(raw[32])
	if 33+nameLength > len(raw) {
		return fault("byte %d: a name of %d bytes in a record of %d", at, nameLength, len(raw))
	}
	if len(w.records) >= maxRecords {
		return fault("more than %d directory entries", maxRecords)
	}
	found := record{at: at, length: int64(len(raw)), joliet: w.joliet, directory: raw[25]&flagDirectory != 0, extent: extent}
	name := raw[33 : 33+nameLength]
	if nameLength == 1 && name[0] <= 1 { // itself and its parent
		found.path = parent
		w.records = append(w.records, found)
		return nil
	}
	if raw[25]&flagMultiExtent != 0 {
		return fault("byte %d: a file in several extents", at)
	}
	found.path = w.name(raw, name)
	if parent != "" {
		found.path = parent + "/" + found.path
	}
	w.records = append(w.records, found)
	if found.directory {
		return w.directory(extent, found.path, depth+1)
	}
	return nil
}

// name is Rock Ridge's alternate name (RRIP §4.1.4), else the plain one in lower case without its version.
func (w *walker) name(raw, plain []byte) string {
	if w.joliet {
		units := make([]uint16, len(plain)/2)
		for n := range units {
			units[n] = binary.BigEndian.Uint16(plain[2*n:])
		}
		return strings.TrimSuffix(string(utf16.Decode(units)), ";1")
	}
	var name strings.Builder
	use := systemUse(raw)
	for len(use) >= 4 && int(use[2]) >= 4 && int(use[2]) <= len(use) {
		if string(use[:2]) == "NM" && use[2] > 5 {
			name.Write(use[5:use[2]])
		}
		use = use[use[2]:]
	}
	if name.Len() > 0 {
		return name.String()
	}
	short, _, _ := strings.Cut(string(plain), ";")
	return strings.ToLower(strings.TrimSuffix(short, "."))
}

// systemUse is the part of a record after its name.
func systemUse(raw []byte) []byte {
	start := 33 + int(raw[32])
	start += start % 2
	if start > len(raw) {
		return nil
	}
	return raw[start:]
}

// extentOf reads place and size of a directory record (ECMA-119 §9.1).
func extentOf(raw []byte, at int64) (Area, error) {
	start, err := both32(raw[2:], at+2, "an extent's place")
	if err != nil {
		return Area{}, err
	}
	size, err := both32(raw[10:], at+10, "an extent's size")
	if err != nil {
		return Area{}, err
	}
	return Area{int64(start) * block, int64(size)}, nil
}
