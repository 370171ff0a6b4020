package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	"github.com/openshift/assisted-service/api/v1beta1"
)

// overlaysKept bounds the memory: an overlay is some 10 KB.
const overlaysKept = 256

// overlay is what an InfraEnv generation adds to the base initrd. It never changes.
type overlay struct {
	uid        string
	generation int64
	config     []byte // config.ign
	archive    []byte // cpio with it
	sum        string // identifies the archive
	rendered   time.Time
}

// overlays renders each generation of each InfraEnv once.
type overlays struct {
	render func(context.Context, *v1beta1.InfraEnv) ([]byte, error)

	mu    sync.Mutex
	byUID map[string]*overlay
	order []string // UIDs, the one that was rendered first in front
}

func newOverlays(render func(context.Context, *v1beta1.InfraEnv) ([]byte, error)) *overlays {
	return &overlays{render: render, byUID: map[string]*overlay{}}
}

// of gives the overlay of the InfraEnv as it is now.
func (o *overlays) of(ctx context.Context, infraEnv *v1beta1.InfraEnv) (*overlay, error) {
	uid := string(infraEnv.UID)
	// Rendering takes about a millisecond; that others wait for it is what makes it happen once.
	o.mu.Lock()
	defer o.mu.Unlock()
	known, ok := o.byUID[uid]
	if ok && known.generation == infraEnv.Generation {
		return known, nil
	}
	config, err := o.render(ctx, infraEnv)
	if err != nil {
		return nil, fmt.Errorf("render InfraEnv %s/%s: %w", infraEnv.Namespace, infraEnv.Name, err)
	}
	made := &overlay{
		uid: uid, generation: infraEnv.Generation, config: config,
		archive: archive(configFile, config), rendered: time.Now().Truncate(time.Second),
	}
	sum := sha256.Sum256(made.archive)
	made.sum = hex.EncodeToString(sum[:])
	if !ok {
		o.order = append(o.order, uid)
		if len(o.order) > overlaysKept {
			delete(o.byUID, o.order[0])
			o.order = o.order[1:]
		}
	}
	o.byUID[uid] = made
	return made, nil
}

// etag is strong: the same tag means the same bytes.
func (o *overlay) etag(base *Artifact) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %s %d", base.SHA256, o.sum, o.uid, o.generation))
	return `"` + hex.EncodeToString(sum[:16]) + `"`
}
