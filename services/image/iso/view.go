package iso

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
)

// Patch replaces bytes of the ISO: Data, then zeros up to Length bytes.
type Patch struct {
	At     int64
	Data   []byte
	Length int64
}

// Span is a stretch of a View: bytes of the base file from Offset on, else Data, else zeros.
type Span struct {
	// At is where it lies in the view.
	At, Length int64
	FromBase   bool
	Offset     int64
	Data       []byte
}

// View is a changed ISO, or another file made from parts of one: spans of the base and what lies between or over them. It never
// changes.
type View struct {
	spans []Span
	size  int64
}

// Size in bytes.
func (v *View) Size() int64 { return v.size }

// Overlay lays patches over the base of size bytes, without the cut. Patches must not overlap one another.
func Overlay(size int64, cut Area, patches ...Patch) (*View, error) {
	patches = slices.Clone(patches)
	sort.SliceStable(patches, func(a, b int) bool { return patches[a].At < patches[b].At })
	v := &View{}
	at := int64(0)
	for _, p := range patches {
		p.Length = max(p.Length, int64(len(p.Data)))
		switch {
		case p.At < at || p.At > size-p.Length:
			return nil, fmt.Errorf("lay over the ISO: %d bytes at byte %d, after %d of %d bytes", p.Length, p.At, at, size)
		case p.At < cut.end() && cut.Offset < p.At+p.Length && cut.Length > 0:
			return nil, fmt.Errorf("lay over the ISO: %d bytes at byte %d are in what is left out", p.Length, p.At)
		}
		v.base(at, p.At, cut)
		v.add(Span{Length: int64(len(p.Data)), Data: p.Data})
		v.add(Span{Length: p.Length - int64(len(p.Data))})
		at = p.At + p.Length
	}
	v.base(at, size, cut)
	return v, nil
}

// Join is the view of spans one after the other; where they say At is not looked at.
func Join(spans ...Span) *View {
	v := &View{}
	for _, span := range spans {
		v.add(span)
	}
	return v
}

// base adds what the base has from one offset to another, without the cut.
func (v *View) base(from, to int64, cut Area) {
	if cut.Length > 0 && from <= cut.Offset && cut.end() <= to {
		v.add(Span{FromBase: true, Offset: from, Length: cut.Offset - from})
		from = cut.end()
	}
	v.add(Span{FromBase: true, Offset: from, Length: to - from})
}

func (v *View) add(span Span) {
	if span.Length <= 0 {
		return
	}
	span.At = v.size
	v.spans = append(v.spans, span)
	v.size += span.Length
}

// Spans are those from one position to another, cut to these.
func (v *View) Spans(from, to int64) []Span {
	var found []Span
	for _, span := range v.spans[v.index(from):] {
		if span.At >= to {
			break
		}
		start, end := max(from, span.At), min(to, span.At+span.Length)
		part := Span{At: start, Length: end - start, FromBase: span.FromBase}
		skip := start - span.At
		switch {
		case span.FromBase:
			part.Offset = span.Offset + skip
		case span.Data != nil:
			part.Data = span.Data[skip : skip+part.Length]
		}
		found = append(found, part)
	}
	return found
}

// index is that of the span that position at lies in.
func (v *View) index(at int64) int {
	return sort.Search(len(v.spans), func(n int) bool { return v.spans[n].At+v.spans[n].Length > at })
}

// ReadAt reads the changed ISO over its base, like io.ReaderAt.
func (v *View) ReadAt(base io.ReaderAt, p []byte, at int64) (int, error) {
	if at < 0 {
		return 0, fmt.Errorf("read ISO at byte %d", at)
	}
	done := 0
	for n := v.index(at); n < len(v.spans) && done < len(p); n++ {
		span := v.spans[n]
		skip := at + int64(done) - span.At
		part := p[done:min(int64(len(p)), int64(done)+span.Length-skip)]
		switch {
		case span.FromBase:
			if read, err := base.ReadAt(part, span.Offset+skip); read < len(part) {
				if err == nil || errors.Is(err, io.EOF) {
					err = io.ErrUnexpectedEOF
				}
				return done + read, err
			}
		case span.Data != nil:
			copy(part, span.Data[skip:])
		default:
			clear(part)
		}
		done += len(part)
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}
