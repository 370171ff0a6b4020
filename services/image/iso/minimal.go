package iso

import (
	"cmp"
	"encoding/binary"
	"hash/crc32"
	"io"
	"slices"
)

// cutUnit is what the hole is a multiple of: partition tables and cylinders of hybrid ISOs are aligned to it.
const cutUnit = 1 << 20

// Minimal is what makes the ISO one without root file system: the bytes that are left out, and the changes to directories,
// boot catalog and partition tables that follow from it. Nothing else moves, so it boots wherever the full ISO does.
func (i *Image) Minimal(r io.ReaderAt) (cut Area, patches []Patch, err error) {
	rootfs, ok := i.Files[RootfsFile]
	if !ok {
		return Area{}, nil, fault("there is no %s among %d files", RootfsFile, len(i.Files))
	}
	padded := (rootfs.Length + block - 1) / block * block
	cut = Area{rootfs.Offset, padded / cutUnit * cutUnit}
	for path, file := range i.Files {
		if path != RootfsFile && file.Length > 0 && file.Offset < rootfs.end() && rootfs.Offset < file.end() {
			return Area{}, nil, fault("%s shares bytes with %s", path, RootfsFile)
		}
	}
	e := &editor{source: source{r, i.Size}, cut: cut, blocks: map[int64][]byte{}}
	for _, step := range []func(*editor) error{i.editVolumes, i.editRecords, i.editCatalog, i.editBootInfo, i.editMBR, i.editGPT} {
		if err := step(e); err != nil {
			return Area{}, nil, err
		}
	}
	rest := Area{cut.end(), rootfs.Offset + padded - cut.end()}
	return cut, append(e.patches(), Patch{At: rest.Offset, Length: rest.Length}), nil
}

// editor changes single blocks of the ISO.
type editor struct {
	source source
	cut    Area
	blocks map[int64][]byte
	err    error
}

// at gives the bytes of a block from an offset on, to be changed in place; length bytes must lie within the block.
func (e *editor) at(offset int64, length int) []byte {
	start := offset / block * block
	if offset-start+int64(length) > block {
		e.err = cmp.Or(e.err, fault("%d bytes at byte %d cross a block", length, offset))
		return make([]byte, length)
	}
	raw, ok := e.blocks[start]
	if !ok {
		var err error
		if raw, err = e.source.read("a block", Area{start, min(block, e.source.size-start)}); err == nil && int64(len(raw)) < offset-start+int64(length) {
			err = fault("%d bytes at byte %d, the file has %d bytes", length, offset, e.source.size)
		}
		if err != nil {
			e.err = cmp.Or(e.err, err)
			return make([]byte, length)
		}
		e.blocks[start] = raw
	}
	return raw[offset-start : offset-start+int64(length)]
}

// moved is where a byte of the full ISO lies in the minimal one.
func (e *editor) moved(offset int64) int64 {
	if offset >= e.cut.end() {
		return offset - e.cut.Length
	}
	return offset
}

func (e *editor) movedBlock(place uint32) uint32 { return uint32(e.moved(int64(place)*block) / block) }

// movedSector takes numbers from partition tables as they come.
func (e *editor) movedSector(number uint64) uint64 {
	if number > uint64(e.source.size)/sector {
		return number
	}
	return uint64(e.moved(int64(number)*sector)) / sector
}

func (e *editor) patches() []Patch {
	var patches []Patch
	for at, raw := range e.blocks {
		patches = append(patches, Patch{At: at, Data: raw, Length: int64(len(raw))})
	}
	slices.SortFunc(patches, func(a, b Patch) int { return cmp.Compare(a.At, b.At) })
	return patches
}

func (i *Image) editVolumes(e *editor) error {
	for _, v := range i.volumes {
		raw := e.at(v.at, block)
		put32(raw[80:], v.space-uint32(e.cut.Length/block))
		put32(raw[158:], e.movedBlock(uint32(v.root.Offset/block)))
		for _, table := range v.pathTables {
			if table.start == 0 {
				continue
			}
			table.order.PutUint32(raw[table.at-v.at:], e.movedBlock(table.start))
			if err := e.pathTable(table); err != nil {
				return err
			}
		}
	}
	return e.err
}

// pathTable changes the places of directories (ECMA-119 §9.4); an entry may cross a block.
func (e *editor) pathTable(table pathTable) error {
	area := Area{int64(table.start) * block, table.length}
	raw, err := e.source.read("a path table", area)
	if err != nil {
		return err
	}
	for at := 0; at+8 <= len(raw); {
		place := table.order.Uint32(raw[at+2:])
		var changed [4]byte
		table.order.PutUint32(changed[:], e.movedBlock(place))
		if moved := table.order.Uint32(changed[:]); moved != place {
			for n, b := range changed {
				e.at(area.Offset+int64(at+2+n), 1)[0] = b
			}
		}
		length := 8 + int(raw[at])
		at += length + length%2
	}
	return e.err
}

// editRecords moves extents, then takes the root file system's entries out.
func (i *Image) editRecords(e *editor) error {
	var gone []record
	for _, r := range i.records {
		raw := e.at(r.at, int(r.length))
		if !r.directory && r.path == RootfsFile {
			gone = append(gone, r)
			continue
		}
		put32(raw[2:], e.movedBlock(uint32(r.extent.Offset/block)))
		e.continuation(raw)
		if e.err != nil {
			return e.err
		}
	}
	for _, r := range gone {
		start := r.at / block * block
		rest := e.at(r.at, int(start+block-r.at))
		if e.err != nil {
			return e.err
		}
		clear(rest[copy(rest, rest[r.length:]):])
	}
	return e.err
}

// continuation moves what a record's system use goes on with elsewhere (SUSP §5.1).
func (e *editor) continuation(raw []byte) {
	use := systemUse(raw)
	for len(use) >= 4 && int(use[2]) >= 4 && int(use[2]) <= len(use) {
		if string(use[:2]) == "CE" && use[2] >= 28 {
			put32(use[4:], e.movedBlock(binary.LittleEndian.Uint32(use[4:])))
		}
		use = use[use[2]:]
	}
}

func (i *Image) editCatalog(e *editor) error {
	if i.catalog == 0 {
		return nil
	}
	binary.LittleEndian.PutUint32(e.at(i.bootVolume+71, 4), uint32(e.moved(i.catalog)/block))
	for _, entry := range i.Boot {
		binary.LittleEndian.PutUint32(e.at(entry.at+8, 4), uint32(e.moved(entry.Offset)/block))
	}
	return e.err
}

func (i *Image) editBootInfo(e *editor) error {
	if i.bootInfo == nil {
		return nil
	}
	place := uint32(e.moved(i.bootInfo.image) / block)
	if i.bootInfo.table {
		binary.LittleEndian.PutUint32(e.at(i.bootInfo.image+12, 4), place)
	}
	if i.bootInfo.grub {
		at := i.bootInfo.image + grubBootInfo
		binary.LittleEndian.PutUint64(e.at(at, 8), uint64(place)*4+grubSkips)
	}
	return e.err
}

func (i *Image) editMBR(e *editor) error {
	if !i.Hybrid.MBR {
		return nil
	}
	raw := e.at(0, block)
	if i.bootInfo != nil {
		loader := binary.LittleEndian.Uint64(raw[mbrLoader:])
		skip := loader - uint64(i.bootInfo.image/sector)
		if skip == 0 || skip == grubSkips-1 {
			binary.LittleEndian.PutUint64(raw[mbrLoader:], uint64(e.moved(i.bootInfo.image)/sector)+skip)
		}
	}
	for n := range 4 {
		entry := raw[mbrTable+16*n:]
		first, count := uint64(binary.LittleEndian.Uint32(entry[8:])), uint64(binary.LittleEndian.Uint32(entry[12:]))
		if count == 0 {
			continue
		}
		from, to := e.movedSector(first), e.movedSector(first+count)
		binary.LittleEndian.PutUint32(entry[8:], uint32(from))
		binary.LittleEndian.PutUint32(entry[12:], uint32(to-from))
	}
	return e.err
}

// editGPT moves partitions and the backup, and sums them up again.
func (i *Image) editGPT(e *editor) error {
	if i.gpt == nil {
		return nil
	}
	for _, h := range i.gpt.headers {
		entries := make([]byte, 0, h.count*h.length)
		for n := range int64(h.count) {
			entry := e.at(h.entries+n*int64(h.length), int(h.length))
			if !zero(entry[:16]) {
				first, last := binary.LittleEndian.Uint64(entry[32:]), binary.LittleEndian.Uint64(entry[40:])
				binary.LittleEndian.PutUint64(entry[32:], e.movedSector(first))
				binary.LittleEndian.PutUint64(entry[40:], e.movedSector(last+1)-1)
			}
			entries = append(entries, entry...)
		}
		raw := e.at(h.at, int(h.size))
		for _, field := range []int{24, 32, 72} { // its place, the other's, the list's
			binary.LittleEndian.PutUint64(raw[field:], e.movedSector(binary.LittleEndian.Uint64(raw[field:])))
		}
		for _, field := range []int{40, 48} { // first and last that may be used
			binary.LittleEndian.PutUint64(raw[field:], e.movedSector(binary.LittleEndian.Uint64(raw[field:])+1)-1)
		}
		binary.LittleEndian.PutUint32(raw[88:], crc32.ChecksumIEEE(entries))
		clear(raw[16:20])
		binary.LittleEndian.PutUint32(raw[16:], crc32.ChecksumIEEE(raw))
		if e.err != nil {
			return e.err
		}
	}
	return nil
}
