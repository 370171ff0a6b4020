package remote

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"strings"
)

const (
	// MaxManifest is what registries accept.
	MaxManifest  = 4 << 20
	maxListing   = 16 << 20
	maxListPages = 100
)

// Media types of manifests.
const (
	OCIIndex       = "application/vnd.oci.image.index.v1+json"
	OCIManifest    = "application/vnd.oci.image.manifest.v1+json"
	DockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	DockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
)

// Manifest is a manifest's bytes as they are, which the digest is of.
type Manifest struct {
	MediaType string
	Digest    string
	Data      []byte
}

// Descriptor is the part of an OCI descriptor that moving content needs.
type Descriptor struct {
	MediaType    string            `json:"mediaType,omitempty"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	Platform     *Platform         `json:"platform,omitempty"`
}

// Platform of an image in an index.
type Platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant,omitempty"`
}

// Digest is the sha256 digest of data.
func Digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// NewHash returns the function that a digest is of.
func NewHash(digest string) hash.Hash {
	if strings.HasPrefix(digest, "sha512:") {
		return sha512.New()
	}
	return sha256.New()
}

// HashDigest is the digest of what was written, with the algorithm of like.
func HashDigest(h hash.Hash, like string) string {
	algorithm, _, _ := strings.Cut(like, ":")
	return algorithm + ":" + hex.EncodeToString(h.Sum(nil))
}

func pull(repo Repository) []string { return []string{"repository:" + repo.Path + ":pull"} }
func push(repo Repository) []string { return []string{"repository:" + repo.Path + ":pull,push"} }

func acceptManifests() http.Header {
	return http.Header{"Accept": {strings.Join([]string{OCIIndex, OCIManifest, DockerList, DockerManifest, "*/*"}, ", ")}}
}

// Manifest fetches a manifest by tag or digest and checks its bytes against the digest.
func (c *Client) Manifest(ctx context.Context, repo Repository, identifier string) (Manifest, error) {
	if repo.IsLayout() {
		return inLayout(repo, func(l *layoutDir) (Manifest, error) { return l.manifest(identifier) })
	}
	var m Manifest
	err := c.look(ctx, repo, ValidDigest(identifier), func(place Repository) (err error) {
		m, err = c.manifest(ctx, place, identifier)
		return err
	})
	if err != nil {
		return Manifest{}, fmt.Errorf("get manifest %s of %s: %w", identifier, repo, err)
	}
	return m, nil
}

func (c *Client) manifest(ctx context.Context, repo Repository, identifier string) (Manifest, error) {
	resp, err := c.do(ctx, call{method: http.MethodGet, repo: repo, path: repo.Path + "/manifests/" + identifier,
		header: acceptManifests(), scopes: pull(repo), want: []int{http.StatusOK}})
	if err != nil {
		return Manifest{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, MaxManifest+1))
	if err != nil {
		return Manifest{}, err
	}
	if len(data) > MaxManifest {
		return Manifest{}, fmt.Errorf("larger than %d bytes", MaxManifest)
	}
	want := resp.Header.Get("Docker-Content-Digest")
	if ValidDigest(identifier) {
		want = identifier
	} else if !ValidDigest(want) {
		want = Digest(data)
	}
	h := NewHash(want)
	h.Write(data)
	if got := HashDigest(h, want); got != want {
		return Manifest{}, fmt.Errorf("%w: want %s, got %s", ErrDigest, want, got)
	}
	mediaType, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	return Manifest{MediaType: manifestType(mediaType, data), Digest: want, Data: data}, nil
}

// manifestType trusts the manifest more than the header, which proxies change.
func manifestType(header string, data []byte) string {
	var typed struct {
		MediaType string `json:"mediaType"`
	}
	if err := json.Unmarshal(data, &typed); err == nil && typed.MediaType != "" {
		return typed.MediaType
	}
	return header
}

// Resolve asks for the digest that a tag or digest has, with a request that has no body. ErrNotFound where there is none.
func (c *Client) Resolve(ctx context.Context, repo Repository, identifier string) (string, error) {
	if repo.IsLayout() {
		return inLayout(repo, func(l *layoutDir) (string, error) { return l.find(identifier) })
	}
	var digest string
	err := c.look(ctx, repo, ValidDigest(identifier), func(place Repository) error {
		resp, err := c.do(ctx, call{method: http.MethodHead, repo: place, path: place.Path + "/manifests/" + identifier,
			header: acceptManifests(), scopes: pull(place), want: []int{http.StatusOK}})
		if err == nil {
			resp.Body.Close()
			digest = resp.Header.Get("Docker-Content-Digest")
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("resolve %s of %s: %w", identifier, repo, err)
	}
	if ValidDigest(digest) {
		return digest, nil
	}
	m, err := c.Manifest(ctx, repo, identifier)
	return m.Digest, err
}

// PutManifest pushes a manifest; its children and blobs must be there. The tag may be empty.
// listed tells that the registry has taken note of the manifest's subject (OCI-Subject), and will list it among the referrers.
func (c *Client) PutManifest(ctx context.Context, repo Repository, tag string, m Manifest) (listed bool, err error) {
	identifier := tag
	if identifier == "" {
		identifier = m.Digest
	}
	resp, err := c.do(ctx, call{method: http.MethodPut, repo: repo, path: repo.Path + "/manifests/" + identifier,
		header: http.Header{"Content-Type": {m.MediaType}}, scopes: push(repo),
		body: func() io.Reader { return bytes.NewReader(m.Data) }, length: int64(len(m.Data)), want: []int{http.StatusCreated}})
	if err != nil {
		return false, fmt.Errorf("put manifest %s of %s: %w", identifier, repo, err)
	}
	resp.Body.Close()
	if got := resp.Header.Get("Docker-Content-Digest"); got != "" && got != m.Digest {
		return false, fmt.Errorf("put manifest %s of %s: %w: the registry made %s of it", m.Digest, repo, ErrDigest, got)
	}
	return resp.Header.Get("OCI-Subject") != "", nil
}

// DeleteManifest takes a tag or a digest away. What is not there is no error.
func (c *Client) DeleteManifest(ctx context.Context, repo Repository, identifier string) error {
	resp, err := c.do(ctx, call{method: http.MethodDelete, repo: repo, path: repo.Path + "/manifests/" + identifier,
		scopes: []string{"repository:" + repo.Path + ":delete,pull,push"}, want: []int{http.StatusAccepted, http.StatusOK, http.StatusNoContent, http.StatusNotFound}})
	if err != nil {
		return fmt.Errorf("delete %s of %s: %w", identifier, repo, err)
	}
	resp.Body.Close()
	return nil
}

// Tags lists a repository's tags. One that is not there has none.
func (c *Client) Tags(ctx context.Context, repo Repository) ([]string, error) {
	if repo.IsLayout() {
		return inLayout(repo, func(l *layoutDir) ([]string, error) { return l.tags(), nil })
	}
	var all []string
	err := c.look(ctx, repo, false, func(place Repository) error {
		all = nil
		return c.pages(ctx, place, place.Path+"/tags/list?n=1000", pull(place), func(body io.Reader) error {
			var page struct {
				Tags []string `json:"tags"`
			}
			err := json.NewDecoder(body).Decode(&page)
			all = append(all, page.Tags...)
			return err
		})
	})
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list tags of %s: %w", repo, err)
	}
	return all, nil
}

// Repositories lists all that a registry has, where it tells and they are not too many; ok is false otherwise.
func (c *Client) Repositories(ctx context.Context, host string) (paths []string, ok bool) {
	resp, err := c.do(ctx, call{method: http.MethodGet, repo: Repository{Host: host}, path: "_catalog?n=1000",
		scopes: []string{"registry:catalog:*"}, want: []int{http.StatusOK}})
	if err != nil {
		return nil, false
	}
	defer resp.Body.Close()
	var page struct {
		Repositories []string `json:"repositories"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxListing)).Decode(&page); err != nil || resp.Header.Get("Link") != "" {
		return nil, false
	}
	return page.Repositories, true
}

// Referrers lists what refers to a manifest (OCI distribution-spec 1.1); supported is false where the registry has no such API.
func (c *Client) Referrers(ctx context.Context, repo Repository, digest string) (found []Descriptor, supported bool, err error) {
	if repo.IsLayout() {
		found, err = inLayout(repo, func(l *layoutDir) ([]Descriptor, error) { return l.referrers(digest) })
		return found, true, err
	}
	err = c.look(ctx, repo, true, func(place Repository) error {
		found = nil
		return c.pages(ctx, place, place.Path+"/referrers/"+digest, pull(place), func(body io.Reader) error {
			var page struct {
				Manifests []Descriptor `json:"manifests"`
			}
			err := json.NewDecoder(body).Decode(&page)
			found = append(found, page.Manifests...)
			return err
		})
	})
	var status *StatusError
	if errors.As(err, &status) && (status.Status == http.StatusNotFound || status.Status == http.StatusMethodNotAllowed || status.Status == http.StatusBadRequest) {
		return nil, false, nil
	}
	if err != nil {
		return nil, true, fmt.Errorf("list referrers of %s@%s: %w", repo, digest, err)
	}
	return found, true, nil
}

// pages follows Link headers (RFC 8288) with rel="next".
func (c *Client) pages(ctx context.Context, repo Repository, path string, scopes []string, read func(io.Reader) error) error {
	for range maxListPages {
		resp, err := c.do(ctx, call{method: http.MethodGet, repo: repo, path: path, scopes: scopes, want: []int{http.StatusOK}})
		if err != nil {
			return err
		}
		err = read(io.LimitReader(resp.Body, maxListing))
		resp.Body.Close()
		if err != nil {
			return fmt.Errorf("read list: %w", err)
		}
		link, _, found := strings.Cut(strings.TrimPrefix(resp.Header.Get("Link"), "<"), ">")
		if !found {
			return nil
		}
		next, err := resp.Request.URL.Parse(link)
		if err != nil {
			return fmt.Errorf("read list: %w", err)
		}
		path = strings.TrimPrefix(next.Path, "/v2/")
		if next.RawQuery != "" {
			path += "?" + next.RawQuery
		}
	}
	return fmt.Errorf("list has more than %d pages", maxListPages)
}

// escape makes a value fit for a query.
func escape(text string) string { return url.QueryEscape(text) }

// Matches tells whether data is what the digest promises.
func Matches(digest string, data []byte) bool {
	if !ValidDigest(digest) {
		return false
	}
	h := NewHash(digest)
	h.Write(data)
	return HashDigest(h, digest) == digest
}
