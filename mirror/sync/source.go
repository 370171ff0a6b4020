package sync

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/slipway-io/slipway/mirror/plan"
	"github.com/slipway-io/slipway/mirror/remote"
)

// Registries is content as the plan names it: from the source's repositories, or from the workspace where it was made there.
type Registries struct {
	Client *remote.Client
	// Blobs is the workspace's directory of blobs that were made there, by the hex of their digest.
	Blobs string
}

// Has tells that everything that was planned can be had.
func (r Registries) Has(string) bool { return true }

// Open opens a blob from offset on.
func (r Registries) Open(ctx context.Context, digest string, blob plan.Blob, offset int64) (io.ReadCloser, error) {
	if blob.Local {
		file, err := openLocal(filepath.Join(r.Blobs, strings.TrimPrefix(digest, "sha256:")), offset)
		if err == nil || len(blob.Sources) == 0 {
			return file, err
		}
	}
	err := fmt.Errorf("blob %s has no source in the plan", digest)
	for _, source := range blob.Sources {
		var ref remote.Reference
		if ref, err = remote.ParseSource(source); err != nil {
			return nil, err
		}
		var body io.ReadCloser
		body, err = r.Client.Open(ctx, ref.Repository, remote.Descriptor{Digest: digest, Size: blob.Size}, offset)
		if err == nil || !errors.Is(err, remote.ErrNotFound) {
			return body, err
		}
	}
	return nil, err
}

func openLocal(path string, offset int64) (io.ReadCloser, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}
