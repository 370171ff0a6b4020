package iso

import (
	"encoding/binary"
	"hash/crc32"
)

const (
	sector = 512
	// validation and section headers of the boot catalog (El Torito §2).
	entrySize  = 32
	maxEntries = block / entrySize

	mbrTable   = 446
	mbrLoader  = 432 // where isohybrid and GRUB say what sector to go on with
	gptEntries = 256 // at most
)

// BootEntry is an entry of the El Torito catalog.
type BootEntry struct {
	// Platform is 0x00 for BIOS, 0xef for UEFI.
	Platform byte
	// Offset of the image in bytes.
	Offset int64

	at int64 // of the entry
}

// Hybrid says what partition tables there are, for USB sticks.
type Hybrid struct{ MBR, GPT bool }

// bootInfo is what a BIOS boot image knows about its own place.
type bootInfo struct {
	table, grub bool
	image       int64
}

// gpt is a GUID partition table with its backup.
type gpt struct {
	headers []gptHeader
}

type gptHeader struct {
	at, entries   int64
	size          int64 // of the header
	count, length uint32
}

// bootRecord is the descriptor that names the boot catalog.
func (i *Image) bootRecord(raw []byte, at int64) {
	if string(raw[7:30]) == "EL TORITO SPECIFICATION" {
		i.catalog, i.bootVolume = int64(binary.LittleEndian.Uint32(raw[71:]))*block, at
	}
}

func (i *Image) readBoot(s source) error {
	if i.catalog != 0 {
		if err := i.readCatalog(s); err != nil {
			return err
		}
	}
	raw, err := s.read("the master boot record", Area{0, sector})
	if err != nil {
		return err
	}
	i.Hybrid.MBR = raw[510] == 0x55 && raw[511] == 0xaa
	if i.gpt, err = readGPT(s); err != nil {
		return err
	}
	i.Hybrid.GPT = i.gpt != nil
	return i.readBootInfo(s)
}

func (i *Image) readCatalog(s source) error {
	raw, err := s.read("the boot catalog", Area{i.catalog, block})
	if err != nil {
		return err
	}
	var sum uint16
	for n := 0; n < entrySize; n += 2 {
		sum += binary.LittleEndian.Uint16(raw[n:])
	}
	if raw[0] != 1 || sum != 0 {
		return fault("byte %d: the boot catalog is damaged: it begins with %d, the sum of its first %d bytes is %d", i.catalog, raw[0], entrySize, sum)
	}
	platform := raw[1]
	for n := 1; n < maxEntries; n++ {
		entry := raw[n*entrySize : (n+1)*entrySize]
		switch entry[0] {
		case 0x90, 0x91:
			platform = entry[1]
			continue
		case 0x88, 0x00:
		default:
			continue
		}
		if offset := int64(binary.LittleEndian.Uint32(entry[8:])) * block; offset != 0 {
			i.Boot = append(i.Boot, BootEntry{platform, offset, i.catalog + int64(n)*entrySize})
		} else if n > 1 {
			return nil
		}
	}
	return nil
}

// readBootInfo looks for the tables that mkisofs -boot-info-table and xorriso --grub2-boot-info fill in.
func (i *Image) readBootInfo(s source) error {
	for _, entry := range i.Boot {
		if entry.Platform != 0 || entry.Offset+2*block > i.Size {
			continue
		}
		raw, err := s.read("the BIOS boot image", Area{entry.Offset, 2 * block})
		if err != nil {
			return err
		}
		place := uint32(entry.Offset / block)
		i.bootInfo = &bootInfo{
			image: entry.Offset,
			table: binary.LittleEndian.Uint32(raw[8:]) == systemArea/block && binary.LittleEndian.Uint32(raw[12:]) == place,
			grub:  binary.LittleEndian.Uint64(raw[grubBootInfo:]) == uint64(place)*4+grubSkips,
		}
		return nil
	}
	return nil
}

const (
	grubBootInfo = 2548
	grubSkips    = 5
)

// readGPT gives nil when there is none (UEFI §5.3).
func readGPT(s source) (*gpt, error) {
	raw, err := s.read("the partition table", Area{sector, sector})
	if err != nil {
		return nil, err
	}
	if string(raw[:8]) != "EFI PART" {
		return nil, nil
	}
	first, err := gptHeaderOf(s, raw, sector)
	if err != nil {
		return nil, err
	}
	found := &gpt{headers: []gptHeader{first}}
	backup := int64(min(binary.LittleEndian.Uint64(raw[32:]), 1<<40)) * sector
	if raw, err = s.read("the backup of the partition table", Area{backup, sector}); err != nil {
		return nil, err
	}
	second, err := gptHeaderOf(s, raw, backup)
	if err != nil {
		return nil, err
	}
	found.headers = append(found.headers, second)
	return found, nil
}

func gptHeaderOf(s source, raw []byte, at int64) (gptHeader, error) {
	h := gptHeader{
		at: at, size: int64(binary.LittleEndian.Uint32(raw[12:])),
		entries: int64(min(binary.LittleEndian.Uint64(raw[72:]), 1<<40)) * sector,
		count:   binary.LittleEndian.Uint32(raw[80:]), length: binary.LittleEndian.Uint32(raw[84:]),
	}
	if string(raw[:8]) != "EFI PART" || h.size < 92 || h.size > sector || h.count == 0 || h.count > gptEntries || h.length != 128 {
		return h, fault("byte %d: the partition table's header is damaged: signature %q, %d bytes, %d entries of %d bytes", at, raw[:8], h.size, h.count, h.length)
	}
	header := append([]byte(nil), raw[:h.size]...)
	clear(header[16:20])
	if sum := crc32.ChecksumIEEE(header); sum != binary.LittleEndian.Uint32(raw[16:]) {
		return h, fault("byte %d: the partition table's header has checksum %08x, its content %08x", at, binary.LittleEndian.Uint32(raw[16:]), sum)
	}
	entries, err := s.read("the list of partitions", Area{h.entries, int64(h.count) * int64(h.length)})
	if err != nil {
		return h, err
	}
	if sum := crc32.ChecksumIEEE(entries); sum != binary.LittleEndian.Uint32(raw[88:]) {
		return h, fault("byte %d: the list of partitions has checksum %08x, expected %08x", h.entries, sum, binary.LittleEndian.Uint32(raw[88:]))
	}
	return h, nil
}
