package pack

import (
	"encoding/json"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Registry is the host in the release's references. Nobody is asked under that name: a site's registry serves the same path.
const Registry = "registry.slipway.io"

// Component is an entry of the release's table of contents.
type Component struct {
	Name    string
	Version string
	Digest  v1.Hash
}

// imageStream is the part of image.openshift.io/v1 ImageStream that a release uses.
type imageStream struct {
	Kind       string          `json:"kind"`
	APIVersion string          `json:"apiVersion"`
	Metadata   streamMetadata  `json:"metadata"`
	Spec       imageStreamSpec `json:"spec"`
}

type streamMetadata struct {
	Name string `json:"name"`
}

type imageStreamSpec struct {
	Tags []streamTag `json:"tags"`
}

type streamTag struct {
	Name        string            `json:"name"`
	Annotations map[string]string `json:"annotations,omitempty"`
	From        streamFrom        `json:"from"`
}

type streamFrom struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

// release-metadata, as the update graph reads it.
type releaseMetadata struct {
	Kind     string   `json:"kind"`
	Version  string   `json:"version"`
	Previous []string `json:"previous"`
}

// AddRelease packs the image that names the components, as release:<version>.
func (l *Layout) AddRelease(version string, components []Component) (v1.Descriptor, error) {
	stream := imageStream{
		Kind:       "ImageStream",
		APIVersion: "image.openshift.io/v1",
		Metadata:   streamMetadata{Name: version},
	}
	for _, c := range components {
		tag := streamTag{
			Name: c.Name,
			From: streamFrom{Kind: "DockerImage", Name: fmt.Sprintf("%s/release/%s@%s", Registry, c.Name, c.Digest)},
		}
		if c.Version != "" {
			tag.Annotations = map[string]string{"io.openshift.build.versions": c.Name + "=" + c.Version}
		}
		stream.Spec.Tags = append(stream.Spec.Tags, tag)
	}
	references, err := json.MarshalIndent(stream, "", "  ")
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("encode image references: %w", err)
	}
	metadata, err := json.MarshalIndent(releaseMetadata{Kind: "cincinnati-metadata-v0", Version: version, Previous: []string{}}, "", "  ")
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("encode release metadata: %w", err)
	}
	return l.Add(Image{
		Name: "release",
		Files: []File{
			{Path: "release-manifests/image-references", Mode: 0o644, Data: references},
			{Path: "release-manifests/release-metadata", Mode: 0o644, Data: metadata},
		},
	}, version)
}
