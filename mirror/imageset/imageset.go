// Package imageset reads image sets: ImageSetConfiguration and DeleteImageSetConfiguration of mirror.openshift.io/v2alpha1, as oc-mirror v2 has them.
package imageset

import "regexp"

const (
	// APIVersion is the only version that is read.
	APIVersion = "mirror.openshift.io/v2alpha1"
	// Kind is what is to be mirrored.
	Kind = "ImageSetConfiguration"
	// DeleteKind is what is to be deleted from the target.
	DeleteKind = "DeleteImageSetConfiguration"
)

// Set is an image set, read and checked.
type Set struct {
	// Delete tells that the content is to be deleted.
	Delete bool
	// ArchiveSize is the most that a segment of an archive may have, in GiB; 0 means the default.
	ArchiveSize int64
	Content
}

// document is the file as written.
type document struct {
	APIVersion  string         `json:"apiVersion"`
	Kind        string         `json:"kind"`
	Metadata    map[string]any `json:"metadata,omitempty"`
	ArchiveSize int64          `json:"archiveSize,omitempty"`
	Mirror      *Content       `json:"mirror,omitempty"`
	Delete      *Content       `json:"delete,omitempty"`
}

// Content is what an image set names.
type Content struct {
	Platform         Platform   `json:"platform,omitempty"`
	Operators        []Operator `json:"operators,omitempty"`
	AdditionalImages []Image    `json:"additionalImages,omitempty"`
	Helm             Helm       `json:"helm,omitempty"`
	BlockedImages    []Blocked  `json:"blockedImages,omitempty"`
	Samples          []Blocked  `json:"samples,omitempty"`
}

// Platform names OpenShift-like releases, by channel or by reference.
type Platform struct {
	Graph             bool       `json:"graph,omitempty"`
	Channels          []Channel  `json:"channels,omitempty"`
	Architectures     []string   `json:"architectures,omitempty"`
	Platforms         []Instance `json:"platforms,omitempty"`
	Release           string     `json:"release,omitempty"`
	KubeVirtContainer bool       `json:"kubeVirtContainer,omitempty"`
}

// Channel names releases of an update channel.
type Channel struct {
	Name         string `json:"name"`
	Type         string `json:"type,omitempty"`
	MinVersion   string `json:"minVersion,omitempty"`
	MaxVersion   string `json:"maxVersion,omitempty"`
	ShortestPath bool   `json:"shortestPath,omitempty"`
	Full         bool   `json:"full,omitempty"`
}

// Instance is one platform of a multi-architecture image.
type Instance struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
}

// Operator names packages of a file-based catalog.
type Operator struct {
	Catalog                     string     `json:"catalog"`
	Full                        bool       `json:"full,omitempty"`
	Packages                    []Package  `json:"packages,omitempty"`
	TargetCatalog               string     `json:"targetCatalog,omitempty"`
	TargetTag                   string     `json:"targetTag,omitempty"`
	TargetCatalogSourceTemplate string     `json:"targetCatalogSourceTemplate,omitempty"`
	SkipDependencies            bool       `json:"skipDependencies,omitempty"`
	Platforms                   []Instance `json:"platforms,omitempty"`
}

// Package is an operator's package and the part of it that is wanted.
type Package struct {
	Name           string           `json:"name"`
	DefaultChannel string           `json:"defaultChannel,omitempty"`
	Channels       []PackageChannel `json:"channels,omitempty"`
	MinVersion     string           `json:"minVersion,omitempty"`
	MaxVersion     string           `json:"maxVersion,omitempty"`
}

// PackageChannel is a channel of an operator's package.
type PackageChannel struct {
	Name       string `json:"name"`
	MinVersion string `json:"minVersion,omitempty"`
	MaxVersion string `json:"maxVersion,omitempty"`
}

// Image is one image by reference.
type Image struct {
	Name       string     `json:"name"`
	TargetRepo string     `json:"targetRepo,omitempty"`
	TargetTag  string     `json:"targetTag,omitempty"`
	Platforms  []Instance `json:"platforms,omitempty"`
}

// Helm names charts whose images are wanted.
type Helm struct {
	Repositories []Repository `json:"repositories,omitempty"`
	Local        []Chart      `json:"local,omitempty"`
}

// Repository is a chart repository.
type Repository struct {
	Name   string  `json:"name"`
	URL    string  `json:"url"`
	Charts []Chart `json:"charts,omitempty"`
}

// Chart is a chart of a repository or of a path.
type Chart struct {
	Name       string     `json:"name"`
	Version    string     `json:"version,omitempty"`
	Path       string     `json:"path,omitempty"`
	ImagePaths []string   `json:"imagePaths,omitempty"`
	Platforms  []Instance `json:"platforms,omitempty"`
}

// Blocked is a regular expression, not anchored, for images that are left out.
type Blocked struct {
	Name string `json:"name"`
}

// Blocks tells whether one of the blocked images' expressions matches the origin or the destination.
func (c Content) Blocks(origin, destination string) bool {
	for _, blocked := range c.BlockedImages {
		pattern, err := regexp.Compile(blocked.Name)
		if err == nil && (pattern.MatchString(origin) || pattern.MatchString(destination)) {
			return true
		}
	}
	return false
}
