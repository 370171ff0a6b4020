// Package release brings releases into the site's registry and takes them apart again: what a release image names, and its images unpacked.
package release

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// Host is the registry in a release's references. The site's registry serves the same paths under its own name.
const Host = "registry.slipway.io"

// Repositories are those that releases are imported into.
const Repositories = repository + "*"

const (
	// Repository of release images.
	Repository = repository + releaseName

	releaseName = "release" // the image in a layout, and its repository below release/
	repository  = "release/"

	referencesPath = "release-manifests/image-references"
	metadataPath   = "release-manifests/release-metadata"
	maxReferences  = 1 << 20
	maxComponents  = 1000
)

var (
	// ErrNotFound says that the site's registry has no such image.
	ErrNotFound = errors.New("image is not in the site registry")
	// ErrDigest says that content is not what its digest promises.
	ErrDigest = errors.New("content does not match its digest")
	// ErrInvalid says that an image is no release, or one that cannot be used.
	ErrInvalid = errors.New("invalid release image")
)

// Release is what a release image says: its version and its components' images by digest.
type Release struct {
	Version    string
	Digest     string
	Components map[string]string
}

// Image returns the reference of a component's image.
func (r *Release) Image(component string) (string, error) {
	ref, ok := r.Components[component]
	if !ok {
		return "", fmt.Errorf("release %s has no component %q: %w", r.Version, component, ErrInvalid)
	}
	return ref, nil
}

// imageStream is the part of image.openshift.io/v1 ImageStream that a release uses.
type imageStream struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Tags []struct {
			Name string `json:"name"`
			From struct {
				Kind string `json:"kind"`
				Name string `json:"name"`
			} `json:"from"`
		} `json:"tags"`
	} `json:"spec"`
}

var (
	componentName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	versionString = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+([-+][0-9A-Za-z.+-]{1,100})?$`)
)

// parseReferences reads release-manifests/image-references: component to image by digest.
func parseReferences(raw []byte) (map[string]string, error) {
	var stream imageStream
	if err := json.Unmarshal(raw, &stream); err != nil {
		return nil, fmt.Errorf("parse %s: %w: %w", referencesPath, ErrInvalid, err)
	}
	if stream.Kind != "ImageStream" {
		return nil, fmt.Errorf("parse %s: kind is %q, want ImageStream: %w", referencesPath, stream.Kind, ErrInvalid)
	}
	if n := len(stream.Spec.Tags); n == 0 || n > maxComponents {
		return nil, fmt.Errorf("parse %s: %d components, want 1 to %d: %w", referencesPath, n, maxComponents, ErrInvalid)
	}
	components := make(map[string]string, len(stream.Spec.Tags))
	for _, tag := range stream.Spec.Tags {
		if !componentName.MatchString(tag.Name) {
			return nil, fmt.Errorf("parse %s: component name %q: %w", referencesPath, tag.Name, ErrInvalid)
		}
		if _, twice := components[tag.Name]; twice {
			return nil, fmt.Errorf("parse %s: component %s named twice: %w", referencesPath, tag.Name, ErrInvalid)
		}
		if tag.From.Kind != "DockerImage" {
			return nil, fmt.Errorf("parse %s: component %s is of kind %q, want DockerImage: %w", referencesPath, tag.Name, tag.From.Kind, ErrInvalid)
		}
		if _, err := parseDigest(tag.From.Name); err != nil {
			return nil, fmt.Errorf("parse %s: component %s: %w", referencesPath, tag.Name, err)
		}
		components[tag.Name] = tag.From.Name
	}
	return components, nil
}

// parseMetadata reads release-manifests/release-metadata: the version.
func parseMetadata(raw []byte) (string, error) {
	var metadata struct {
		Kind    string `json:"kind"`
		Version string `json:"version"`
	}
	if err := json.Unmarshal(raw, &metadata); err != nil {
		return "", fmt.Errorf("parse %s: %w: %w", metadataPath, ErrInvalid, err)
	}
	if metadata.Kind != "cincinnati-metadata-v0" {
		return "", fmt.Errorf("parse %s: kind is %q, want cincinnati-metadata-v0: %w", metadataPath, metadata.Kind, ErrInvalid)
	}
	if !versionString.MatchString(metadata.Version) {
		return "", fmt.Errorf("parse %s: version is %q, want a semantic version: %w", metadataPath, metadata.Version, ErrInvalid)
	}
	return metadata.Version, nil
}

// parseDigest accepts only references that name content, not what a tag happens to point at.
func parseDigest(ref string) (name.Digest, error) {
	digest, err := name.NewDigest(ref, name.StrictValidation)
	if err != nil {
		return name.Digest{}, fmt.Errorf("reference %q is not of the form host/repository@sha256:…: %w: %w", ref, ErrInvalid, err)
	}
	if !strings.HasPrefix(digest.DigestStr(), "sha256:") {
		return name.Digest{}, fmt.Errorf("reference %q: only sha256 is supported: %w", ref, ErrInvalid)
	}
	return digest, nil
}

// local is the reference on the site's registry: the same repository under the one name that every request in this process uses.
func local(ref string) (name.Reference, error) {
	parsed, err := name.ParseReference(ref, name.WithDefaultRegistry(Host))
	if err != nil {
		return nil, fmt.Errorf("parse reference %q: %w: %w", ref, ErrInvalid, err)
	}
	host, err := name.NewRegistry(Host)
	if err != nil {
		return nil, fmt.Errorf("parse reference %q: %w", ref, err)
	}
	repo := host.Repo(parsed.Context().RepositoryStr())
	if digest, ok := parsed.(name.Digest); ok {
		return repo.Digest(digest.DigestStr()), nil
	}
	return repo.Tag(parsed.Identifier()), nil
}

// readBounded reads a whole small file and refuses a large one.
func readBounded(r io.Reader, path string) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxReferences+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(raw) > maxReferences {
		return nil, fmt.Errorf("read %s: larger than %d bytes: %w", path, maxReferences, ErrInvalid)
	}
	return raw, nil
}
