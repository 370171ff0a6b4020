package archive

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// open opens the segments' files and the journal of what is in them. The archive that was here before is taken away first:
// its segments would be taken for those of this one.
func (w *writer) open() error {
	if err := os.MkdirAll(w.Dir, 0o755); err != nil {
		return fmt.Errorf("make archive: %w", err)
	}
	var err error
	if w.disk, err = LookAt(w.Dir); err != nil {
		return err
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(w.Dir, &stat); err != nil {
		return fmt.Errorf("look at disk of %s: %w", w.Dir, err)
	}
	w.Segment = min(w.Segment, largestFile(stat.Type))
	if w.pieces, w.sizes, err = layout(w.Plan, w.Assumed, w.Segment); err != nil {
		return err
	}
	key := w.key()
	if w.journal, err = openJournal(filepath.Join(w.Dir, ".journal"), key); err != nil {
		return err
	}
	if w.journal.fresh {
		if err := w.reopen(); err != nil {
			return err
		}
	}
	if w.journal.fresh {
		err = w.clear()
	} else {
		err = w.takeBack()
	}
	if err != nil {
		return err
	}
	for n := range w.sizes {
		file, err := os.OpenFile(w.part(n), os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return fmt.Errorf("make segment: %w", err)
		}
		w.files = append(w.files, file)
	}
	return w.room()
}

// takeBack undoes the names that a run gave to segments, and forgets what was in segments that are not here any more.
func (w *writer) takeBack() error {
	if err := os.Remove(filepath.Join(w.Dir, IndexName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("make archive: %w", err)
	}
	for n := range w.sizes {
		_, err := os.Lstat(w.part(n))
		if name := w.journal.names[n]; errors.Is(err, fs.ErrNotExist) && segmentName.MatchString(name) {
			err = os.Rename(filepath.Join(w.Dir, name), w.part(n))
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = w.forget(n)
		}
		if err != nil {
			return fmt.Errorf("make archive: %w", err)
		}
	}
	return nil
}

// forget what the journal says about blobs of a segment.
func (w *writer) forget(segment int) error {
	for digest, pieces := range w.pieces {
		if w.journal.at(digest) > 0 && slices.ContainsFunc(pieces, func(p Piece) bool { return p.Segment == segment }) {
			if err := w.journal.note(digest, 0); err != nil {
				return err
			}
		}
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
	for digest := range x.Blobs {
		if err := w.journal.note(digest, w.Plan.Blobs[digest].Size); err != nil {
			return err
		}
	}
	w.journal.fresh = false
	return w.journal.name(x.Segments)
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

// spare is what plan, index and checksums take beside the segments.
const spare = 4 << 20

// room makes sure, before hours of download, that the disk can take what is not on it yet.
func (w *writer) room() error {
	var stat unix.Statfs_t
	if err := unix.Statfs(w.Dir, &stat); err != nil {
		return fmt.Errorf("look at disk of %s: %w", w.Dir, err)
	}
	free := int64(stat.Bavail) * stat.Bsize
	var need int64
	for n, file := range w.files {
		info, err := file.Stat()
		if err != nil {
			return fmt.Errorf("make segment: %w", err)
		}
		need += w.sizes[n]
		if stat, is := info.Sys().(*syscall.Stat_t); is {
			need -= min(stat.Blocks*512, w.sizes[n])
		}
	}
	if need > 0 && need+spare > free {
		return fmt.Errorf("the archive needs %d MiB more and %s has %d MiB free: take a larger disk, or write it to a directory with more room and carry as many segments at a time as fit (archiveSize makes them smaller)",
			(need+spare)>>20, w.Dir, free>>20)
	}
	return nil
}
