package release

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// turn is one unpacking that others wait for.
type turn struct {
	done chan struct{}
	err  error
}

// Unpack returns the directory with an image's files, unpacking them when they are not there yet.
// The reference must name the image by digest. A directory that is there is whole.
func (s *Store) Unpack(ctx context.Context, ref string) (string, error) {
	digest, err := parseDigest(ref)
	if err != nil {
		return "", fmt.Errorf("unpack image: %w", err)
	}
	hash := strings.TrimPrefix(digest.DigestStr(), "sha256:")
	dir := filepath.Join(s.dir, hash)
	for {
		if _, err := os.Stat(dir); err == nil {
			return dir, nil
		}
		mine, other := s.take(hash)
		if other == nil {
			mine.err = s.unpack(ctx, ref, dir)
			s.release(hash, mine)
			if mine.err != nil {
				return "", fmt.Errorf("unpack image %s: %w", ref, mine.err)
			}
			return dir, nil
		}
		select {
		case <-other.done:
		case <-ctx.Done():
			return "", fmt.Errorf("unpack image %s: %w", ref, ctx.Err())
		}
		// The other's cancellation is not ours; every other error would come again.
		if other.err != nil && !errors.Is(other.err, context.Canceled) && !errors.Is(other.err, context.DeadlineExceeded) {
			return "", fmt.Errorf("unpack image %s: %w", ref, other.err)
		}
	}
}

func (s *Store) take(hash string) (mine, other *turn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if other = s.pending[hash]; other != nil {
		return nil, other
	}
	mine = &turn{done: make(chan struct{})}
	s.pending[hash] = mine
	return mine, nil
}

func (s *Store) release(hash string, mine *turn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pending, hash)
	close(mine.done)
}

// unpack makes the directory beside its place, so that it appears whole and on disk.
func (s *Store) unpack(ctx context.Context, ref, dir string) error {
	start := time.Now()
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("create content folder: %w", err)
	}
	places, err := s.places(ctx, "", ref)
	if err != nil {
		return err
	}
	manifest, _, _, err := s.first(places)
	if err != nil {
		return err
	}
	work := filepath.Join(s.dir, ".unpack-"+filepath.Base(dir))
	if err := os.RemoveAll(work); err != nil { // of an appliance that was killed while it unpacked
		return fmt.Errorf("clear work folder: %w", err)
	}
	if err := os.Mkdir(work, 0o700); err != nil {
		return fmt.Errorf("create work folder: %w", err)
	}
	defer os.RemoveAll(work)
	if err := s.extract(ctx, manifest.Layers, work); err != nil {
		return err
	}
	if err := os.Chmod(work, 0o755); err != nil {
		return fmt.Errorf("open content: %w", err)
	}
	if err := syncFolders(work); err != nil {
		return err
	}
	if err := os.Rename(work, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("name content: %w", err)
	}
	if err := syncFolder(s.dir); err != nil {
		return err
	}
	s.log.Info("image unpacked", "image", ref, "dir", dir, "duration", time.Since(start))
	return nil
}

func (s *Store) extract(ctx context.Context, layers []v1.Descriptor, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open work folder: %w", err)
	}
	defer root.Close()
	for _, layer := range layers {
		x := extractor{root: root, written: map[string]bool{}}
		err := s.readLayer(ctx, layer, func(header *tar.Header, content io.Reader) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return x.entry(header, content)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// syncFolders makes the names durable; the files' content was synced as it was written.
func syncFolders(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return fmt.Errorf("sync %s: %w", path, err)
		}
		if !entry.IsDir() {
			return nil
		}
		return syncFolder(path)
	})
}

func syncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}
