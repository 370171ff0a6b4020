package tftp

import (
	"fmt"
	"io"
)

// source reads any part of a file that is not before the part read last.
type source interface {
	// read fills p from offset.
	read(p []byte, offset int64) error
}

// sourceOf prefers reading at an offset, which keeps nothing in memory.
func sourceOf(file io.Reader) source {
	switch file := file.(type) {
	case io.ReaderAt:
		return positioned{file}
	case io.ReadSeeker:
		return seeking{file}
	}
	return &sequential{from: file}
}

type positioned struct{ from io.ReaderAt }

func (s positioned) read(p []byte, offset int64) error {
	n, err := s.from.ReadAt(p, offset)
	if n == len(p) {
		return nil
	}
	return short(offset+int64(n), err)
}

type seeking struct{ from io.ReadSeeker }

func (s seeking) read(p []byte, offset int64) error {
	if _, err := s.from.Seek(offset, io.SeekStart); err != nil {
		return fmt.Errorf("seek to %d: %w", offset, err)
	}
	n, err := io.ReadFull(s.from, p)
	if err != nil {
		return short(offset+int64(n), err)
	}
	return nil
}

// sequential keeps what was read last, a window at most, because it may have to be sent again.
type sequential struct {
	from  io.Reader
	start int64 // of kept
	kept  []byte
}

func (s *sequential) read(p []byte, offset int64) error {
	if skip := offset - s.start; skip > 0 {
		s.kept = s.kept[:copy(s.kept, s.kept[min(skip, int64(len(s.kept))):])]
		s.start = offset
	}
	if missing := len(p) - len(s.kept); missing > 0 {
		have := len(s.kept)
		s.kept = append(s.kept, make([]byte, missing)...)
		n, err := io.ReadFull(s.from, s.kept[have:])
		if err != nil {
			s.kept = s.kept[:have+n]
			return short(offset+int64(have+n), err)
		}
	}
	copy(p, s.kept)
	return nil
}

func short(at int64, err error) error {
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read at %d: %w", at, err)
}
