// Package iso reads CoreOS-style live ISOs: where Ignition, kernel arguments, kernel and root file system lie; and lays changes over them.
//
// A file is parsed once, from an io.ReaderAt; everything else is arithmetic on offsets. Nothing here writes.
package iso

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	// block is the logical block of ISO 9660, in bytes.
	block = 2048
	// systemArea comes before the first volume descriptor (ECMA-119 §6.2.1).
	systemArea = 16 * block
	// descriptors bounds the list of volume descriptors.
	descriptors = 16
	// metadata bounds the JSON files below coreos/.
	metadata = 64 << 10
)

// ErrFormat says that a file is no ISO that can be customised; the text has what was found and where.
var ErrFormat = errors.New("not a usable live ISO")

func fault(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
}

// Area is a span of the ISO, in bytes.
type Area struct{ Offset, Length int64 }

func (a Area) end() int64 { return a.Offset + a.Length }

// Image is what a live ISO has, and where.
type Image struct {
	VolumeID string
	// Size of the file in bytes.
	Size int64
	// Files by path without a leading slash, as Rock Ridge spells them.
	Files map[string]Area
	// Ignition is where the configuration is embedded, as an initramfs archive.
	Ignition Area
	// Kargs is nil when the ISO has no areas for kernel arguments.
	Kargs    *Kargs
	Features Features
	// Boot lists what firmware starts from a CD; Hybrid says what it finds on a USB stick.
	Boot   []BootEntry
	Hybrid Hybrid

	volumes             []volume
	records             []record
	bootVolume, catalog int64 // offsets of the boot record and of the catalog that it names
	gpt                 *gpt
	bootInfo            *bootInfo
}

// Features is coreos/features.json.
type Features struct {
	InstallerConfig   bool `json:"installer-config"`
	LiveInitrdNetwork bool `json:"live-initrd-network"`
}

// volume is a primary or supplementary descriptor.
type volume struct {
	at         int64
	joliet     bool
	space      uint32 // blocks
	pathTables []pathTable
	root       Area
}

// Parse reads the structure of a live ISO of size bytes. It fails with ErrFormat when something is missing or contradicts
// itself.
func Parse(r io.ReaderAt, size int64) (*Image, error) {
	image := &Image{Size: size, Files: map[string]Area{}}
	from := source{r, size}
	for _, step := range []func(source) error{
		image.readVolumes, image.readTree, image.readBoot, image.readIgnition, image.readKargs, image.readFeatures,
	} {
		if err := step(from); err != nil {
			return nil, err
		}
	}
	return image, nil
}

// source reads within the file's bounds.
type source struct {
	r    io.ReaderAt
	size int64
}

func (s source) read(what string, area Area) ([]byte, error) {
	if area.Offset < 0 || area.Length < 0 || area.Offset > s.size-area.Length {
		return nil, fault("%s lies at bytes %d to %d, the file has %d bytes", what, area.Offset, area.end(), s.size)
	}
	content := make([]byte, area.Length)
	if n, err := s.r.ReadAt(content, area.Offset); n < len(content) {
		if errors.Is(err, io.EOF) {
			return nil, fault("%s ends after %d of %d bytes at offset %d", what, n, len(content), area.Offset)
		}
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	return content, nil
}

// readJSON decodes a small file of the ISO; found is false when there is none.
func (i *Image) readJSON(s source, path string, into any) (found bool, err error) {
	area, ok := i.Files[path]
	if !ok {
		return false, nil
	}
	if area.Length > metadata {
		return false, fault("%s has %d bytes, more than %d", path, area.Length, metadata)
	}
	raw, err := s.read(path, area)
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return false, fault("%s (%d bytes) is no JSON of its kind: %v", path, len(raw), err)
	}
	return true, nil
}

func (i *Image) readFeatures(s source) error {
	_, err := i.readJSON(s, "coreos/features.json", &i.Features)
	return err
}

// readVolumes walks the volume descriptors (ECMA-119 §8).
func (i *Image) readVolumes(s source) error {
	for n := range int64(descriptors) {
		at := systemArea + n*block
		raw, err := s.read("the volume descriptor", Area{at, block})
		if err != nil {
			return err
		}
		if string(raw[1:6]) != "CD001" || raw[6] != 1 && raw[6] != 2 {
			return fault("byte %d has no ISO 9660 volume descriptor: found %q, expected \"CD001\\x01\"; the file has %d bytes", at+1, raw[1:7], s.size)
		}
		switch raw[0] {
		case 0:
			i.bootRecord(raw, at)
		case 1, 2:
			if err := i.addVolume(raw, at); err != nil {
				return err
			}
		case 255:
			if len(i.volumes) == 0 || i.volumes[0].joliet {
				return fault("there is no primary volume descriptor before byte %d", at)
			}
			return nil
		}
	}
	return fault("the list of volume descriptors at byte %d has no end within %d blocks", systemArea, descriptors)
}

func (i *Image) addVolume(raw []byte, at int64) error {
	v := volume{at: at, joliet: raw[0] == 2}
	space, err := both32(raw[80:], at+80, "the volume's size")
	if err != nil {
		return err
	}
	if size := binary.LittleEndian.Uint16(raw[128:]); size != block || binary.BigEndian.Uint16(raw[130:]) != block {
		return fault("byte %d: the logical block has %d bytes, expected %d", at+128, size, block)
	}
	if int64(space)*block > i.Size {
		return fault("the volume has %d bytes, the file only %d: it is truncated", int64(space)*block, i.Size)
	}
	v.space = space
	root, err := extentOf(raw[156:190], at+156)
	if err != nil {
		return err
	}
	v.root = root
	length, err := both32(raw[132:], at+132, "the path table's size")
	if err != nil {
		return err
	}
	for n, order := range []binary.ByteOrder{binary.LittleEndian, binary.LittleEndian, binary.BigEndian, binary.BigEndian} {
		v.pathTables = append(v.pathTables, pathTable{at: at + 140 + 4*int64(n), order: order, start: order.Uint32(raw[140+4*n:]), length: int64(length)})
	}
	if !v.joliet && i.VolumeID == "" {
		i.VolumeID = strings.TrimRight(string(raw[40:72]), " \x00")
	}
	i.volumes = append(i.volumes, v)
	return nil
}

// both32 reads a number that is there in both byte orders (ECMA-119 §7.3.3).
func both32(raw []byte, at int64, what string) (uint32, error) {
	little, big := binary.LittleEndian.Uint32(raw), binary.BigEndian.Uint32(raw[4:])
	if little != big {
		return 0, fault("byte %d: %s is %d in one byte order and %d in the other", at, what, little, big)
	}
	return little, nil
}

func put32(raw []byte, value uint32) {
	binary.LittleEndian.PutUint32(raw, value)
	binary.BigEndian.PutUint32(raw[4:], value)
}
