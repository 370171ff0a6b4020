package release

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	maxManifest = 4 << 20
	maxTags     = 20 // named in an error
)

// source reads from the registry and believes nothing that does not match its digest.
type source struct {
	client *http.Client
}

func newSource(transport http.RoundTripper) source {
	return source{client: &http.Client{Transport: transport}}
}

// manifest fetches an image's manifest by tag or digest.
func (s source) manifest(ctx context.Context, ref name.Reference) (*v1.Manifest, v1.Hash, error) {
	resp, err := s.get(ctx, ref.Context(), "manifests/"+ref.Identifier())
	if errors.Is(err, ErrNotFound) {
		return nil, v1.Hash{}, fmt.Errorf("%w: %s:%s; the site registry has %s", ErrNotFound,
			ref.Context().RepositoryStr(), ref.Identifier(), s.others(ctx, ref.Context()))
	}
	if err != nil {
		return nil, v1.Hash{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
	if err != nil {
		return nil, v1.Hash{}, fmt.Errorf("read manifest %s: %w", ref.Identifier(), err)
	}
	digest, _, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return nil, v1.Hash{}, fmt.Errorf("hash manifest: %w", err)
	}
	if want, ok := ref.(name.Digest); ok && want.DigestStr() != digest.String() {
		return nil, v1.Hash{}, damaged(ref.Context(), want.DigestStr(), digest.String())
	}
	manifest, err := parseManifest(raw)
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
func (s source) blob(ctx context.Context, repo name.Repository, want v1.Descriptor) (io.ReadCloser, error) {
	resp, err := s.get(ctx, repo, "blobs/"+want.Digest.String())
	if err != nil {
		return nil, fmt.Errorf("open blob %s of %s: %w", want.Digest, repo.RepositoryStr(), err)
	}
	return &verified{ReadCloser: resp.Body, repo: repo, want: want, hash: sha256.New()}, nil
}

// others says what the registry has instead, for an error's text: the repository's tags, else the releases.
func (s source) others(ctx context.Context, repo name.Repository) string {
	for _, candidate := range []name.Repository{repo, repo.Registry.Repo(repository + releaseName)} {
		if tags := s.tags(ctx, candidate); len(tags) > 0 {
			return candidate.RepositoryStr() + " with " + strings.Join(tags, ", ")
		}
	}
	return "no release: import one"
}

func (s source) tags(ctx context.Context, repo name.Repository) []string {
	resp, err := s.get(ctx, repo, "tags/list")
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	var list struct {
		Tags []string `json:"tags"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxManifest)).Decode(&list); err != nil {
		return nil
	}
	if len(list.Tags) > maxTags {
		return append(list.Tags[:maxTags], "…")
	}
	return list.Tags
}

func (s source) get(ctx context.Context, repo name.Repository, path string) (*http.Response, error) {
	url := "https://" + Host + "/v2/" + repo.RepositoryStr() + "/" + path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("ask registry for %s: %w", path, err)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask registry for %s: %w", path, err)
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return resp, nil
	case http.StatusNotFound:
		err = ErrNotFound
	default:
		err = fmt.Errorf("registry answers %s", resp.Status)
	}
	resp.Body.Close()
	return nil, err
}

// verified passes content through and compares its digest at its end.
type verified struct {
	io.ReadCloser
	repo name.Repository
	want v1.Descriptor
	hash hash.Hash
	size int64
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.ReadCloser.Read(p)
	v.hash.Write(p[:n])
	v.size += int64(n)
	if v.size > v.want.Size {
		return n, damaged(v.repo, v.want.Digest.String(), fmt.Sprintf("more than %d bytes", v.want.Size))
	}
	if errors.Is(err, io.EOF) {
		if got := "sha256:" + hex.EncodeToString(v.hash.Sum(nil)); got != v.want.Digest.String() {
			return n, damaged(v.repo, v.want.Digest.String(), got)
		}
	}
	return n, err
}

func damaged(repo name.Repository, want, got string) error {
	return fmt.Errorf("%w: blob %s of %s is %s; import the release again to replace it", ErrDigest, want, repo.RepositoryStr(), got)
}
