package archive

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/slipway-io/slipway/mirror/plan"
	"github.com/slipway-io/slipway/mirror/remote"
)

// Reader is an archive of which all or some segments are here.
type Reader struct {
	Plan *plan.Plan

	root  *os.Root
	stash string
	index *Index
	here  []bool // by segment
}

// Open reads and checks an archive's index and plan. stash is a folder for pieces of blobs whose other pieces are in segments still to come.
func Open(dir, stash string) (*Reader, error) {
	r, err := open(dir, stash)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open archive %s: %w; every segment is carried together with %s and %s", dir, err, IndexName, PlanName)
	}
	if err != nil {
		return nil, fmt.Errorf("open archive %s: %w", dir, err)
	}
	return r, nil
}

func open(dir, stash string) (*Reader, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	r := &Reader{root: root, stash: stash}
	if err := r.load(); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return r, nil
}

func (r *Reader) load() error {
	raw, err := readFile(r.root, IndexName, maxIndex)
	if err != nil {
		return err
	}
	if r.index, err = decodeIndex(raw); err != nil {
		return err
	}
	if err := r.checkSum(raw); err != nil {
		return err
	}
	if raw, err = readFile(r.root, PlanName, maxIndex); err != nil {
		return err
	}
	if !remote.Matches(r.index.Plan, raw) {
		return fmt.Errorf("%w: %s is not the one that belongs to %s", ErrInvalid, PlanName, IndexName)
	}
	if r.Plan, err = plan.Decode(raw); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if err := r.index.fits(r.Plan); err != nil {
		return err
	}
	for _, s := range r.index.Segments {
		info, err := r.root.Lstat(s.Name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			r.here = append(r.here, false)
		case err != nil:
			return err
		case !info.Mode().IsRegular() || info.Size() != s.Size:
			return fmt.Errorf("%w: %s has %d bytes, want a plain file of %d; copy it again", ErrInvalid, s.Name, info.Size(), s.Size)
		default:
			r.here = append(r.here, true)
		}
	}
	return nil
}

// Close gives the directory back.
func (r *Reader) Close() error { return r.root.Close() }

// Segments tells how many of how many are here.
func (r *Reader) Segments() (here, all int) {
	for _, yes := range r.here {
		if yes {
			here++
		}
	}
	return here, len(r.here)
}

// Has tells whether all of a blob is here, or was put aside when it was.
func (r *Reader) Has(digest string) bool {
	pieces, ok := r.index.Blobs[digest]
	if !ok {
		return false
	}
	start := int64(0)
	for _, p := range pieces {
		if !r.here[p.Segment] && !r.stashed(digest, start, p.Length) {
			return false
		}
		start += p.Length
	}
	return true
}

func (r *Reader) stashPath(digest string, start int64) string {
	return filepath.Join(r.stash, fmt.Sprintf("%s.%d", strings.Replace(digest, ":", "-", 1), start))
}

func (r *Reader) stashed(digest string, start, length int64) bool {
	info, err := os.Stat(r.stashPath(digest, start))
	return err == nil && info.Size() == length
}

// Stash puts pieces aside whose blobs are not complete yet: a blob that lies across the end of a segment, of which only one is here.
func (r *Reader) Stash(ctx context.Context) error {
	for digest, pieces := range r.index.Blobs {
		if len(pieces) < 2 || r.Has(digest) {
			continue
		}
		start := int64(0)
		for _, p := range pieces {
			if r.here[p.Segment] && !r.stashed(digest, start, p.Length) {
				if err := r.stashPiece(ctx, digest, start, p); err != nil {
					return fmt.Errorf("put piece of blob %s aside: %w", digest, err)
				}
			}
			start += p.Length
		}
	}
	return nil
}

func (r *Reader) stashPiece(ctx context.Context, digest string, start int64, p Piece) error {
	if err := os.MkdirAll(r.stash, 0o755); err != nil {
		return err
	}
	file, err := r.root.Open(r.index.Segments[p.Segment].Name)
	if err != nil {
		return err
	}
	defer file.Close()
	part, err := os.CreateTemp(r.stash, ".part.*")
	if err != nil {
		return err
	}
	defer os.Remove(part.Name())
	_, err = io.Copy(part, io.NewSectionReader(file, p.Offset, p.Length))
	err = errors.Join(err, ctx.Err(), part.Sync(), part.Close())
	if err != nil {
		return err
	}
	return os.Rename(part.Name(), r.stashPath(digest, start))
}

// Unstash takes the pieces of blobs away that are at the target now.
func (r *Reader) Unstash(arrived func(digest string) bool) error {
	for digest, pieces := range r.index.Blobs {
		if len(pieces) < 2 || !arrived(digest) {
			continue
		}
		if err := r.forget(digest); err != nil {
			return err
		}
	}
	return nil
}

// Open reads a blob from offset on. From its beginning it ends with remote.ErrDigest where the content is not what the digest promises.
func (r *Reader) Open(_ context.Context, digest string, blob plan.Blob, offset int64) (io.ReadCloser, error) {
	b := &blobReader{digest: digest}
	start := int64(0)
	var readers []io.Reader
	for _, p := range r.index.Blobs[digest] {
		section, err := r.piece(b, digest, start, p)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open blob %s: %w", digest, err), b.Close())
		}
		if skip := max(offset-start, 0); skip < p.Length {
			if _, err := section.Seek(skip, io.SeekStart); err != nil {
				return nil, errors.Join(err, b.Close())
			}
			readers = append(readers, section)
		}
		start += p.Length
	}
	b.Reader = io.MultiReader(readers...)
	if offset == 0 {
		b.hash = remote.NewHash(digest)
	}
	return b, nil
}

func (r *Reader) piece(b *blobReader, digest string, start int64, p Piece) (*io.SectionReader, error) {
	var file *os.File
	var err error
	offset := p.Offset
	if r.here[p.Segment] {
		file, err = r.root.Open(r.index.Segments[p.Segment].Name)
	} else {
		file, err = os.Open(r.stashPath(digest, start))
		offset = 0
	}
	if err != nil {
		return nil, err
	}
	b.files = append(b.files, file)
	return io.NewSectionReader(file, offset, p.Length), nil
}

// blobReader reads pieces one after the other and judges at their end.
type blobReader struct {
	io.Reader
	digest string
	hash   hash.Hash
	files  []*os.File
}

func (b *blobReader) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if b.hash != nil {
		b.hash.Write(p[:n])
		if errors.Is(err, io.EOF) {
			if got := remote.HashDigest(b.hash, b.digest); got != b.digest {
				return n, fmt.Errorf("%w: blob %s: %w: got %s", ErrInvalid, b.digest, remote.ErrDigest, got)
			}
		}
	}
	return n, err
}

func (b *blobReader) Close() error {
	var errs []error
	for _, file := range b.files {
		errs = append(errs, file.Close())
	}
	return errors.Join(errs...)
}
