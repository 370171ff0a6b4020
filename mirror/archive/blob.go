package archive

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/slipway-io/slipway/mirror/remote"
)

const (
	// noteEvery is how much of a blob a killed run may have to fetch again.
	noteEvery = 4 << 20
	buffer    = 256 << 10
)

// bring fetches one blob into its pieces, from where an earlier run has got to.
func (w *writer) bring(ctx context.Context, digest string) error {
	blob := w.Plan.Blobs[digest]
	done := w.journal.at(digest)
	if done >= blob.Size && blob.Size > 0 {
		return nil
	}
	if err := w.disk.Stays(); err != nil {
		return err
	}
	hash := remote.NewHash(digest)
	if _, err := io.CopyBuffer(hash, io.LimitReader(w.reader(digest), done), make([]byte, buffer)); err != nil {
		return Advise(fmt.Errorf("read segment: %w", err))
	}
	body, err := w.Source.Open(ctx, digest, blob, done)
	if err != nil {
		return err
	}
	defer body.Close()
	at, noted := done, done
	p := make([]byte, buffer)
	for {
		n, err := body.Read(p)
		if n > 0 {
			hash.Write(p[:n])
			if err := w.write(digest, at, p[:n]); err != nil {
				return Advise(err)
			}
			at += int64(n)
			w.moved.Add(int64(n))
			if w.Moved != nil {
				w.Moved(int64(n))
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return errors.Join(err, w.journal.note(digest, at))
		}
		if at-noted >= noteEvery && at < blob.Size {
			noted = at
			if err := w.disk.Stays(); err != nil {
				return err
			}
			if err := w.journal.note(digest, at); err != nil {
				return Advise(err)
			}
		}
	}
	if got := remote.HashDigest(hash, digest); got != digest || at != blob.Size {
		return errors.Join(fmt.Errorf("blob %s: %w: got %d bytes with %s", digest, remote.ErrDigest, at, got), w.journal.note(digest, 0))
	}
	// The journal must not know more than the disk after a loss of power; what is noted along the way is hashed again, the end is not.
	for _, piece := range w.pieces[digest] {
		if err := w.files[piece.Segment].Sync(); err != nil {
			return Advise(fmt.Errorf("write segment: %w", err))
		}
	}
	return Advise(w.journal.note(digest, at))
}

// write puts bytes of a blob where the layout wants them.
func (w *writer) write(digest string, at int64, p []byte) error {
	start := int64(0)
	for _, piece := range w.pieces[digest] {
		end := start + piece.Length
		if at < end && len(p) > 0 {
			n := min(int64(len(p)), end-at)
			if _, err := w.files[piece.Segment].WriteAt(p[:n], piece.Offset+at-start); err != nil {
				return fmt.Errorf("write segment: %w", err)
			}
			p, at = p[n:], at+n
		}
		start = end
	}
	if len(p) > 0 {
		return fmt.Errorf("blob %s: %w: longer than the plan says", digest, remote.ErrDigest)
	}
	return nil
}

// reader reads a blob's pieces one after the other.
func (w *writer) reader(digest string) io.Reader {
	var readers []io.Reader
	for _, piece := range w.pieces[digest] {
		readers = append(readers, io.NewSectionReader(w.files[piece.Segment], piece.Offset, piece.Length))
	}
	return io.MultiReader(readers...)
}
