package image

import (
	"errors"
	"fmt"
	"io"
)

// segment is a part of a stream.
type segment struct {
	from io.ReaderAt
	size int64
}

// segments reads parts one after the other as one file; nothing is copied together.
type segments struct {
	parts []segment
	size  int64
	at    int64
}

func concatenate(parts ...segment) *segments {
	s := &segments{parts: parts}
	for _, part := range parts {
		s.size += part.size
	}
	return s
}

// Read implements io.Reader.
func (s *segments) Read(p []byte) (int, error) {
	at := s.at
	for _, part := range s.parts {
		if at >= part.size {
			at -= part.size
			continue
		}
		if len(p) == 0 {
			return 0, nil
		}
		p = p[:min(int64(len(p)), part.size-at)]
		n, err := part.from.ReadAt(p, at)
		s.at += int64(n)
		if n == len(p) {
			return n, nil
		}
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return n, err
	}
	return 0, io.EOF
}

// Seek implements io.Seeker.
func (s *segments) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += s.at
	case io.SeekEnd:
		offset += s.size
	default:
		return 0, fmt.Errorf("seek: whence %d", whence)
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek: position %d", offset)
	}
	s.at = offset
	return offset, nil
}
