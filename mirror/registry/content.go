package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// BlobSize returns the size of a blob of any repository, and whether there is one.
func (r *Registry) BlobSize(digest string) (int64, bool) {
	d, err := parseDigest(digest)
	if err != nil {
		return 0, false
	}
	return r.index.size(d)
}

// OpenBlob opens a blob of any repository; the caller closes it. ErrNotFound when there is none.
func (r *Registry) OpenBlob(digest string) (*os.File, int64, error) {
	d, err := parseDigest(digest)
	if err != nil {
		return nil, 0, err
	}
	size, there := r.index.size(d)
	if !there {
		return nil, 0, fmt.Errorf("blob %s: %w", d, ErrNotFound)
	}
	f, err := r.disk.root.Open(blobPath(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("blob %s: %w", d, ErrNotFound)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("open blob %s: %w", d, err)
	}
	return f, size, nil
}

// BlobWriter takes a blob whose digest is known, from where an earlier writer stopped.
type BlobWriter struct {
	transfer *transfer
	want     digest
	file     *os.File
	done     bool
}

// WriteBlob begins or continues a blob that the repository gets. ErrBusy when another writer is at the same one.
func (r *Registry) WriteBlob(repository, digest string) (*BlobWriter, error) {
	d, err := checkBoth(repository, digest)
	if err != nil {
		return nil, err
	}
	var u *transfer
	for { // one that was found may end before its turn comes
		u, err = r.begin(session{Repository: repository, Algorithm: d.algorithm, Digest: d.String()})
		if err == nil {
			err = u.tryLock()
		}
		if err == nil {
			break
		}
		if !errors.Is(err, ErrNotFound) {
			return nil, fmt.Errorf("write blob %s: %w", d, err)
		}
	}
	u.session.Repository = repository
	f, err := u.open()
	if err != nil {
		u.unlock()
		return nil, fmt.Errorf("write blob %s: %w", d, err)
	}
	return &BlobWriter{transfer: u, want: d, file: f}, nil
}

// Offset is how many bytes are there.
func (w *BlobWriter) Offset() int64 { return w.transfer.size.Load() }

// Write appends. ErrFull when the disk has no room.
func (w *BlobWriter) Write(p []byte) (int, error) { return w.transfer.write(w.file, p) }

// Commit makes the bytes the blob, durable on return. With ErrDigest they are gone. The writer is closed either way.
func (w *BlobWriter) Commit() error {
	if err := w.file.Close(); err != nil {
		return errors.Join(fmt.Errorf("write blob %s: %w", w.want, err), w.Close())
	}
	defer w.Close()
	return w.transfer.finish(w.want)
}

// Cancel drops the bytes and closes the writer.
func (w *BlobWriter) Cancel() error {
	defer w.Close()
	return w.transfer.discard()
}

// Close leaves the bytes for a later WriteBlob, unless they were committed or dropped.
func (w *BlobWriter) Close() error {
	if w.done {
		return nil
	}
	w.done = true
	w.transfer.unlock()
	if err := w.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("write blob %s: %w", w.want, err)
	}
	return nil
}
