package iso

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

const (
	// The header of older ISOs, at the end of the system area: magic, offset, length.
	ignitionHeader = systemArea - 24
	ignitionMagic  = "coreiso+"

	// ignitionFile is the area when no coreos/igninfo.json names another.
	ignitionFile = "images/ignition.img"
)

// readIgnition finds the embed area: coreos/igninfo.json, else images/ignition.img, and the header of older ISOs, which has
// to agree with it.
func (i *Image) readIgnition(s source) error {
	var info struct {
		File   string `json:"file"`
		Offset int64  `json:"offset"`
		Length int64  `json:"length"`
	}
	found, err := i.readJSON(s, "coreos/igninfo.json", &info)
	if err != nil {
		return err
	}
	if !found || info.File == "" {
		info.File = ignitionFile
	}
	header, err := i.readIgnitionHeader(s)
	if err != nil {
		return err
	}
	file, ok := i.Files[info.File]
	switch {
	case !ok && header != nil && !found:
		i.Ignition = *header
	case !ok:
		return fault("no embed area for Ignition: there is no %s among %d files, and the %d bytes at byte %d are no %q header",
			info.File, len(i.Files), systemArea-ignitionHeader, ignitionHeader, ignitionMagic)
	default:
		if info.Length == 0 {
			info.Length = file.Length - info.Offset
		}
		if info.Offset < 0 || info.Length <= 0 || info.Offset > file.Length-info.Length {
			return fault("coreos/igninfo.json: %d bytes at byte %d of %s, which has %d bytes", info.Length, info.Offset, info.File, file.Length)
		}
		i.Ignition = Area{file.Offset + info.Offset, info.Length}
	}
	if header != nil && *header != i.Ignition {
		return fault("byte %d: the %s header has the embed area at byte %d with %d bytes, %s lies at byte %d with %d bytes",
			ignitionHeader, ignitionMagic, header.Offset, header.Length, info.File, i.Ignition.Offset, i.Ignition.Length)
	}
	if i.Ignition.Length <= 0 || i.Ignition.Offset < systemArea || i.Ignition.Offset > i.Size-i.Ignition.Length {
		return fault("the embed area lies at bytes %d to %d, the file has %d bytes", i.Ignition.Offset, i.Ignition.end(), i.Size)
	}
	return nil
}

// readIgnitionHeader gives nil when there is no header; bytes that are nearly one are refused.
func (i *Image) readIgnitionHeader(s source) (*Area, error) {
	raw, err := s.read("the system area", Area{ignitionHeader, systemArea - ignitionHeader})
	if err != nil {
		return nil, err
	}
	if string(raw[:8]) == ignitionMagic {
		return &Area{int64(binary.LittleEndian.Uint64(raw[8:])), int64(binary.LittleEndian.Uint64(raw[16:]))}, nil
	}
	if !zero(raw) {
		return nil, fault("byte %d: found %q where the %d bytes of the header %q or zeros are expected", ignitionHeader, raw, len(raw), ignitionMagic)
	}
	return nil, nil
}

func zero(raw []byte) bool { return len(bytes.Trim(raw, "\x00")) == 0 }

// Embed is the change that puts an initramfs archive (or several, each at a multiple of four) into the embed area. What was
// there is overwritten.
func (i *Image) Embed(archive []byte) (Patch, error) {
	if int64(len(archive)) > i.Ignition.Length {
		return Patch{}, fmt.Errorf("embed Ignition: the archive has %d bytes, the area of the ISO %d", len(archive), i.Ignition.Length)
	}
	return Patch{At: i.Ignition.Offset, Data: archive, Length: i.Ignition.Length}, nil
}
