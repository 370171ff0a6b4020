package plan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/slipway-io/slipway/mirror/remote"
)

// tagList is a repository's tags, fetched once.
type tagList struct {
	tags []string
	err  error
}

// attachments of an image: cosign's tags sha256-….sig, .att and .sbom, and what refers to it (OCI referrers). Absence is no error.
func (b *builder) attachments(ctx context.Context, repo remote.Repository, image *Image) ([]Image, error) {
	if b.WithoutAttachments {
		return nil, nil
	}
	if known, ok := b.previous[image.Origin]; ok && !b.Look && known.Digest == image.Digest && b.Now().Sub(known.Looked) < lookAgain {
		image.Looked = known.Looked
		return b.again(ctx, repo, image)
	}
	image.Looked = b.Now().UTC().Truncate(1e9)
	var found []Image
	names, err := b.tagsOf(ctx, repo)
	if err != nil && !deniesListing(err) {
		return nil, err
	}
	for _, subject := range image.Manifests {
		tagged, err := b.taggedAttachments(ctx, repo, image, subject, names)
		if err != nil {
			return nil, err
		}
		referring, err := b.referrers(ctx, repo, image, subject)
		if err != nil {
			return nil, err
		}
		found = append(append(found, tagged...), referring...)
	}
	return found, nil
}

// deniesListing: an account may pull a repository without the right to list it.
func deniesListing(err error) bool {
	var status *remote.StatusError
	return errors.As(err, &status) && status.Status >= 400 && status.Status < 500
}

// again takes the attachments over that the previous plan found.
func (b *builder) again(ctx context.Context, repo remote.Repository, image *Image) ([]Image, error) {
	var found []Image
	for _, subject := range image.Manifests {
		for _, known := range b.attached[subject] {
			if known.Source != repo.String() || known.Repository != image.Repository {
				continue
			}
			attached, err := b.attach(ctx, repo, image, subject, known.Tag, known.Digest)
			if err != nil {
				return nil, err
			}
			found = append(found, attached)
		}
	}
	return found, nil
}

func (b *builder) tagsOf(ctx context.Context, repo remote.Repository) ([]string, error) {
	b.mu.Lock()
	once := b.tags[repo.String()]
	if once == nil {
		once = sync.OnceValue(func() tagList {
			tags, err := b.source.Tags(ctx, repo)
			return tagList{tags, err}
		})
		b.tags[repo.String()] = once
	}
	b.mu.Unlock()
	list := once()
	return list.tags, list.err
}

func (b *builder) taggedAttachments(ctx context.Context, repo remote.Repository, image *Image, subject string, names []string) ([]Image, error) {
	var found []Image
	base := digestTag(subject)
	for _, suffix := range []string{".sig", ".att", ".sbom"} {
		if !slices.Contains(names, base+suffix) {
			continue
		}
		m, err := b.source.Manifest(ctx, repo, base+suffix)
		if err != nil {
			return nil, err
		}
		b.keep(m)
		attached, err := b.attach(ctx, repo, image, subject, base+suffix, m.Digest)
		if err != nil {
			return nil, err
		}
		found = append(found, attached)
	}
	return found, nil
}

// referrers by the API, or by the index with the tag that stands in for it (distribution-spec 1.1, "referrers tag schema").
func (b *builder) referrers(ctx context.Context, repo remote.Repository, image *Image, subject string) ([]Image, error) {
	b.mu.Lock()
	silent := b.silent[repo.Host]
	b.mu.Unlock()
	var descriptors []remote.Descriptor
	if !silent {
		var supported bool
		var err error
		if descriptors, supported, err = b.source.Referrers(ctx, repo, subject); err != nil {
			return nil, err
		}
		if silent = !supported; silent {
			b.mu.Lock()
			b.silent[repo.Host] = true
			b.mu.Unlock()
		}
	}
	if silent {
		var err error
		if descriptors, err = b.fallbackReferrers(ctx, repo, subject); err != nil {
			return nil, err
		}
	}
	var found []Image
	for _, descriptor := range descriptors {
		if !remote.ValidDigest(descriptor.Digest) || slices.Contains(image.Manifests, descriptor.Digest) {
			continue
		}
		attached, err := b.attach(ctx, repo, image, subject, "", descriptor.Digest)
		if errors.Is(err, remote.ErrNotFound) {
			b.Log.Warn("referrer is listed but not there", "image", image.Origin, "digest", descriptor.Digest)
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, attached)
	}
	return found, nil
}

func (b *builder) fallbackReferrers(ctx context.Context, repo remote.Repository, subject string) ([]remote.Descriptor, error) {
	names, err := b.tagsOf(ctx, repo)
	if err != nil || !slices.Contains(names, digestTag(subject)) {
		return nil, nil // a listing that is denied was reported where it matters
	}
	m, err := b.source.Manifest(ctx, repo, digestTag(subject))
	if err != nil {
		return nil, err
	}
	c, err := parse(Manifest{MediaType: m.MediaType, Data: m.Data})
	if err != nil || !strings.Contains(m.MediaType, "index") {
		return nil, err
	}
	return c.Manifests, nil
}

// attach plans one artifact beside its image.
func (b *builder) attach(ctx context.Context, repo remote.Repository, image *Image, subject, tag, digest string) (Image, error) {
	attached := Image{Origin: repo.String() + "@" + digest, Category: image.Category, Owner: image.Owner, Source: repo.String(),
		Repository: image.Repository, Tag: tag, Subject: subject}
	it := item{ref: remote.Reference{Repository: repo, Digest: digest}}
	if err := b.walk(ctx, it, &attached, digest, 0); err != nil {
		return Image{}, err
	}
	attached.Digest = digest
	return attached, nil
}

// ArtifactDescriptor is how a list of referrers names an artifact (distribution-spec 1.1).
func ArtifactDescriptor(digest string, m Manifest) (remote.Descriptor, error) {
	var artifact struct {
		ArtifactType string             `json:"artifactType"`
		Annotations  map[string]string  `json:"annotations"`
		Config       *remote.Descriptor `json:"config"`
	}
	if err := json.Unmarshal(m.Data, &artifact); err != nil {
		return remote.Descriptor{}, fmt.Errorf("%w: manifest %s: %w", ErrInvalid, digest, err)
	}
	d := remote.Descriptor{MediaType: m.MediaType, Digest: digest, Size: int64(len(m.Data)), ArtifactType: artifact.ArtifactType, Annotations: artifact.Annotations}
	if d.ArtifactType == "" && artifact.Config != nil {
		d.ArtifactType = artifact.Config.MediaType
	}
	return d, nil
}
