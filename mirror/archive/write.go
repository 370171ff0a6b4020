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
	disk    Disk
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
	defer w.release()
	if err := w.open(); err != nil {
		return nil, Advise(err)
	}
	if err := w.fill(ctx); err != nil {
		return nil, err
	}
	if err := w.flush(); err != nil {
		return nil, Advise(err)
	}
	written, err := w.seal()
	return written, Advise(err)
}

func (w *writer) part(n int) string {
	return filepath.Join(w.Dir, fmt.Sprintf(".segment-%06d.part", n))
}

// fill brings all blobs, several side by side. One that can't be had is noted; a disk that can't take it ends the run.
func (w *writer) fill(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
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
				err := w.bring(ctx, digest)
				if broken := (*diskError)(nil); errors.As(err, &broken) {
					stop(err)
				}
				if err != nil && ctx.Err() == nil {
					w.mu.Lock()
					w.failed[digest] = err
					w.mu.Unlock()
				}
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

// start of a blob in the order of all segments; empty blobs have no place.
func (w *writer) start(digest string) int64 {
	if len(w.pieces[digest]) == 0 {
		return 0
	}
	first := w.pieces[digest][0]
	return int64(first.Segment)*w.Segment + first.Offset
}

// flush makes all segments whole and lets nothing stay in memory.
func (w *writer) flush() error {
	var errs []error
	for n, file := range w.files {
		// Where the last blob of a segment is missing, so is the segment's end.
		errs = append(errs, file.Truncate(w.sizes[n]), file.Sync())
	}
	return errors.Join(errs...)
}

// release closes what open opened. What counts was synced before.
func (w *writer) release() {
	for _, file := range w.files {
		file.Close()
	}
	if w.journal != nil {
		w.journal.close()
	}
}

// seal names the segments by their content and writes index, plan and checksums, the index last: with it, the archive is one.
func (w *writer) seal() (*Written, error) {
	if err := w.disk.Stays(); err != nil {
		return nil, err
	}
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
	// A run that is killed between here and the index finds its segments again.
	if err := w.journal.name(index.Segments); err != nil {
		return nil, err
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
