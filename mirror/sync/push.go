package sync

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/slipway-io/slipway/mirror/plan"
	"github.com/slipway-io/slipway/mirror/remote"
)

// finish pushes an image's manifests, its own with the tag last.
func (r *run) finish(ctx context.Context, j *job) {
	err := r.push(ctx, j)
	if err != nil && ctx.Err() != nil {
		return // interrupted, not failed
	}
	var status *remote.StatusError
	if errors.As(err, &status) && (status.Code == "MANIFEST_BLOB_UNKNOWN" || status.Code == "BLOB_UNKNOWN" || status.Status == http.StatusNotFound) {
		err = r.repair(ctx, j, err)
	}
	r.end(ctx, j, err)
}

func (r *run) push(ctx context.Context, j *job) error {
	for _, digest := range j.image.Manifests {
		tag := ""
		if digest == j.image.Digest {
			tag = j.image.Tag
		}
		m := r.Plan.Manifests[digest]
		listed, err := r.Target.PutManifest(ctx, r.target(j.path), tag, remote.Manifest{MediaType: m.MediaType, Digest: digest, Data: m.Data})
		if err != nil {
			return sparse(j.image, err)
		}
		if err := r.State.note(entry{Repository: j.path, Manifest: digest, Tag: tag}); err != nil {
			return err
		}
		if digest == j.image.Digest && j.image.Subject != "" && tag == "" && !listed {
			r.mu.Lock()
			j.unlisted = true
			r.mu.Unlock()
		}
	}
	return nil
}

// sparse explains a refusal that comes from the choice of platforms.
func sparse(image plan.Image, err error) error {
	if len(image.Platforms) > 0 && !image.Rewritten {
		return fmt.Errorf("%w; the index names platforms that were not chosen, and this registry may want all of them: use --platform-index=rewritten", err)
	}
	return err
}

// repair asks the target for each blob of an image, moves those that it turns out to lack, and pushes again.
func (r *run) repair(ctx context.Context, j *job, reason error) error {
	r.Log.Warn("target lacks content that it had; it is brought again", "image", j.image.Origin, "err", reason)
	r.State.forget(j.path)
	blobs, err := r.Plan.BlobsOf(j.image)
	if err != nil {
		return err
	}
	for _, digest := range blobs {
		there, err := r.Target.Has(ctx, r.target(j.path), digest)
		if err != nil {
			return err
		}
		if there {
			err = r.State.note(entry{Repository: j.path, Blob: digest})
		} else {
			err = r.bring(ctx, &task{digest: digest, size: r.Plan.Blobs[digest].Size}, j.path)
		}
		if err != nil {
			return err
		}
	}
	return r.push(ctx, j)
}

// fallbacks writes the tag that lists referrers at registries without a referrers API (distribution-spec 1.1, "referrers tag schema").
func (r *run) fallbacks(ctx context.Context) error {
	bySubject := map[need][]*job{}
	for _, j := range r.jobs {
		if j.unlisted && j.status == Copied {
			n := need{j.path, j.image.Subject}
			bySubject[n] = append(bySubject[n], j)
		}
	}
	for n, jobs := range bySubject {
		if err := r.fallback(ctx, n, jobs); err != nil {
			return fmt.Errorf("list referrers of %s in %s: %w", n.blob, n.repository, err)
		}
	}
	return nil
}

func (r *run) fallback(ctx context.Context, n need, jobs []*job) error {
	tag := strings.Replace(n.blob, ":", "-", 1)
	listed := map[string]remote.Descriptor{}
	old, err := r.Target.Manifest(ctx, r.target(n.repository), tag)
	if err != nil && !errors.Is(err, remote.ErrNotFound) {
		return err
	}
	if err == nil && old.MediaType == remote.OCIIndex {
		var index struct {
			Manifests []remote.Descriptor `json:"manifests"`
		}
		if err := json.Unmarshal(old.Data, &index); err != nil {
			return err
		}
		for _, d := range index.Manifests {
			listed[d.Digest] = d
		}
	} else if err == nil {
		return fmt.Errorf("tag %s is an image's", tag)
	}
	for _, j := range jobs {
		d, err := plan.ArtifactDescriptor(j.image.Digest, r.Plan.Manifests[j.image.Digest])
		if err != nil {
			return err
		}
		listed[d.Digest] = d
	}
	var sorted []remote.Descriptor
	for _, digest := range slices.Sorted(maps.Keys(listed)) {
		sorted = append(sorted, listed[digest])
	}
	data, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": remote.OCIIndex, "manifests": sorted})
	if err != nil {
		return err
	}
	_, err = r.Target.PutManifest(ctx, r.target(n.repository), tag, remote.Manifest{MediaType: remote.OCIIndex, Digest: remote.Digest(data), Data: data})
	return err
}
