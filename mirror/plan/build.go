package plan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-io/slipway/mirror/helm"
	"github.com/slipway-io/slipway/mirror/imageset"
	"github.com/slipway-io/slipway/mirror/remote"
)

// lookAgain is how old the answer about signatures of an unchanged image may be.
const lookAgain = 24 * time.Hour

// Options of planning.
type Options struct {
	Placing
	// Previous plan of the same image set: what has not changed is taken from it. May be nil.
	Previous *Plan
	// Rewrite makes indexes name only the chosen platforms, which changes their digests; otherwise they stay as they are (sparse).
	Rewrite bool
	// WithoutAttachments leaves signatures and referrers behind.
	WithoutAttachments bool
	// Look asks for signatures and referrers again, however fresh the answers in Previous are.
	Look bool
	// Parallel images; 0 means 8.
	Parallel int
	Now      func() time.Time
	Log      *slog.Logger
	Release  ReleaseOptions
	// At is the target, host and namespace, when a set says what to delete: content is looked up there, and no source is asked.
	At remote.Repository
	// Blobs is the workspace's directory for blobs that are made here, and for what is known of catalogs.
	Blobs string
	// Charts is where charts are kept and got from.
	Charts helm.Reader
}

// item is an image that is wanted.
type item struct {
	origin     string
	category   Category
	owner      string
	ref        remote.Reference
	repository string
	tag        string
	platforms  []imageset.Instance
	role       Role
	needs      []string
	built      string // digest of what was made here of it
	template   string
}

// builder makes one plan.
type builder struct {
	Options
	source *remote.Client
	set    *imageset.Set

	mu       sync.Mutex
	plan     *Plan
	previous map[string]Image          // by origin
	attached map[string][]Image        // of the previous plan, by subject
	tags     map[string]func() tagList // by repository
	silent   map[string]bool           // hosts without a referrers API
	local    map[string]bool           // blobs in the workspace
}

// Build plans an image set. Images that can't be resolved are in the plan's failures; an error means that there is no plan.
func Build(ctx context.Context, set *imageset.Set, source *remote.Client, o Options) (*Plan, error) {
	if o.Parallel <= 0 {
		o.Parallel = 8
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	b := &builder{Options: o, source: source, set: set, plan: New(), previous: map[string]Image{}, attached: map[string][]Image{},
		tags: map[string]func() tagList{}, silent: map[string]bool{}, local: map[string]bool{}}
	b.remember()
	if err := b.build(ctx); err != nil {
		return nil, err
	}
	return b.plan, nil
}

// remember sorts the previous plan by what is asked of it.
func (b *builder) remember() {
	if b.Previous == nil {
		return
	}
	for _, image := range b.Previous.Images {
		if image.Subject != "" {
			b.attached[image.Subject] = append(b.attached[image.Subject], image)
		} else {
			b.previous[image.Origin] = image
		}
	}
}

func (b *builder) build(ctx context.Context) error {
	items, err := b.additional()
	if err != nil {
		return err
	}
	for _, more := range []func(context.Context) ([]item, error){b.releases, b.operators, b.charts} {
		found, err := more(ctx)
		if err != nil {
			return err
		}
		items = append(items, found...)
	}
	if err := b.resolveAll(ctx, items); err != nil {
		return err
	}
	b.settle()
	return b.plan.Check()
}

// additional images, each where its path is in the source unless the set says where.
func (b *builder) additional() ([]item, error) {
	var items []item
	for i, image := range b.set.AdditionalImages {
		ref, err := remote.ParseSource(image.Name)
		if err != nil {
			return nil, fmt.Errorf("%w: %s.additionalImages[%d].name: %w", imageset.ErrInvalid, b.root(), i, err)
		}
		it := item{origin: image.Name, category: Additional, ref: ref, platforms: image.Platforms}
		it.repository, it.tag = b.path(ref.Repository), targetTag(ref)
		if image.TargetRepo != "" {
			it.repository = b.fold(image.TargetRepo)
		}
		if image.TargetTag != "" {
			it.tag = image.TargetTag
		}
		b.relocate(&it)
		items = append(items, it)
	}
	return items, nil
}

// relocate makes an image that is to be deleted be looked up where it is mirrored.
func (b *builder) relocate(it *item) {
	if b.At.Host != "" {
		it.ref.Repository = remote.Repository{Host: b.At.Host, Path: strings.TrimPrefix(b.At.Path+"/"+it.repository, "/")}
		if it.ref.Digest == "" {
			it.ref.Tag = it.tag
		}
	}
}

func (b *builder) root() string {
	if b.set.Delete {
		return "delete"
	}
	return "mirror"
}

// resolveAll resolves items side by side. Only the end of ctx is an error.
func (b *builder) resolveAll(ctx context.Context, items []item) error {
	var group errgroup.Group
	group.SetLimit(b.Parallel)
	for _, it := range items {
		if b.set.Blocks(it.origin, it.repository+":"+it.tag) {
			b.Log.Info("image is blocked", "image", it.origin)
			continue
		}
		group.Go(func() error {
			if err := b.resolve(ctx, it); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if b.At.Host != "" && errors.Is(err, remote.ErrNotFound) {
					b.Log.Info("image is not at the target", "image", it.origin)
				} else {
					b.fail(it, err)
				}
			}
			return nil
		})
	}
	return group.Wait()
}

func (b *builder) fail(it item, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.plan.Failures = append(b.plan.Failures, Failure{Origin: it.origin, Category: it.category, Owner: it.owner, Error: err.Error(), Cause: remote.Blame(err)})
}

// resolve plans one image with all that belongs to it.
func (b *builder) resolve(ctx context.Context, it item) error {
	digest, err := b.digest(ctx, it)
	if err != nil {
		return err
	}
	if it.built != "" && it.built != digest {
		digest, it.platforms = it.built, nil
	}
	image := Image{Origin: it.origin, Category: it.category, Owner: it.owner, Source: it.ref.Repository.String(),
		Repository: it.repository, Tag: it.tag, Role: it.role, Needs: it.needs, Template: it.template}
	if err := b.walk(ctx, it, &image, digest, 0); err != nil {
		return err
	}
	image.Digest = image.Manifests[len(image.Manifests)-1]
	if image.Tag == "" {
		image.Tag = digestTag(image.Digest)
	}
	var attached []Image
	if it.built == "" || it.built == it.ref.Digest { // nobody has signed what was made here
		if attached, err = b.attachments(ctx, it.ref.Repository, &image); err != nil {
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.plan.Images = append(append(b.plan.Images, image), attached...)
	return nil
}

// digest of an item. Where the previous plan knows the image, a request without a body may do.
func (b *builder) digest(ctx context.Context, it item) (string, error) {
	if it.ref.Digest != "" {
		return it.ref.Digest, nil
	}
	if _, known := b.previous[it.origin]; known {
		return b.source.Resolve(ctx, it.ref.Repository, it.ref.Tag)
	}
	m, err := b.source.Manifest(ctx, it.ref.Repository, it.ref.Tag)
	if err != nil {
		return "", err
	}
	b.keep(m)
	return m.Digest, nil
}

func (b *builder) keep(m remote.Manifest) Manifest {
	b.mu.Lock()
	defer b.mu.Unlock()
	kept := Manifest{MediaType: m.MediaType, Data: m.Data}
	b.plan.Manifests[m.Digest] = kept
	return kept
}

// manifest by digest: from this plan, from the previous one, or from the source.
func (b *builder) manifest(ctx context.Context, repo remote.Repository, digest string) (Manifest, error) {
	b.mu.Lock()
	m, ok := b.plan.Manifests[digest]
	if !ok && b.Previous != nil {
		if m, ok = b.Previous.Manifests[digest]; ok {
			b.plan.Manifests[digest] = m
		}
	}
	b.mu.Unlock()
	if ok {
		return m, nil
	}
	fetched, err := b.source.Manifest(ctx, repo, digest)
	if err != nil {
		return Manifest{}, err
	}
	return b.keep(fetched), nil
}

// walk adds a manifest and all below it to an image, children first.
func (b *builder) walk(ctx context.Context, it item, image *Image, digest string, depth int) error {
	if depth > 3 {
		return fmt.Errorf("%w: indexes within indexes, more than three deep", ErrInvalid)
	}
	m, err := b.manifest(ctx, it.ref.Repository, digest)
	if err != nil {
		return err
	}
	c, err := parse(m)
	if err != nil {
		return err
	}
	if m.MediaType == "application/vnd.docker.distribution.manifest.v1+prettyjws" || m.MediaType == "application/vnd.docker.distribution.manifest.v1+json" {
		return errors.New("it is of Docker's schema 1, which registries no longer take; push it again with a current tool")
	}
	children := c.Manifests
	if len(it.platforms) > 0 && len(c.Manifests) > 0 {
		children = choose(c.Manifests, it.platforms)
		if len(children) == 0 {
			return fmt.Errorf("it has none of the wanted platforms, only %s", platformNames(c.Manifests))
		}
	}
	for _, child := range children {
		if err := b.walk(ctx, it, image, child.Digest, depth+1); err != nil {
			return err
		}
	}
	if len(children) < len(c.Manifests) {
		for _, child := range children {
			image.Platforms = append(image.Platforms, platformName(child.Platform))
		}
		if b.Rewrite {
			if digest, err = b.rewrite(m, children); err != nil {
				return err
			}
			image.Rewritten = true
		}
	}
	b.addBlobs(it.ref.Repository, c)
	if !slices.Contains(image.Manifests, digest) {
		image.Manifests = append(image.Manifests, digest)
	}
	return nil
}

func (b *builder) addBlobs(repo remote.Repository, c content) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range c.blobs() {
		blob := b.plan.Blobs[d.Digest]
		blob.Size = d.Size
		blob.Local = blob.Local || b.local[d.Digest]
		if source := repo.String(); !slices.Contains(blob.Sources, source) {
			blob.Sources = append(blob.Sources, source)
		}
		b.plan.Blobs[d.Digest] = blob
	}
}
