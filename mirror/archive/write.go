package archive

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/slipway-io/slipway/mirror/durable"
	"github.com/slipway-io/slipway/mirror/plan"
)

// Source has the content of blobs.
type Source interface {
	Open(ctx context.Context, digest string, blob plan.Blob, offset int64) (io.ReadCloser, error)
}

// WriteConfig of an archive.
type WriteConfig struct {
	Dir    string
	Plan   *plan.Plan
	Source Source
	// Segment is the most bytes that a segment has; 0 means DefaultSegment.
	Segment int64
	// Assumed blobs are at the target already.
	Assumed map[string]bool
	Workers int
	Log     *slog.Logger
	// Moved is told of bytes as they arrive; may be nil.
	Moved func(int64)
}

// Written is what an archive has, and what it lacks.
type Written struct {
	Segments int
	Bytes    int64 // in the archive
	Moved    int64 // in this run
	Assumed  int
	// Failed blobs with their causes; images that need them are not complete.
	Failed map[string]error
}

// writer fills segments in place: content goes to disk once.
type writer struct {
	WriteConfig
	pieces  map[string][]Piece
	sizes   []int64
	files   []*os.File
	journal *journal
	moved   atomic.Int64

	mu     sync.Mutex
	failed map[string]error
}

// Missing is what writing would bring: blobs and bytes.
func Missing(p *plan.Plan, assumed map[string]bool) (blobs int, bytes int64) {
	for digest, blob := range p.Blobs {
		if !assumed[digest] {
			blobs++
			bytes += blob.Size
		}
	}
	return blobs, bytes
}

// Write makes an archive, or continues one that a killed run has begun. What fails is in the result.
func Write(ctx context.Context, c WriteConfig) (*Written, error) {
	if c.Segment <= 0 {
		c.Segment = DefaultSegment
	}
	if c.Workers <= 0 {
		c.Workers = 8
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	w := &writer{WriteConfig: c, failed: map[string]error{}}
	var err error
	if w.pieces, w.sizes, err = layout(c.Plan, c.Assumed, c.Segment); err != nil {
		return nil, err
	}
	if err := w.open(); err != nil {
		return nil, err
	}
	err = w.fill(ctx)
	if closeErr := w.close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, err
	}
	return w.seal()
}

func (w *writer) part(n int) string {
	return filepath.Join(w.Dir, fmt.Sprintf(".segment-%06d.part", n))
}

// open opens the segments' files and the journal of what is in them. The archive that was here before is taken away first:
// its segments would be taken for those of this one.
func (w *writer) open() error {
	if err := os.MkdirAll(w.Dir, 0o755); err != nil {
		return fmt.Errorf("make archive: %w", err)
	}
	key := w.key()
	var err error
	if w.journal, err = openJournal(filepath.Join(w.Dir, ".journal"), key); err != nil {
		return err
	}
	if w.journal.fresh {
		if err := w.reopen(); err != nil {
			return err
		}
		if w.journal.fresh {
			if err := w.clear(); err != nil {
				return err
			}
		}
	}
	if err := w.room(); err != nil {
		return err
	}
	for n := range w.sizes {
		file, err := os.OpenFile(w.part(n), os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return fmt.Errorf("make segment: %w", err)
		}
		w.files = append(w.files, file)
	}
	return nil
}

// key names the layout: a journal of another one is of no use.
func (w *writer) key() string {
	raw, err := json.Marshal(w.pieces) // maps are sorted
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// reopen takes the segments of a finished archive of the same layout over: one that lacks what could not be had is completed, not made again.
func (w *writer) reopen() error {
	root, err := os.OpenRoot(w.Dir)
	if err != nil {
		return fmt.Errorf("make archive: %w", err)
	}
	defer root.Close()
	raw, err := readFile(root, IndexName, maxIndex)
	if err != nil {
		return nil // there is none, or none that is worth anything
	}
	x, err := decodeIndex(raw)
	if err != nil || len(x.Segments) != len(w.sizes) {
		return nil
	}
	for n, s := range x.Segments {
		if s.Size != w.sizes[n] {
			return nil
		}
	}
	for digest, pieces := range x.Blobs {
		if !slices.Equal(pieces, w.pieces[digest]) {
			return nil
		}
	}
	if err := root.Remove(IndexName); err != nil {
		return fmt.Errorf("make archive: %w", err)
	}
	for n, s := range x.Segments {
		if err := os.Rename(filepath.Join(w.Dir, s.Name), w.part(n)); err != nil {
			return nil // segments have been carried away: all is made again
		}
	}
	for digest := range x.Blobs {
		if err := w.journal.note(digest, w.Plan.Blobs[digest].Size); err != nil {
			return err
		}
	}
	w.journal.fresh = false
	return nil
}

// clear takes away what an earlier archive has left in the directory.
func (w *writer) clear() error {
	entries, err := os.ReadDir(w.Dir)
	if err != nil {
		return fmt.Errorf("make archive: %w", err)
	}
	for _, entry := range entries {
		name := entry.Name()
		old := name == IndexName || name == PlanName || name == SumsName || segmentName.MatchString(name) ||
			strings.HasPrefix(name, ".segment-") && strings.HasSuffix(name, ".part")
		if old {
			if err := os.Remove(filepath.Join(w.Dir, name)); err != nil {
				return fmt.Errorf("remove earlier archive: %w", err)
			}
		}
	}
	return nil
}

// room makes sure, before hours of download, that the disk can take it.
func (w *writer) room() error {
	var stat unix.Statfs_t
	if err := unix.Statfs(w.Dir, &stat); err != nil {
		return fmt.Errorf("look at disk of %s: %w", w.Dir, err)
	}
	var need int64
	for digest, pieces := range w.pieces {
		if w.journal.done[digest] < w.Plan.Blobs[digest].Size {
			for _, p := range pieces {
				need += p.Length
			}
		}
	}
	if free := int64(stat.Bavail) * stat.Bsize; need > free {
		return fmt.Errorf("the archive needs %d bytes, %s has %d free", need, w.Dir, free)
	}
	return nil
}

// fill brings all blobs, several side by side.
func (w *writer) fill(ctx context.Context) error {
	order := make([]string, 0, len(w.pieces))
	for digest := range w.pieces {
		order = append(order, digest)
	}
	// In the order of their places: sticks are slow at anything else, and FAT fills what lies before a write with zeros.
	slices.SortFunc(order, func(a, b string) int {
		return cmp.Or(cmp.Compare(w.start(a), w.start(b)), cmp.Compare(a, b))
	})
	queue := make(chan string, len(order))
	for _, digest := range order {
		queue <- digest
	}
	close(queue)
	var group sync.WaitGroup
	for range w.Workers {
		group.Go(func() {
			for digest := range queue {
				if ctx.Err() != nil {
					return
				}
				if err := w.bring(ctx, digest); err != nil && ctx.Err() == nil {
					w.mu.Lock()
					w.failed[digest] = err
					w.mu.Unlock()
				}
			}
		})
	}
	group.Wait()
	return ctx.Err()
}

// start of a blob in the order of all segments; empty blobs have no place.
func (w *writer) start(digest string) int64 {
	if len(w.pieces[digest]) == 0 {
		return 0
	}
	first := w.pieces[digest][0]
	return int64(first.Segment)*w.Segment + first.Offset
}

func (w *writer) close() error {
	var errs []error
	for n, file := range w.files {
		// Where the last blob of a segment is missing, so is the segment's end.
		errs = append(errs, file.Truncate(w.sizes[n]), file.Sync(), file.Close())
	}
	return errors.Join(append(errs, w.journal.close())...)
}

// seal names the segments by their content and writes index, plan and checksums, the index last: with it, the archive is one.
func (w *writer) seal() (*Written, error) {
	written := &Written{Segments: len(w.sizes), Moved: w.moved.Load(), Failed: w.failed, Assumed: len(w.Assumed)}
	index := Index{Version: version, Blobs: map[string][]Piece{}, Assumed: len(w.Assumed), Segments: []Segment{}}
	var sums strings.Builder
	for n, size := range w.sizes {
		hash, err := hashFile(w.part(n))
		if err != nil {
			return nil, err
		}
		name := "sha256-" + hash + ".segment"
		index.Segments = append(index.Segments, Segment{Name: name, Size: size})
		fmt.Fprintf(&sums, "%s  %s\n", hash, name)
		written.Bytes += size
	}
	for digest, pieces := range w.pieces {
		if w.failed[digest] == nil {
			index.Blobs[digest] = pieces
		}
	}
	raw, err := w.Plan.Encode()
	if err != nil {
		return nil, err
	}
	planSum := sha256.Sum256(raw)
	index.Plan = "sha256:" + hex.EncodeToString(planSum[:])
	indexRaw, err := json.Marshal(index)
	if err != nil {
		return nil, fmt.Errorf("encode index: %w", err)
	}
	indexSum := sha256.Sum256(indexRaw)
	fmt.Fprintf(&sums, "%x  %s\n%x  %s\n", planSum, PlanName, indexSum, IndexName)
	for _, chart := range w.Plan.Charts {
		fmt.Fprintf(&sums, "%s  %s/%s\n", strings.TrimPrefix(chart.Digest, "sha256:"), ChartsName, chart.File)
	}
	for n, s := range index.Segments {
		if err := os.Rename(w.part(n), filepath.Join(w.Dir, s.Name)); err != nil {
			return nil, fmt.Errorf("name segment: %w", err)
		}
	}
	for _, file := range []struct {
		name string
		data []byte
	}{{PlanName, raw}, {SumsName, []byte(sums.String())}, {IndexName, indexRaw}} {
		if err := durable.Write(filepath.Join(w.Dir, file.name), file.data, 0o644); err != nil {
			return nil, err
		}
	}
	if err := os.Remove(filepath.Join(w.Dir, ".journal")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove journal: %w", err)
	}
	return written, nil
}

func hashFile(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("hash segment: %w", err)
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.CopyBuffer(hash, file, make([]byte, 1<<20)); err != nil {
		return "", fmt.Errorf("hash segment: %w", err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}
