package archive

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

const maxSums = 16 << 20

// checkSum holds the index against the checksum file, which people may have left at home.
func (r *Reader) checkSum(index []byte) error {
	raw, err := readFile(r.root, SumsName, maxSums)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	want := fmt.Sprintf("%x  %s", sha256.Sum256(index), IndexName)
	for line := range strings.Lines(string(raw)) {
		if strings.TrimRight(line, "\r\n") == want {
			return nil
		}
	}
	return fmt.Errorf("%w: %s is not the one that %s names; carry both from the same run", ErrInvalid, IndexName, SumsName)
}

// Verify reads every blob of the segments that have something wanted, and compares it with its digest: nothing of an archive is used before
// all that is used has passed. read is told of bytes as they are read; Bytes is their sum.
func (r *Reader) Verify(ctx context.Context, wanted []string, read func(bytes int64)) error {
	buffer := make([]byte, 1<<20)
	for _, digest := range r.beside(wanted) {
		if err := r.verify(ctx, digest, buffer, read); err != nil {
			return err
		}
	}
	return nil
}

// Bytes is what Verify reads for the wanted blobs.
func (r *Reader) Bytes(wanted []string) int64 {
	var total int64
	for _, digest := range r.beside(wanted) {
		total += r.Plan.Blobs[digest].Size
	}
	return total
}

// beside lists the blobs that lie in the same segments as the wanted ones, in the order of their places: sticks and disks are slow at any other.
func (r *Reader) beside(wanted []string) []string {
	touched := map[int]bool{}
	for _, digest := range wanted {
		for _, p := range r.index.Blobs[digest] {
			touched[p.Segment] = touched[p.Segment] || r.here[p.Segment]
		}
	}
	asked := map[string]bool{}
	for _, digest := range wanted {
		asked[digest] = true
	}
	var found []string
	for digest, pieces := range r.index.Blobs {
		if (asked[digest] || slices.ContainsFunc(pieces, func(p Piece) bool { return touched[p.Segment] })) && r.Has(digest) {
			found = append(found, digest)
		}
	}
	slices.SortFunc(found, func(a, b string) int {
		return cmp.Or(r.first(a).compare(r.first(b)), cmp.Compare(a, b))
	})
	return found
}

// first piece of a blob; empty blobs have none.
func (r *Reader) first(digest string) Piece {
	if pieces := r.index.Blobs[digest]; len(pieces) > 0 {
		return pieces[0]
	}
	return Piece{}
}

func (p Piece) compare(other Piece) int {
	return cmp.Or(cmp.Compare(p.Segment, other.Segment), cmp.Compare(p.Offset, other.Offset))
}

func (r *Reader) verify(ctx context.Context, digest string, buffer []byte, read func(int64)) error {
	body, err := r.Open(ctx, digest, r.Plan.Blobs[digest], 0)
	if err != nil {
		return err
	}
	for err == nil {
		var n int
		n, err = body.Read(buffer)
		if n > 0 && read != nil {
			read(int64(n))
		}
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), body.Close())
		}
	}
	closeErr := body.Close()
	if errors.Is(err, io.EOF) {
		return closeErr
	}
	if errors.Is(err, ErrInvalid) {
		err = errors.Join(err, r.forget(digest))
	}
	return fmt.Errorf("verify %s: %w", strings.Join(r.segmentsOf(digest), ", "), err)
}

// segmentsOf names where a blob is.
func (r *Reader) segmentsOf(digest string) []string {
	var names []string
	for _, p := range r.index.Blobs[digest] {
		names = append(names, r.index.Segments[p.Segment].Name)
	}
	return slices.Compact(names)
}

// forget takes pieces away that were put aside from a damaged segment: a good copy of it brings them again.
func (r *Reader) forget(digest string) error {
	start := int64(0)
	for _, p := range r.index.Blobs[digest] {
		if err := os.Remove(r.stashPath(digest, start)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove piece of blob %s: %w", digest, err)
		}
		start += p.Length
	}
	return nil
}
