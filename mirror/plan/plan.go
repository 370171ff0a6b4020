// Package plan resolves image sets to digests before a byte of content moves: images, manifests, blobs, sizes and destinations, in one file.
package plan

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/slipway-io/slipway/mirror/durable"
	"github.com/slipway-io/slipway/mirror/remote"
)

// Category is the part of the image set that an image comes from.
type Category string

// Categories, in the words of oc-mirror.
const (
	Release    Category = "release"
	Operator   Category = "operator"
	Additional Category = "additional"
	Helm       Category = "helm"
)

const (
	version = 1
	maxName = 255 // of an image set's file, as file systems have it
	maxPlan = 1 << 30
)

// ErrInvalid says that a plan or a manifest in it can't be used.
var ErrInvalid = errors.New("invalid plan")

// Plan is all that a run needs to know: it says what there is to move, and no registry is asked for it again.
type Plan struct {
	Version int `json:"version"`
	// ImageSet is the file name of the image set, by which the plan is known in workspaces at either side of a gap.
	ImageSet  string              `json:"imageSet,omitempty"`
	Images    []Image             `json:"images"`
	Manifests map[string]Manifest `json:"manifests"`
	Blobs     map[string]Blob     `json:"blobs"`
	// Failures are images that could not be planned; the rest goes on without them.
	Failures []Failure `json:"failures,omitempty"`
	// Signatures of releases, as they were fetched and verified, by digest.
	Signatures map[string][][]byte `json:"signatures,omitempty"`
	// Releases that were named, in order.
	Releases []PlannedRelease `json:"releases,omitempty"`
	// Charts whose images are in the plan; they travel beside it.
	Charts []PlannedChart `json:"charts,omitempty"`
}

// PlannedRelease is a release image and its version.
type PlannedRelease struct {
	Version string `json:"version"`
	Digest  string `json:"digest"`
}

// Image is an image, or what is attached to one, with its place at the target.
type Image struct {
	// Origin is the image as the image set or a release names it.
	Origin   string   `json:"origin"`
	Category Category `json:"category"`
	// Owner is the operator's package, the release or the chart that wants the image; may be empty.
	Owner string `json:"owner,omitempty"`
	// Source repository, host and path.
	Source string `json:"source"`
	// Repository and Tag at the target, below its namespace. The tag is empty for what has only a digest.
	Repository string `json:"repository"`
	Tag        string `json:"tag,omitempty"`
	Digest     string `json:"digest"`
	// Manifests in the order in which they are pushed: children first, Digest last.
	Manifests []string `json:"manifests"`
	// Platforms that were chosen; then the index names more than there is (sparse), or was rewritten.
	Platforms []string `json:"platforms,omitempty"`
	Rewritten bool     `json:"rewritten,omitempty"`
	// Subject is the digest that a signature or another artifact belongs to.
	Subject string `json:"subject,omitempty"`
	// Needs are origins without which this image is of no use: it is pushed after them and not without.
	Needs []string `json:"needs,omitempty"`
	// Role tells release payloads, catalogs and graph images apart from the rest.
	Role Role `json:"role,omitempty"`
	// Template is the CatalogSource that a catalog's is made from; YAML.
	Template string `json:"template,omitempty"`
	// Looked is when the source was last asked for signatures and referrers.
	Looked time.Time `json:"looked,omitzero"`
}

// FromDirectory tells whether the image comes from a directory, so that nobody pulls it by an original name.
func (i Image) FromDirectory() bool { return strings.HasPrefix(i.Source, remote.LayoutHost) }

// Role of an image that the resources at the target speak of.
type Role string

// Roles.
const (
	Payload Role = "payload"
	Catalog Role = "catalog"
	Graph   Role = "graph"
)

// Manifest is a manifest as it is.
type Manifest struct {
	MediaType string `json:"mediaType"`
	Data      []byte `json:"data"`
}

// Blob is a blob's size, and the repositories of the source that have it.
type Blob struct {
	Size    int64    `json:"size"`
	Sources []string `json:"sources,omitempty"`
	// Local tells that it was made here and is in the workspace.
	Local bool `json:"local,omitempty"`
}

// Failure is an image that could not be planned, or not be moved.
type Failure struct {
	Origin   string   `json:"origin"`
	Category Category `json:"category"`
	Owner    string   `json:"owner,omitempty"`
	Error    string   `json:"error"`
	// Cause is there when it is not the image's own: a sentence that is the same for all images that it hits.
	Cause string `json:"cause,omitempty"`
}

// New returns an empty plan.
func New() *Plan {
	return &Plan{Version: version, Manifests: map[string]Manifest{}, Blobs: map[string]Blob{}, Signatures: map[string][][]byte{}}
}

// content is the part of a manifest or index that moving it needs.
type content struct {
	MediaType string              `json:"mediaType"`
	Config    *remote.Descriptor  `json:"config"`
	Layers    []remote.Descriptor `json:"layers"`
	Blobs     []remote.Descriptor `json:"blobs"`
	Manifests []remote.Descriptor `json:"manifests"`
	Subject   *remote.Descriptor  `json:"subject"`
}

const maxChildren = 2000

// parse reads a manifest or an index and bounds it.
func parse(m Manifest) (content, error) {
	var c content
	if err := json.Unmarshal(m.Data, &c); err != nil {
		return content{}, fmt.Errorf("%w: manifest: %w", ErrInvalid, err)
	}
	if len(c.Layers)+len(c.Blobs)+len(c.Manifests) > maxChildren {
		return content{}, fmt.Errorf("%w: manifest names more than %d things", ErrInvalid, maxChildren)
	}
	for _, d := range slices.Concat(c.Layers, c.Blobs, c.Manifests, optional(c.Config), optional(c.Subject)) {
		if !remote.ValidDigest(d.Digest) || d.Size < 0 {
			return content{}, fmt.Errorf("%w: manifest names %.100q of %d bytes", ErrInvalid, d.Digest, d.Size)
		}
	}
	return c, nil
}

func optional(d *remote.Descriptor) []remote.Descriptor {
	if d == nil {
		return nil
	}
	return []remote.Descriptor{*d}
}

// blobs of a manifest that a registry must have. Layers that must not be distributed are fetched elsewhere.
func (c content) blobs() []remote.Descriptor {
	found := optional(c.Config)
	for _, layer := range slices.Concat(c.Layers, c.Blobs) {
		if !strings.Contains(layer.MediaType, "nondistributable") && !strings.Contains(layer.MediaType, "foreign") {
			found = append(found, layer)
		}
	}
	return found
}

// BlobsOf lists the blobs that an image's manifests name, each once.
func (p *Plan) BlobsOf(image Image) ([]string, error) {
	seen := map[string]bool{}
	for _, digest := range image.Manifests {
		c, err := parse(p.Manifests[digest])
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", image.Origin, err)
		}
		for _, blob := range c.blobs() {
			seen[blob.Digest] = true
		}
	}
	return slices.Sorted(maps.Keys(seen)), nil
}

// Totals of a plan.
type Totals struct {
	Images, Blobs int
	// Bytes that move, each blob once; Shared are those that moving image by image would move again.
	Bytes, Shared int64
}

// Totals counts what a plan would move to a target that has nothing.
func (p *Plan) Totals() (Totals, error) {
	t := Totals{Images: len(p.Images), Blobs: len(p.Blobs)}
	for _, blob := range p.Blobs {
		t.Bytes += blob.Size
	}
	var each int64
	for _, image := range p.Images {
		blobs, err := p.BlobsOf(image)
		if err != nil {
			return Totals{}, err
		}
		for _, digest := range blobs {
			each += p.Blobs[digest].Size
		}
	}
	t.Shared = each - t.Bytes
	return t, nil
}

// Check makes sure that a plan, which may come from anywhere, holds together: digests fit, nothing leads outside.
func (p *Plan) Check() error {
	if p.Version != version {
		return fmt.Errorf("%w: version %d, want %d; make it again with this version", ErrInvalid, p.Version, version)
	}
	if len(p.ImageSet) > maxName {
		return fmt.Errorf("%w: the image set's name has %d characters, at most %d", ErrInvalid, len(p.ImageSet), maxName)
	}
	for digest, m := range p.Manifests {
		if len(m.Data) > remote.MaxManifest || !remote.Matches(digest, m.Data) {
			return fmt.Errorf("%w: manifest %.100q is not what its digest promises", ErrInvalid, digest)
		}
		c, err := parse(m)
		if err != nil {
			return err
		}
		for _, blob := range c.blobs() {
			if known, ok := p.Blobs[blob.Digest]; ok && known.Size != blob.Size {
				return fmt.Errorf("%w: blob %s has two sizes, %d and %d", ErrInvalid, blob.Digest, known.Size, blob.Size)
			}
		}
	}
	for digest, blob := range p.Blobs {
		if !remote.ValidDigest(digest) || blob.Size < 0 {
			return fmt.Errorf("%w: blob %.100q of %d bytes", ErrInvalid, digest, blob.Size)
		}
	}
	for _, image := range p.Images {
		if err := p.checkImage(image); err != nil {
			return err
		}
	}
	return p.checkCharts()
}

func (p *Plan) checkImage(image Image) error {
	if _, err := remote.ParseReference("x.invalid/" + image.Repository + "@" + image.Digest); err != nil {
		return fmt.Errorf("%w: image %.100q: %w", ErrInvalid, image.Origin, err)
	}
	if _, err := remote.ParseReference("x.invalid/" + image.Repository + ":" + image.Tag); image.Tag != "" && err != nil {
		return fmt.Errorf("%w: image %.100q: %w", ErrInvalid, image.Origin, err)
	}
	if len(image.Manifests) == 0 || image.Manifests[len(image.Manifests)-1] != image.Digest {
		return fmt.Errorf("%w: image %.100q does not end with its own manifest", ErrInvalid, image.Origin)
	}
	for _, digest := range image.Manifests {
		if _, ok := p.Manifests[digest]; !ok {
			return fmt.Errorf("%w: image %.100q: manifest %s is missing", ErrInvalid, image.Origin, digest)
		}
	}
	blobs, err := p.BlobsOf(image)
	if err != nil {
		return err
	}
	for _, digest := range blobs {
		if _, ok := p.Blobs[digest]; !ok {
			return fmt.Errorf("%w: image %.100q: blob %s is missing", ErrInvalid, image.Origin, digest)
		}
	}
	return nil
}

// Write puts the plan into a file.
func (p *Plan) Write(path string) error {
	raw, err := p.Encode()
	if err != nil {
		return err
	}
	return durable.Write(path, raw, 0o644)
}

// Encode is the plan as JSON, the same for the same plan.
func (p *Plan) Encode() ([]byte, error) {
	raw, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode plan: %w", err)
	}
	return append(raw, '\n'), nil
}

// Decode reads a plan and checks it.
func Decode(raw []byte) (*Plan, error) {
	p := New()
	if err := json.Unmarshal(raw, p); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if err := p.Check(); err != nil {
		return nil, err
	}
	return p, nil
}

// Read reads a plan from a file and checks it.
func Read(path string) (*Plan, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read plan: %w", err)
	}
	if info.Size() > maxPlan {
		return nil, fmt.Errorf("read plan %s: %w: larger than %d bytes", path, ErrInvalid, maxPlan)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read plan: %w", err)
	}
	p, err := Decode(raw)
	if err != nil {
		return nil, fmt.Errorf("read plan %s: %w", path, err)
	}
	return p, nil
}
