package archive

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/slipway-io/slipway/mirror/durable"
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
	hash := remote.NewHash(digest)
	if _, err := io.CopyBuffer(hash, io.LimitReader(w.reader(digest), done), make([]byte, buffer)); err != nil {
		return fmt.Errorf("read segment: %w", err)
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
				return err
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
			if err := w.journal.note(digest, at); err != nil {
				return err
			}
		}
	}
	if got := remote.HashDigest(hash, digest); got != digest || at != blob.Size {
		return errors.Join(fmt.Errorf("blob %s: %w: got %d bytes with %s", digest, remote.ErrDigest, at, got), w.journal.note(digest, 0))
	}
	// The journal must not know more than the disk after a loss of power; what is noted along the way is hashed again, the end is not.
	for _, piece := range w.pieces[digest] {
		if err := w.files[piece.Segment].Sync(); err != nil {
			return fmt.Errorf("write segment: %w", err)
		}
	}
	return w.journal.note(digest, at)
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

// journal remembers how much of each blob is in its place.
type journal struct {
	mu    sync.Mutex
	file  *os.File
	done  map[string]int64
	fresh bool
}

type journalLine struct {
	Layout string `json:"layout,omitempty"`
	Blob   string `json:"blob,omitempty"`
	Done   int64  `json:"done,omitempty"`
}

// openJournal continues the journal of the same layout, or starts one.
func openJournal(path, layout string) (*journal, error) {
	j := &journal{done: map[string]int64{}, fresh: true}
	if file, err := os.Open(path); err == nil {
		j.read(file, layout)
		file.Close()
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	var head []byte
	encode := func(line journalLine) error {
		raw, err := json.Marshal(line)
		head = append(append(head, raw...), '\n')
		return err
	}
	err := encode(journalLine{Layout: layout})
	for digest, done := range j.done {
		err = errors.Join(err, encode(journalLine{Blob: digest, Done: done}))
	}
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	if err := durable.Write(path, head, 0o644); err != nil {
		return nil, err
	}
	if j.file, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0o644); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	return j, nil
}

func (j *journal) read(r io.Reader, layout string) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var line journalLine
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			continue // half a line of a killed run
		}
		if line.Layout != "" {
			j.fresh = line.Layout != layout
		} else if !j.fresh {
			j.done[line.Blob] = line.Done
		}
	}
}

func (j *journal) at(digest string) int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.done[digest]
}

func (j *journal) note(digest string, done int64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.done[digest] = done
	raw, err := json.Marshal(journalLine{Blob: digest, Done: done})
	if err == nil {
		_, err = j.file.Write(append(raw, '\n'))
	}
	if err != nil {
		return fmt.Errorf("note in journal: %w", err)
	}
	return nil
}

func (j *journal) close() error { return j.file.Close() }
