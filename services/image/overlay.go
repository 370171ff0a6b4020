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

	"github.com/slipway-io/slipway/services/api"
)

// overlaysKept bounds the memory: an overlay is some 10 KB.
const overlaysKept = 256

// overlay is what an InfraEnv generation adds to the base initrd, for hosts that reach the appliance at one address.
// It never changes; the ISOs in it are rendered when they are asked for.
type overlay struct {
	overlayKey
	generation int64
	image      string // the mark that the InfraEnv's controller left
	config     []byte // config.ign
	archive    []byte // cpio with it
	network    []byte // cpio with static networking, nil when there is none
	sum        string // identifies both archives
	rendered   time.Time

	mu   sync.Mutex
	isos map[isoKey]*discovery
}

type overlayKey struct {
	uid string
	// address of the appliance that the host is told.
	address netip.Addr
}

// overlays renders each generation of each InfraEnv once per address of the appliance.
type overlays struct {
	render  func(context.Context, *v1beta1.InfraEnv, netip.Addr) ([]byte, error)
	network func(context.Context, *v1beta1.InfraEnv) ([]byte, error) // may be nil

	mu    sync.Mutex
	byKey map[overlayKey]*overlay
	order []overlayKey // the one that was rendered first in front
}

func newOverlays(config Config) *overlays {
	return &overlays{render: config.Discovery, network: config.Network, byKey: map[overlayKey]*overlay{}}
}

// of gives the overlay of the InfraEnv as it is now, for a host that reaches the appliance at the address.
func (o *overlays) of(ctx context.Context, infraEnv *v1beta1.InfraEnv, address netip.Addr) (*overlay, error) {
	key := overlayKey{string(infraEnv.UID), address}
	// Rendering takes about a millisecond; that others wait for it is what makes it happen once.
	o.mu.Lock()
	defer o.mu.Unlock()
	known, ok := o.byKey[key]
	mark := infraEnv.Annotations[api.ImageAnnotation]
	if ok && known.generation == infraEnv.Generation && known.image == mark {
		return known, nil
	}
	made := &overlay{overlayKey: key, generation: infraEnv.Generation, image: mark, rendered: time.Now().Truncate(time.Second)}
	if err := o.fill(ctx, made, infraEnv); err != nil {
		return nil, fmt.Errorf("render InfraEnv %s/%s: %w", infraEnv.Namespace, infraEnv.Name, err)
	}
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

func (o *overlays) fill(ctx context.Context, made *overlay, infraEnv *v1beta1.InfraEnv) (err error) {
	if made.config, err = o.render(ctx, infraEnv, made.address); err != nil {
		return err
	}
	made.archive = archive(configFile, made.config)
	if o.network != nil {
		if made.network, err = o.network(ctx, infraEnv); err != nil {
			return fmt.Errorf("static networking: %w", err)
		}
	}
	sum := sha256.New()
	sum.Write(made.archive)
	sum.Write(made.network)
	made.sum = hex.EncodeToString(sum.Sum(nil))
	return nil
}

// etag is strong: the same tag means the same bytes.
func (o *overlay) etag(base *Artifact) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %s %s %d", base.identity(), o.sum, o.uid, o.address, o.generation))
	return `"` + hex.EncodeToString(sum[:16]) + `"`
}
