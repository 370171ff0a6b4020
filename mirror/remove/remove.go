// Package remove takes images away from a target, and nothing that another image set still wants.
package remove

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/slipway-io/slipway/mirror/durable"
	"github.com/slipway-io/slipway/mirror/imageset"
	"github.com/slipway-io/slipway/mirror/plan"
	"github.com/slipway-io/slipway/mirror/remote"
)

// Kind of the file that lists what is to be removed.
const Kind = "DeleteImageList"

// ErrInvalid says that a list can't be followed.
var ErrInvalid = errors.New("invalid list of images to delete")

// List of images, to be read by a person before it is followed.
type List struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Items      []Item `json:"items"`
}

// Item is one image at the target.
type Item struct {
	ImageName      string `json:"imageName"`
	ImageReference string `json:"imageReference"` // docker://host/path:tag or @digest
	Type           string `json:"type"`
	// Manifests to delete, the image's own first. Empty where the tag alone goes: another one still names the content.
	Manifests []string `json:"manifests,omitempty"`
}

// Kept is an image that stays.
type Kept struct {
	ImageName, By string
}

// place at the target.
type place struct{ repository, name string }

// Decide lists what of a plan goes. kept are the plans of all image sets for the target, by name: what they want stays.
func Decide(p *plan.Plan, kept map[string]*plan.Plan, base string) (List, []Kept) {
	tags, digests := map[place]string{}, map[place]string{}
	for _, name := range slices.Sorted(maps.Keys(kept)) {
		for _, image := range kept[name].Images {
			if image.Tag != "" {
				tags[place{image.Repository, image.Tag}] = name
			}
			for _, digest := range image.Manifests {
				digests[place{image.Repository, digest}] = name
			}
		}
	}
	list := List{APIVersion: imageset.APIVersion, Kind: Kind, Items: []Item{}}
	var stay []Kept
	for _, image := range p.Images {
		by, wanted := tags[place{image.Repository, image.Tag}]
		held, inUse := digests[place{image.Repository, image.Digest}]
		if wanted || image.Tag == "" && inUse {
			stay = append(stay, Kept{image.Origin, cmp.Or(by, held)})
			continue
		}
		item := Item{ImageName: image.Origin, Type: string(image.Category), ImageReference: "docker://" + base + "/" + image.Repository}
		if image.Tag != "" {
			item.ImageReference += ":" + image.Tag
		} else {
			item.ImageReference += "@" + image.Digest
		}
		if !inUse {
			for _, digest := range slices.Backward(image.Manifests) {
				if _, needed := digests[place{image.Repository, digest}]; !needed {
					item.Manifests = append(item.Manifests, digest)
				}
			}
		}
		list.Items = append(list.Items, item)
	}
	return list, stay
}

// Write puts the list into a file.
func (l List) Write(path string) error {
	raw, err := yaml.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode list: %w", err)
	}
	return durable.Write(path, raw, 0o644)
}

// Read reads a list and refuses what lies outside the target.
func Read(raw []byte, base string) (List, error) {
	var l List
	if err := yaml.UnmarshalStrict(raw, &l); err != nil {
		return List{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if l.Kind != Kind {
		return List{}, fmt.Errorf("%w: kind is %q, want %s", ErrInvalid, l.Kind, Kind)
	}
	for i, item := range l.Items {
		ref, err := remote.ParseReference(item.ImageReference)
		if err != nil || !strings.HasPrefix(ref.Repository.String(), base+"/") {
			return List{}, fmt.Errorf("%w: items[%d].imageReference: %q is not below docker://%s", ErrInvalid, i, item.ImageReference, base)
		}
		for _, digest := range item.Manifests {
			if !remote.ValidDigest(digest) {
				return List{}, fmt.Errorf("%w: items[%d].manifests: %q is no digest", ErrInvalid, i, digest)
			}
		}
	}
	return l, nil
}

// Do follows the list. What fails is returned, the rest is gone.
func Do(ctx context.Context, target *remote.Client, l List) (removed int, failures map[string]error) {
	failures = map[string]error{}
	for _, item := range l.Items {
		if ctx.Err() != nil {
			failures[item.ImageReference] = ctx.Err()
			continue
		}
		if err := one(ctx, target, item); err != nil {
			failures[item.ImageReference] = err
		} else {
			removed++
		}
	}
	return removed, failures
}

func one(ctx context.Context, target *remote.Client, item Item) error {
	ref, err := remote.ParseReference(item.ImageReference)
	if err != nil {
		return err
	}
	// Between the list and now the tag may have got another content: then that is not ours to delete.
	if ref.Tag != "" && len(item.Manifests) > 0 {
		digest, err := target.Resolve(ctx, ref.Repository, ref.Tag)
		if errors.Is(err, remote.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if digest != item.Manifests[0] {
			return fmt.Errorf("it names %s now, the list was made for %s; make the list again", digest, item.Manifests[0])
		}
	}
	if len(item.Manifests) == 0 {
		return target.DeleteManifest(ctx, ref.Repository, ref.Identifier())
	}
	for _, digest := range item.Manifests {
		if err := target.DeleteManifest(ctx, ref.Repository, digest); err != nil {
			return err
		}
	}
	return nil
}
