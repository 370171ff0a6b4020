package registry

import (
	"encoding/json"
	"fmt"
	"mime"
)

const (
	ociManifest    = "application/vnd.oci.image.manifest.v1+json"
	ociIndex       = "application/vnd.oci.image.index.v1+json"
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"

	// maxManifest is the size that distribution-spec asks registries to take at least.
	maxManifest = 4 << 20
)

// Descriptor names content from within an index, image-spec descriptor.md.
type Descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	ArtifactType string            `json:"artifactType,omitempty"`
}

// document is what the registry reads of a manifest or an index.
type document struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        *Descriptor       `json:"config"`
	Layers        []Descriptor      `json:"layers"`
	Manifests     []Descriptor      `json:"manifests"`
	Subject       *Descriptor       `json:"subject"`
	Annotations   map[string]string `json:"annotations"`
}

// link is a manifest's file in its repository: what the index needs without reading the manifest.
type link struct {
	MediaType string `json:"mediaType"`
	Size      int64  `json:"size"`
	Subject   string `json:"subject,omitempty"`
	// Blobs are config and layers. An index has none: its manifests are links of their own, and may be missing.
	Blobs []string `json:"blobs,omitempty"`
	// Withheld are those of Blobs that who pushed the manifest could not read then.
	Withheld []string `json:"withheld,omitempty"`
}

// parseManifest checks a manifest of the given media type; with none, the document's own counts.
func parseManifest(mediaType string, raw []byte) (link, document, error) {
	fail := func(format string, args ...any) (link, document, error) {
		return link{}, document{}, fmt.Errorf("manifest: "+format+": %w", append(args, ErrInvalid)...)
	}
	if len(raw) > maxManifest {
		return fail("%d bytes, at most %d are taken", len(raw), maxManifest)
	}
	var doc document
	if err := json.Unmarshal(raw, &doc); err != nil {
		return fail("%s", err)
	}
	if mediaType != "" {
		plain, _, err := mime.ParseMediaType(mediaType)
		if err != nil {
			return fail("media type %.100q", mediaType)
		}
		mediaType = plain
	}
	if mediaType == "" {
		mediaType = doc.MediaType
	}
	if doc.MediaType != "" && doc.MediaType != mediaType {
		return fail("it says that it is %.100q, and was sent as %.100q", doc.MediaType, mediaType)
	}
	if doc.SchemaVersion != 2 {
		return fail("schemaVersion is %d, want 2", doc.SchemaVersion)
	}
	out := link{MediaType: mediaType, Size: int64(len(raw))}
	switch mediaType {
	case ociManifest, dockerManifest:
		// A document that reads as both means different things to different clients.
		if doc.Manifests != nil || doc.Config == nil {
			return fail("%s wants a config and no manifests", mediaType)
		}
	case ociIndex, dockerList:
		if doc.Config != nil || doc.Layers != nil {
			return fail("%s has neither config nor layers", mediaType)
		}
	default:
		return fail("media type %.100q, want an image manifest or an index", mediaType)
	}
	return out, doc, out.read(doc)
}

// read checks every digest that the document names.
func (l *link) read(doc document) error {
	contents := doc.Layers
	if doc.Config != nil {
		contents = append([]Descriptor{*doc.Config}, contents...)
	}
	for _, list := range [][]Descriptor{contents, doc.Manifests} {
		for _, content := range list {
			if _, err := parseDigest(content.Digest); err != nil {
				return fmt.Errorf("manifest: %w", err)
			}
			if content.Size < 0 {
				return fmt.Errorf("manifest: %s has %d bytes: %w", content.Digest, content.Size, ErrInvalid)
			}
		}
	}
	for _, content := range contents {
		l.Blobs = append(l.Blobs, content.Digest)
	}
	if doc.Subject == nil {
		return nil
	}
	if _, err := parseDigest(doc.Subject.Digest); err != nil {
		return fmt.Errorf("manifest: subject: %w", err)
	}
	l.Subject = doc.Subject.Digest
	return nil
}

// descriptor is how a referrers list shows a manifest, distribution-spec "Listing Referrers".
func descriptor(d digest, l link, doc document) Descriptor {
	out := Descriptor{MediaType: l.MediaType, Digest: d.String(), Size: l.Size, Annotations: doc.Annotations, ArtifactType: doc.ArtifactType}
	if out.ArtifactType == "" && doc.Config != nil {
		out.ArtifactType = doc.Config.MediaType
	}
	return out
}
