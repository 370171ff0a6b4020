// Package pack writes a release as an OCI layout directory: an image per component, and the release image that names them by digest.
// The bytes depend on the content alone, so the same inputs give the same digests.
package pack

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// RefName is the annotation of an image in the layout's index: <component>:<release version>.
const RefName = "org.opencontainers.image.ref.name"

// Image is what a component's image holds and how it runs.
type Image struct {
	Name         string
	Version      string // of the component itself, for the release's table of contents
	Architecture string // as Go calls it; amd64 where empty
	Files        []File
	Entrypoint   []string
	User         string
	Env          []string
}

// Layout is an OCI layout under construction.
type Layout struct {
	dir       string
	manifests []v1.Descriptor
}

// New starts a layout in dir, which it creates.
func New(dir string) (*Layout, error) {
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		return nil, fmt.Errorf("create layout: %w", err)
	}
	return &Layout{dir: dir}, nil
}

// Add packs an image and enters it into the index as <name>:<tag>.
func (l *Layout) Add(image Image, tag string) (v1.Descriptor, error) {
	descriptor, err := l.add(image, tag)
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("pack image %s: %w", image.Name, err)
	}
	return descriptor, nil
}

func (l *Layout) add(image Image, tag string) (v1.Descriptor, error) {
	content, err := l.addLayer(image.Files)
	if err != nil {
		return v1.Descriptor{}, err
	}
	platform := v1.Platform{OS: "linux", Architecture: image.Architecture}
	if platform.Architecture == "" {
		platform.Architecture = "amd64"
	}
	config, err := l.addJSON(types.OCIConfigJSON, v1.ConfigFile{
		Created:      v1.Time{Time: time.Unix(0, 0).UTC()},
		OS:           platform.OS,
		Architecture: platform.Architecture,
		Config:       v1.Config{Entrypoint: image.Entrypoint, User: image.User, Env: image.Env},
		RootFS:       v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{content.diffID}},
	})
	if err != nil {
		return v1.Descriptor{}, err
	}
	manifest, err := l.addJSON(types.OCIManifestSchema1, v1.Manifest{
		SchemaVersion: 2,
		MediaType:     types.OCIManifestSchema1,
		Config:        config,
		Layers:        []v1.Descriptor{content.descriptor},
	})
	if err != nil {
		return v1.Descriptor{}, err
	}
	manifest.Platform = &platform
	manifest.Annotations = map[string]string{RefName: image.Name + ":" + tag}
	l.manifests = append(l.manifests, manifest)
	return manifest, nil
}

// Close writes the index: until then the directory is no layout.
func (l *Layout) Close() error {
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: l.manifests}
	for name, value := range map[string]any{"index.json": index, "oci-layout": map[string]string{"imageLayoutVersion": "1.0.0"}} {
		raw, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(l.dir, name), append(raw, '\n'), 0o644); err != nil {
			return fmt.Errorf("write layout: %w", err)
		}
	}
	return nil
}

func (l *Layout) addJSON(media types.MediaType, value any) (v1.Descriptor, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("encode %s: %w", media, err)
	}
	blob, err := l.createBlob()
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer blob.discard()
	if _, err := blob.Write(raw); err != nil {
		return v1.Descriptor{}, err
	}
	return blob.commit(media)
}

// blob is content on its way into the layout; its name is known when it ends.
type blob struct {
	dir  string
	file *os.File
	hash hash.Hash
	size int64
}

func (l *Layout) createBlob() (*blob, error) {
	dir := filepath.Join(l.dir, "blobs", "sha256")
	file, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return nil, fmt.Errorf("create blob: %w", err)
	}
	return &blob{dir: dir, file: file, hash: sha256.New()}, nil
}

func (b *blob) Write(p []byte) (int, error) {
	n, err := b.file.Write(p)
	if err != nil {
		return n, fmt.Errorf("write blob: %w", err)
	}
	b.hash.Write(p)
	b.size += int64(n)
	return n, nil
}

func (b *blob) commit(media types.MediaType) (v1.Descriptor, error) {
	digest := hashOf(b.hash)
	if err := b.file.Chmod(0o644); err != nil {
		return v1.Descriptor{}, fmt.Errorf("write blob: %w", err)
	}
	if err := b.file.Sync(); err != nil {
		return v1.Descriptor{}, fmt.Errorf("write blob: %w", err)
	}
	if err := os.Rename(b.file.Name(), filepath.Join(b.dir, digest.Hex)); err != nil {
		return v1.Descriptor{}, fmt.Errorf("name blob: %w", err)
	}
	return v1.Descriptor{MediaType: media, Digest: digest, Size: b.size}, nil
}

// discard closes the file and removes it unless it was committed.
func (b *blob) discard() {
	b.file.Close()
	os.Remove(b.file.Name())
}
