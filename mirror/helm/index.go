package helm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"sigs.k8s.io/yaml"

	"github.com/slipway-io/slipway/mirror/durable"
	"github.com/slipway-io/slipway/mirror/imageset"
)

// index is a repository's index.yaml, as far as it says where charts are.
type index struct {
	APIVersion string             `json:"apiVersion"`
	Entries    map[string][]entry `json:"entries"`
}

// entry is one version of a chart.
type entry struct {
	Name    string   `json:"name"`
	Version string   `json:"version"`
	Type    string   `json:"type"`
	URLs    []string `json:"urls"`
	Digest  string   `json:"digest"` // sha256, in hex; may be missing

	parsed *semver.Version
}

// wanted is a chart that the set names, with the version that was chosen for it.
type wanted struct {
	chart imageset.Chart
	entry entry
	all   bool // nobody named it: it came with the whole repository
	err   error
}

func decodeIndex(raw []byte) (*index, error) {
	var x index
	if err := yaml.Unmarshal(raw, &x); err != nil {
		return nil, fmt.Errorf("%w: index.yaml: %w", ErrInvalid, err)
	}
	if x.APIVersion == "" {
		return nil, fmt.Errorf("%w: index.yaml has no apiVersion; is this the address of a chart repository?", ErrInvalid)
	}
	for name, entries := range x.Entries {
		kept := entries[:0]
		for _, e := range entries {
			if e.parsed, _ = semver.NewVersion(e.Version); e.parsed != nil && e.Name == name && len(e.URLs) > 0 {
				kept = append(kept, e) // helm leaves out the others as well
			}
		}
		slices.SortStableFunc(kept, func(a, b entry) int { return b.parsed.Compare(a.parsed) })
		x.Entries[name] = kept
	}
	return &x, nil
}

// wanted chooses the versions: those that the charts name, or all of the repository.
func (x *index) wanted(charts []imageset.Chart) []wanted {
	var found []wanted
	for _, c := range charts {
		e, err := x.find(c.Name, c.Version)
		found = append(found, wanted{chart: c, entry: e, err: err})
	}
	if len(charts) > 0 {
		return found
	}
	for _, name := range slices.Sorted(maps.Keys(x.Entries)) {
		for _, e := range x.Entries[name] {
			if e.Type != "library" {
				found = append(found, wanted{chart: imageset.Chart{Name: name, Version: e.Version}, entry: e, all: true})
			}
		}
	}
	return found
}

// find takes the very version, or the newest within a range; without one, the newest that is no prerelease.
func (x *index) find(name, version string) (entry, error) {
	entries := x.Entries[name]
	if len(entries) == 0 {
		return entry{}, fmt.Errorf("%w: the repository has no chart %s", ErrInvalid, name)
	}
	for _, e := range entries {
		if e.Version == version {
			return e, nil
		}
	}
	if version == "" {
		version = "*"
	}
	within, err := semver.NewConstraint(version)
	if err != nil {
		return entry{}, fmt.Errorf("%w: chart %s: %q is no version and no range", ErrInvalid, name, version)
	}
	for _, e := range entries {
		if within.Check(e.parsed) {
			return e, nil
		}
	}
	return entry{}, fmt.Errorf("%w: the repository has no version %s of chart %s; the newest is %s", ErrInvalid, version, name, entries[0].Version)
}

// index gets a repository's index and keeps it; without HTTP, the one that is kept.
func (r Reader) index(ctx context.Context, base string) (*index, error) {
	at, err := url.Parse(base)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	kept := filepath.Join(r.Dir, "indexes", filepath.FromSlash(strings.NewReplacer(":", "-", "[", "", "]", "").Replace(at.Host)+filepath.Clean("/"+at.Path)), "index.yaml")
	var raw []byte
	if r.HTTP == nil {
		if raw, err = os.ReadFile(kept); err != nil {
			return nil, fmt.Errorf("read index of %s: %w; it is kept where the charts were mirrored with this workspace", base, err)
		}
		return decodeIndex(raw)
	}
	if raw, err = r.get(ctx, at.JoinPath("index.yaml").String(), maxIndex); err != nil {
		return nil, err
	}
	x, err := decodeIndex(raw)
	if err != nil {
		return nil, err
	}
	if old, err := os.ReadFile(kept); err == nil && bytes.Equal(old, raw) {
		return x, nil
	}
	if err := os.MkdirAll(filepath.Dir(kept), 0o755); err != nil {
		return nil, fmt.Errorf("keep index: %w", err)
	}
	return x, durable.Write(kept, raw, 0o644)
}

// fetch makes sure that the chart's file is in the workspace, and returns its digest and size. One that is there is taken if nothing speaks against it.
func (r Reader) fetch(ctx context.Context, base string, e entry, file string) (string, int64, error) {
	path := filepath.Join(r.Dir, "charts", file)
	raw, err := os.ReadFile(path)
	if err == nil && (r.HTTP == nil || e.Digest != "" && hexDigest(raw) == e.Digest) {
		return "sha256:" + hexDigest(raw), int64(len(raw)), nil
	}
	if r.HTTP == nil {
		return "", 0, fmt.Errorf("read chart: %w; it is kept where it was mirrored with this workspace", err)
	}
	at, err := resolve(base, e.URLs[0])
	if err != nil {
		return "", 0, err
	}
	if raw, err = r.get(ctx, at, maxChart); err != nil {
		return "", 0, err
	}
	if e.Digest != "" && hexDigest(raw) != e.Digest {
		return "", 0, fmt.Errorf("%w: %s is sha256 %s, the repository's index says %.64s", ErrInvalid, file, hexDigest(raw), e.Digest)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", 0, fmt.Errorf("keep chart: %w", err)
	}
	return "sha256:" + hexDigest(raw), int64(len(raw)), durable.Write(path, raw, 0o644)
}

// resolve a chart's address, which may be relative to the repository's.
func resolve(base, address string) (string, error) {
	at, err := url.Parse(strings.TrimSuffix(base, "/") + "/")
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	chart, err := at.Parse(address)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if chart.Scheme != "http" && chart.Scheme != "https" {
		return "", fmt.Errorf("%w: the chart is at a %s address; only http and https are taken", ErrInvalid, chart.Scheme)
	}
	return chart.String(), nil
}

func (r Reader) get(ctx context.Context, address string, most int64) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	shown := request.URL.Host + request.URL.Path // a query may hold a token
	response, err := r.HTTP.Do(request)
	if err != nil {
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err
		}
		return nil, fmt.Errorf("get %s: %w", shown, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("get %s: the server answers %s", shown, response.Status)
	}
	raw, err := io.ReadAll(io.LimitReader(response.Body, most+1))
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", shown, err)
	}
	if int64(len(raw)) > most {
		return nil, fmt.Errorf("get %s: %w: larger than %d bytes", shown, ErrInvalid, most)
	}
	return raw, nil
}

func hexDigest(raw []byte) string {
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}
