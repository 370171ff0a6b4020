package release

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-io/slipway/mirror/registry"
)

const maxTags = 20 // named in an error

// source reads from the registry and believes nothing that does not match its digest.
type source struct {
	registry *registry.Registry
}

// manifest reads an image's manifest by tag or digest.
func (s source) manifest(ref name.Reference) (*v1.Manifest, v1.Hash, error) {
	found, err := s.registry.Manifest(ref.Context().RepositoryStr(), ref.Identifier())
	switch {
	case errors.Is(err, registry.ErrNotFound):
		return nil, v1.Hash{}, fmt.Errorf("%w: %s:%s; the site registry has %s", ErrNotFound,
			ref.Context().RepositoryStr(), ref.Identifier(), s.others(ref.Context()))
	case errors.Is(err, registry.ErrDigest):
		return nil, v1.Hash{}, fmt.Errorf("%w: %w; import the release again to replace it", ErrDigest, err)
	case err != nil:
		return nil, v1.Hash{}, err
	}
	digest, err := v1.NewHash(found.Digest)
	if err != nil {
		return nil, v1.Hash{}, fmt.Errorf("read digest of %s: %w", ref, err)
	}
	manifest, err := parseManifest(found.Raw)
	if err != nil {
		return nil, v1.Hash{}, fmt.Errorf("parse manifest of %s: %w", ref, err)
	}
	return manifest, digest, nil
}

func parseManifest(raw []byte) (*v1.Manifest, error) {
	manifest, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if manifest.MediaType != types.OCIManifestSchema1 && manifest.MediaType != types.DockerManifestSchema2 && manifest.MediaType != "" {
		return nil, fmt.Errorf("%w: media type %s, want an image of one architecture", ErrInvalid, manifest.MediaType)
	}
	if len(manifest.Layers) == 0 {
		return nil, fmt.Errorf("%w: no layers", ErrInvalid)
	}
	for _, layer := range append([]v1.Descriptor{manifest.Config}, manifest.Layers...) {
		if layer.Digest.Algorithm != "sha256" || layer.Size < 0 {
			return nil, fmt.Errorf("%w: blob %s of %d bytes", ErrInvalid, layer.Digest, layer.Size)
		}
	}
	return manifest, nil
}

// blob opens a blob; its reader ends with ErrDigest in place of io.EOF where the content is not what was asked for.
func (s source) blob(want v1.Descriptor) (io.ReadCloser, error) {
	content, _, err := s.registry.OpenBlob(want.Digest.String())
	if errors.Is(err, registry.ErrNotFound) {
		return nil, fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	if err != nil {
		return nil, err
	}
	return &verified{ReadCloser: content, want: want, hash: sha256.New()}, nil
}

// others says what the registry has instead, for an error's text: the repository's tags, else the releases.
func (s source) others(repo name.Repository) string {
	for _, candidate := range []string{repo.RepositoryStr(), repository + releaseName} {
		tags, err := s.registry.Tags(candidate)
		if err != nil || len(tags) == 0 {
			continue
		}
		if len(tags) > maxTags {
			tags = append(tags[:maxTags], "…")
		}
		return candidate + " with " + strings.Join(tags, ", ")
	}
	return "no release: import one"
}

// verified passes content through and compares its digest at its end.
type verified struct {
	io.ReadCloser
	want v1.Descriptor
	hash hash.Hash
	size int64
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.ReadCloser.Read(p)
	v.hash.Write(p[:n])
	v.size += int64(n)
	if v.size > v.want.Size {
		return n, damaged(v.want.Digest.String(), fmt.Sprintf("more than %d bytes", v.want.Size))
	}
	if errors.Is(err, io.EOF) {
		if got := "sha256:" + hex.EncodeToString(v.hash.Sum(nil)); got != v.want.Digest.String() {
			return n, damaged(v.want.Digest.String(), got)
		}
	}
	return n, err
}

func damaged(want, got string) error {
	return fmt.Errorf("%w: blob %s is %s; import the release again to replace it", ErrDigest, want, got)
}
