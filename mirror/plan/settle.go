package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// settle puts a plan in order: no place is promised twice, nothing is in it that no image needs, and the same set makes the same file.
func (b *builder) settle() {
	p := b.plan
	slices.SortStableFunc(p.Images, func(a, c Image) int {
		return cmp.Or(cmp.Compare(a.Category, c.Category), cmp.Compare(a.Repository, c.Repository), cmp.Compare(a.Tag, c.Tag),
			cmp.Compare(a.Digest, c.Digest), cmp.Compare(a.Origin, c.Origin))
	})
	places := map[string]Image{}
	kept := p.Images[:0]
	for _, image := range p.Images {
		place := image.Repository + ":" + image.Tag
		if image.Tag == "" {
			place = image.Repository + "@" + image.Digest
		}
		other, taken := places[place]
		switch {
		case !taken:
			places[place] = image
			kept = append(kept, image)
		case other.Digest != image.Digest:
			p.Failures = append(p.Failures, Failure{Origin: image.Origin, Category: image.Category, Owner: image.Owner, Error: fmt.Sprintf(
				"it would go to %s like %s, which is another image; give one of them a target of its own or put the source's host in the path", place, other.Origin)})
		case image.Origin != other.Origin && image.Subject == "":
			kept = append(kept, image) // the same content by two names: the resources name both
		}
	}
	p.Images = kept
	b.complete()
	slices.SortFunc(p.Failures, func(a, c Failure) int {
		return cmp.Or(cmp.Compare(a.Category, c.Category), cmp.Compare(a.Origin, c.Origin))
	})
	b.prune()
}

// prune drops manifests and blobs of images that did not make it into the plan.
func (b *builder) prune() {
	manifests, blobs := map[string]bool{}, map[string]bool{}
	for _, image := range b.plan.Images {
		for _, digest := range image.Manifests {
			manifests[digest] = true
		}
		named, err := b.plan.BlobsOf(image)
		if err != nil {
			continue // Check says so
		}
		for _, digest := range named {
			blobs[digest] = true
		}
	}
	maps.DeleteFunc(b.plan.Manifests, func(digest string, _ Manifest) bool { return !manifests[digest] })
	maps.DeleteFunc(b.plan.Blobs, func(digest string, _ Blob) bool { return !blobs[digest] })
	for digest, blob := range b.plan.Blobs {
		slices.Sort(blob.Sources)
		b.plan.Blobs[digest] = blob
	}
}

// complete fails images that need one that failed: a release whose component is missing is no release.
func (b *builder) complete() {
	p := b.plan
	failed := map[string]bool{}
	for _, f := range p.Failures {
		failed[f.Origin] = true
	}
	p.Images = slices.DeleteFunc(p.Images, func(image Image) bool {
		at := slices.IndexFunc(image.Needs, func(origin string) bool { return failed[origin] })
		if at < 0 {
			return false
		}
		p.Failures = append(p.Failures, Failure{Origin: image.Origin, Category: image.Category, Owner: image.Owner,
			Error: "it needs " + image.Needs[at] + ", which failed"})
		return true
	})
}
