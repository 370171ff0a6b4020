package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/openshift/assisted-service/api/v1beta1"
)

// overlaysKept bounds the memory: an overlay is some 10 KB.
const overlaysKept = 256

// overlay is what an InfraEnv generation adds to the base initrd, for hosts that reach the appliance at one address.
// It never changes.
type overlay struct {
	overlayKey
	generation int64
	config     []byte // config.ign
	archive    []byte // cpio with it
	sum        string // identifies the archive
	rendered   time.Time
}

type overlayKey struct {
	uid string
	// address of the appliance that the host is told.
	address netip.Addr
}

// overlays renders each generation of each InfraEnv once per address of the appliance.
type overlays struct {
	render func(context.Context, *v1beta1.InfraEnv, netip.Addr) ([]byte, error)

	mu    sync.Mutex
	byKey map[overlayKey]*overlay
	order []overlayKey // the one that was rendered first in front
}

func newOverlays(render func(context.Context, *v1beta1.InfraEnv, netip.Addr) ([]byte, error)) *overlays {
	return &overlays{render: render, byKey: map[overlayKey]*overlay{}}
}

// of gives the overlay of the InfraEnv as it is now, for a host that reaches the appliance at the address.
func (o *overlays) of(ctx context.Context, infraEnv *v1beta1.InfraEnv, address netip.Addr) (*overlay, error) {
	key := overlayKey{string(infraEnv.UID), address}
	// Rendering takes about a millisecond; that others wait for it is what makes it happen once.
	o.mu.Lock()
	defer o.mu.Unlock()
	known, ok := o.byKey[key]
	if ok && known.generation == infraEnv.Generation {
		return known, nil
	}
	config, err := o.render(ctx, infraEnv, address)
	if err != nil {
		return nil, fmt.Errorf("render InfraEnv %s/%s: %w", infraEnv.Namespace, infraEnv.Name, err)
	}
	made := &overlay{
		overlayKey: key, generation: infraEnv.Generation, config: config,
		archive: archive(configFile, config), rendered: time.Now().Truncate(time.Second),
	}
	sum := sha256.Sum256(made.archive)
	made.sum = hex.EncodeToString(sum[:])
	if !ok {
		o.order = append(o.order, key)
		if len(o.order) > overlaysKept {
			delete(o.byKey, o.order[0])
			o.order = o.order[1:]
		}
	}
	o.byKey[key] = made
	return made, nil
}

// etag is strong: the same tag means the same bytes.
func (o *overlay) etag(base *Artifact) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %s %s %d", base.SHA256, o.sum, o.uid, o.address, o.generation))
	return `"` + hex.EncodeToString(sum[:16]) + `"`
}
