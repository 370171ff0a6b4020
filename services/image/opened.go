package image

import (
	"context"
	"fmt"
	"io/fs"
	"time"

	"github.com/slipway-io/slipway/services/image/iso"
)

// opened is a boot file while it is read. The handle below it is shared, so closing it ends nothing.
type opened struct {
	*stream
	modified time.Time
}

// Close implements io.Closer.
func (o *opened) Close() error { return nil }

func (o *opened) size() int64 { return o.view.Size() }

func inMemory(data []byte) *opened {
	return &opened{stream: &stream{view: iso.Join(iso.Span{Data: data, Length: int64(len(data))})}}
}

func text(rendered string, err error) (*opened, error) {
	if err != nil {
		return nil, err
	}
	return inMemory([]byte(rendered)), nil
}

// overArtifact opens a view over a file that is verified first.
func overArtifact(ctx context.Context, base *Artifact, view *iso.View) (*opened, error) {
	f, err := base.shared(ctx)
	if err != nil {
		return nil, fmt.Errorf("serve %s: %w", base.Name, err)
	}
	return &opened{&stream{view: view, base: f}, base.modified()}, nil
}

func noFile(name string) error { return fmt.Errorf("boot file %s: %w", name, fs.ErrNotExist) }
