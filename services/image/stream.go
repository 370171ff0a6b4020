package image

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/slipway-io/slipway/services/image/iso"
)

// sendfileFrom is how long a stretch of a file has to be for the kernel to send it; shorter ones are read and written.
const sendfileFrom = 64 << 10

// stream reads a view over an artifact from front to back. It is what one request pins: view and file stay as they are,
// whatever happens to the InfraEnv meanwhile.
type stream struct {
	view *iso.View
	base *os.File
	at   int64
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	n, err := s.view.ReadAt(s.base, p, s.at)
	s.at += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// Seek implements io.Seeker.
func (s *stream) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += s.at
	case io.SeekEnd:
		offset += s.view.Size()
	default:
		return 0, fmt.Errorf("seek: whence %d", whence)
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek: position %d", offset)
	}
	s.at = offset
	return offset, nil
}

// sender is the response that http.ServeContent copies a stream to: it lets the kernel send long stretches of the base file.
type sender struct {
	http.ResponseWriter
	from *Artifact
}

// Unwrap is for http.ResponseController.
func (s sender) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// ReadFrom implements io.ReaderFrom.
func (s sender) ReadFrom(r io.Reader) (int64, error) {
	limited, ok := r.(*io.LimitedReader)
	if !ok {
		return io.Copy(s.ResponseWriter, r)
	}
	stream, ok := limited.R.(*stream)
	if !ok || limited.N < sendfileFrom {
		return io.Copy(s.ResponseWriter, r)
	}
	var done int64
	for _, span := range stream.view.Spans(stream.at, min(stream.at+limited.N, stream.view.Size())) {
		n, err := s.send(stream, span)
		done += n
		limited.N -= n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

func (s sender) send(stream *stream, span iso.Span) (int64, error) {
	if !span.FromBase || span.Length < sendfileFrom {
		return io.Copy(s.ResponseWriter, io.LimitReader(stream, span.Length))
	}
	// A position of its own, which the shared handle has not.
	f, err := s.from.openSame()
	if err != nil {
		return 0, err
	}
	n, err := s.copy(f, span)
	stream.at += n
	return n, errors.Join(err, f.Close())
}

func (s sender) copy(f *os.File, span iso.Span) (int64, error) {
	if _, err := f.Seek(span.Offset, io.SeekStart); err != nil {
		return 0, err
	}
	return io.CopyN(s.ResponseWriter, f, span.Length)
}

// content is what a request gets.
type content struct {
	view     *iso.View
	base     *Artifact
	kind     string // media type
	tag      string // strong: the same tag means the same bytes
	modified time.Time
	private  bool // it carries secrets of an InfraEnv
}

// serve answers with ranges, conditions and HEAD as RFC 9110 has them.
func (s *Service) serve(w http.ResponseWriter, r *http.Request, c content) {
	f, err := c.base.shared(r.Context())
	if err != nil {
		s.broken(w, r, fmt.Errorf("serve %s: %w", c.base.Name, err))
		return
	}
	header := w.Header()
	header.Set("Content-Type", c.kind)
	header.Set("ETag", c.tag)
	// The address says version and name, not the content: it has to be asked for again.
	header.Set("Cache-Control", "no-cache")
	if c.private {
		header.Set("Cache-Control", "no-cache, private")
	}
	dropBadRange(r)
	http.ServeContent(sender{w, c.base.file()}, r, "", c.modified, &stream{view: c.view, base: f})
}
