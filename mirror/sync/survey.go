package sync

import (
	"context"
	"errors"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-io/slipway/mirror/plan"
	"github.com/slipway-io/slipway/mirror/remote"
)

// survey asks the target what it has, with one small request for each tag at most.
func (r *run) survey(ctx context.Context) error {
	var known []string
	listed := false
	if r.State.empty() {
		// The first run: a registry that tells its repositories saves asking for each.
		known, listed = r.Target.Repositories(ctx, r.Host)
	}
	var group errgroup.Group
	group.SetLimit(r.Workers)
	for _, j := range r.jobs {
		if listed && !slices.Contains(known, j.path) {
			continue
		}
		group.Go(func() error { return r.look(ctx, j) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return r.verify(ctx)
}

// verify asks for the blobs that the state file alone vouches for: the target may have cleaned up, or be another one, and some
// registries take manifests whose blobs are missing. And for those that the source does not have: a run with another disk may have brought them.
func (r *run) verify(ctx context.Context) error {
	doubtful := map[need]bool{}
	for _, j := range r.jobs {
		if j.status != "" {
			continue
		}
		blobs, err := r.Plan.BlobsOf(j.image)
		if err != nil {
			return err
		}
		for _, digest := range blobs {
			if n := (need{j.path, digest}); !r.confirmed[n] && (r.State.has(j.path, digest) || !r.Source.Has(digest)) {
				doubtful[n] = true
			}
		}
	}
	var group errgroup.Group
	group.SetLimit(r.Workers)
	for n := range doubtful {
		group.Go(func() error {
			there, err := r.Target.Has(ctx, r.target(n.repository), n.blob)
			if err == nil && there {
				return r.confirm(n.repository, []string{n.blob})
			}
			if err != nil && ctx.Err() == nil {
				r.Log.Warn("target can't be asked for a blob", "repository", n.repository, "err", err)
			}
			r.State.drop(n.repository, n.blob)
			return ctx.Err()
		})
	}
	return group.Wait()
}

// confirm notes blobs that the target vouches for.
func (r *run) confirm(path string, blobs []string) error {
	var entries []entry
	r.mu.Lock()
	for _, digest := range blobs {
		r.confirmed[need{path, digest}] = true
	}
	r.mu.Unlock()
	for _, digest := range blobs {
		if !r.State.has(path, digest) {
			entries = append(entries, entry{Repository: path, Blob: digest})
		}
	}
	if len(entries) == 0 {
		return nil
	}
	return r.State.note(entries...)
}

// look finds out whether an image is at the target already. Only the end of ctx is an error: a target that doesn't answer fails the image later.
func (r *run) look(ctx context.Context, j *job) error {
	repo := r.target(j.path)
	identifier := j.image.Tag
	if identifier == "" {
		identifier = j.image.Digest
	}
	digest, err := r.Target.Resolve(ctx, repo, identifier)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, remote.ErrNotFound):
		return nil
	case err != nil:
		r.end(ctx, j, err)
		return nil
	case digest == j.image.Digest:
		return r.present(j)
	}
	return r.learn(ctx, j, digest)
}

// present notes that all of an image is there: a registry takes a manifest only when its content has arrived.
func (r *run) present(j *job) error {
	blobs, err := r.Plan.BlobsOf(j.image)
	if err != nil {
		return err
	}
	if err := r.confirm(j.path, blobs); err != nil {
		return err
	}
	r.mu.Lock()
	j.status = Present
	r.mu.Unlock()
	r.Progress.images.Add(1)
	return r.State.note(entry{Repository: j.path, Manifest: j.image.Digest, Tag: j.image.Tag})
}

// learn reads the manifest that an image replaces: most of its blobs are likely the same.
func (r *run) learn(ctx context.Context, j *job, digest string) error {
	blobs, err := r.Plan.BlobsOf(j.image)
	if err != nil {
		return err
	}
	old := plan.New()
	m, err := r.Target.Manifest(ctx, r.target(j.path), digest)
	if err != nil {
		return ctx.Err()
	}
	old.Manifests[digest] = plan.Manifest{MediaType: m.MediaType, Data: m.Data}
	there, err := old.BlobsOf(plan.Image{Manifests: []string{digest}})
	if err != nil {
		return nil // the target's old content is none of our business
	}
	return r.confirm(j.path, slices.DeleteFunc(there, func(blob string) bool { return !slices.Contains(blobs, blob) }))
}
