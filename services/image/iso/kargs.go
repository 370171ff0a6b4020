package iso

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
)

const (
	// The header of older ISOs, before that of the embed area: magic, length, offset of the default, up to six offsets.
	kargsHeader       = ignitionHeader - kargsHeaderLength
	kargsHeaderLength = 72
	kargsMagic        = "coreKarg"

	maxKargs = 64 << 10
)

// Kargs are the areas for kernel arguments: the same text in each boot configuration.
type Kargs struct {
	// Default is what the ISO came with, Current what it has.
	Default, Current string
	// Size of each area in bytes.
	Size  int64
	areas []kargsArea
}

type kargsArea struct {
	path     string
	offset   int64
	pad, end byte
}

// kargsInfo is coreos/kargs.json.
type kargsInfo struct {
	Default string `json:"default"`
	Size    int64  `json:"size"`
	Files   []struct {
		Path   string  `json:"path"`
		Offset int64   `json:"offset"`
		Pad    *string `json:"pad"`
		End    *string `json:"end"`
	} `json:"files"`
}

func (i *Image) readKargs(s source) error {
	var info kargsInfo
	found, err := i.readJSON(s, "coreos/kargs.json", &info)
	if err != nil {
		return err
	}
	header, err := i.readKargsHeader(s)
	if err != nil {
		return err
	}
	if found {
		if i.Kargs, err = i.kargsOf(info); err != nil {
			return err
		}
		if header != nil && !i.Kargs.same(header) {
			return fault("byte %d: the %s header (%d areas of %d bytes) and coreos/kargs.json (%d areas of %d bytes) contradict each other",
				kargsHeader, kargsMagic, len(header.areas), header.Size, len(i.Kargs.areas), i.Kargs.Size)
		}
	} else {
		i.Kargs = header
	}
	if i.Kargs == nil {
		return nil
	}
	return i.Kargs.read(s, i.VolumeID)
}

func (i *Image) kargsOf(info kargsInfo) (*Kargs, error) {
	if info.Size <= 0 || info.Size > maxKargs || len(info.Files) == 0 || len(info.Files) > 16 {
		return nil, fault("coreos/kargs.json: %d areas of %d bytes", len(info.Files), info.Size)
	}
	k := &Kargs{Default: info.Default, Size: info.Size}
	for _, f := range info.Files {
		file, ok := i.Files[f.Path]
		if !ok {
			return nil, fault("coreos/kargs.json names %s, which is not there", f.Path)
		}
		if f.Offset < 0 || f.Offset > file.Length-info.Size {
			return nil, fault("coreos/kargs.json: %d bytes at byte %d of %s, which has %d bytes", info.Size, f.Offset, f.Path, file.Length)
		}
		area := kargsArea{path: f.Path, offset: file.Offset + f.Offset, pad: '#', end: '\n'}
		for _, c := range []struct {
			what string
			from *string
			to   *byte
		}{{"pad", f.Pad, &area.pad}, {"end", f.End, &area.end}} {
			if c.from == nil {
				continue
			}
			if len(*c.from) != 1 {
				return nil, fault("coreos/kargs.json: %s of %s has %d bytes, expected 1", c.what, f.Path, len(*c.from))
			}
			*c.to = (*c.from)[0]
		}
		k.areas = append(k.areas, area)
	}
	return k, nil
}

// readKargsHeader gives nil when there is no header; bytes that are nearly one are refused.
func (i *Image) readKargsHeader(s source) (*Kargs, error) {
	raw, err := s.read("the system area", Area{kargsHeader, kargsHeaderLength})
	if err != nil {
		return nil, err
	}
	if string(raw[:8]) != kargsMagic {
		if !zero(raw) {
			return nil, fault("byte %d: found %q where the %d bytes of the header %q or zeros are expected", kargsHeader, raw[:8], len(raw), kargsMagic)
		}
		return nil, nil
	}
	numbers := make([]int64, 8)
	for n := range numbers {
		numbers[n] = int64(binary.LittleEndian.Uint64(raw[8+8*n:]))
	}
	k := &Kargs{Size: numbers[0]}
	original, ok := Area{}, false
	for _, file := range i.Files {
		if file.Offset == numbers[1] && file.Length == k.Size {
			original, ok = file, true
		}
	}
	if !ok || k.Size <= 0 || k.Size > maxKargs {
		return nil, fault("byte %d: the %s header has the default arguments at byte %d with %d bytes, where no file of that size is", kargsHeader, kargsMagic, numbers[1], k.Size)
	}
	content, err := s.read("the default kernel arguments", original)
	if err != nil {
		return nil, err
	}
	if k.Default, err = (kargsArea{path: "the default", offset: original.Offset, pad: '#', end: '\n'}).decode(content); err != nil {
		return nil, err
	}
	ended := false
	for n, offset := range numbers[2:] {
		if offset != 0 && ended {
			return nil, fault("byte %d: the %s header goes on after its end with %d", kargsHeader+24+8*n, kargsMagic, offset)
		}
		if ended = offset == 0; !ended {
			k.areas = append(k.areas, kargsArea{path: fmt.Sprintf("byte %d", offset), offset: offset, pad: '#', end: '\n'})
		}
	}
	if len(k.areas) == 0 {
		return nil, fault("byte %d: the %s header lists no area", kargsHeader, kargsMagic)
	}
	return k, nil
}

// same says whether both descriptions mean the same places.
func (k *Kargs) same(other *Kargs) bool {
	places := map[int64]bool{}
	for _, area := range k.areas {
		places[area.offset] = true
	}
	for _, area := range other.areas {
		if !places[area.offset] {
			return false
		}
	}
	return len(places) == len(other.areas) && k.Size == other.Size && k.Default == other.Default
}

// read takes the arguments that the areas have now, and checks that all have the same and mean this volume.
func (k *Kargs) read(s source, volumeID string) error {
	for n, area := range k.areas {
		content, err := s.read("the area for kernel arguments in "+area.path, Area{area.offset, k.Size})
		if err != nil {
			return err
		}
		text, err := area.decode(content)
		if err != nil {
			return err
		}
		if n > 0 && text != k.Current {
			return fault("the areas for kernel arguments contradict each other: %q in %s, %q in %s", k.Current, k.areas[0].path, text, area.path)
		}
		k.Current = text
	}
	for word := range strings.FieldsSeq(k.Default) {
		if label, ok := strings.CutPrefix(word, "coreos.liveiso="); ok && label != volumeID {
			return fault("the boot configuration looks for a volume %q, the volume is %q", label, volumeID)
		}
	}
	return nil
}

// decode gives the text before end and the pads.
func (a kargsArea) decode(content []byte) (string, error) {
	text := bytes.TrimRight(content, string(rune(a.pad)))
	if a.pad != a.end {
		if len(text) == 0 || text[len(text)-1] != a.end {
			return "", fault("the area for kernel arguments in %s (%d bytes at byte %d) does not end with %q: found %q", a.path, len(content), a.offset, a.end, tail(text))
		}
		text = text[:len(text)-1]
	}
	if bytes.ContainsAny(text, "\n\x00") {
		return "", fault("the area for kernel arguments in %s (%d bytes at byte %d) has more than one line", a.path, len(content), a.offset)
	}
	return string(text), nil
}

func tail(text []byte) []byte { return text[max(0, len(text)-16):] }

// Change is the list of changes that makes args the kernel arguments of every boot configuration.
func (k *Kargs) Change(args string) ([]Patch, error) {
	if int64(len(args))+1 >= k.Size {
		return nil, fmt.Errorf("kernel arguments have %d bytes, the area of the ISO has room for %d", len(args), k.Size-2)
	}
	if strings.ContainsAny(args, "\n\r\x00") {
		return nil, fmt.Errorf("kernel arguments %q have more than one line", args)
	}
	var patches []Patch
	for _, area := range k.areas {
		content := bytes.Repeat([]byte{area.pad}, int(k.Size))
		content[copy(content, args)] = area.end
		patches = append(patches, Patch{At: area.offset, Data: content, Length: k.Size})
	}
	return patches, nil
}
