package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// refName is the annotation of an image in the layout's index: <component>:<release version>.
const refName = "org.opencontainers.image.ref.name"

// Import brings the releases of an OCI layout directory into the registry and returns them. Content that is there and whole is left alone,
// content that is damaged is replaced; a release appears only after its components.
func Import(ctx context.Context, layoutDir string, reg Registry, log *slog.Logger) ([]Release, error) {
	releases, err := runImport(ctx, layoutDir, reg, log)
	if err != nil {
		return nil, fmt.Errorf("import %s: %w", layoutDir, err)
	}
	return releases, nil
}

func runImport(ctx context.Context, layoutDir string, reg Registry, log *slog.Logger) ([]Release, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	dir, err := layout.FromPath(layoutDir)
	if err != nil {
		return nil, fmt.Errorf("open OCI layout: %w", err)
	}
	components, releases, err := entries(dir)
	if err != nil {
		return nil, err
	}
	pusher, err := remote.NewPusher(remote.WithTransport(reg.Transport()),
		remote.WithRetryBackoff(remote.Backoff{Steps: 1})) // no network, so nothing gets better by waiting
	if err != nil {
		return nil, fmt.Errorf("prepare import: %w", err)
	}
	i := importer{dir: dir, registry: reg, pusher: pusher, source: newSource(reg.Transport()), log: log}
	for _, entry := range append(components, releases...) {
		if err := i.image(ctx, entry); err != nil {
			return nil, fmt.Errorf("image %s: %w", entry.tag.RepositoryStr()+":"+entry.tag.TagStr(), err)
		}
	}
	return i.resolve(ctx, releases)
}

// entry is an image of the layout and the tag that it gets.
type entry struct {
	digest v1.Hash
	tag    name.Tag
}

// entries lists the layout's images, those of releases apart.
func entries(dir layout.Path) (components, releases []entry, err error) {
	index, err := dir.ImageIndex()
	if err != nil {
		return nil, nil, fmt.Errorf("read index: %w", err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, nil, fmt.Errorf("read index: %w", err)
	}
	for _, descriptor := range manifest.Manifests {
		ref := descriptor.Annotations[refName]
		component, version, _ := strings.Cut(ref, ":")
		if !componentName.MatchString(component) {
			return nil, nil, fmt.Errorf("read index: image %s is named %q, want component:version: %w", descriptor.Digest, ref, ErrInvalid)
		}
		tag, err := name.NewTag(Host + "/" + repository + component + ":" + version)
		if err != nil {
			return nil, nil, fmt.Errorf("read index: image %s is named %q: %w: %w", descriptor.Digest, ref, ErrInvalid, err)
		}
		if component == releaseName {
			releases = append(releases, entry{descriptor.Digest, tag})
		} else {
			components = append(components, entry{descriptor.Digest, tag})
		}
	}
	if len(releases) == 0 {
		return nil, nil, fmt.Errorf("read index: no image is named %s:<version>: %w", releaseName, ErrInvalid)
	}
	return components, releases, nil
}

type importer struct {
	dir      layout.Path
	registry Registry
	pusher   *remote.Pusher
	source   source
	log      *slog.Logger
}

func (i importer) image(ctx context.Context, e entry) error {
	start := time.Now()
	manifest, err := i.manifest(e.digest)
	if err != nil {
		return err
	}
	repo := e.tag.Repository
	var missing int64
	for _, blob := range i.blobs(manifest, e.digest) {
		whole, err := i.whole(ctx, repo, blob)
		if err != nil {
			return err
		}
		if !whole {
			missing += blob.Size
		}
	}
	if _, current, err := i.source.manifest(ctx, e.tag); err == nil && current == e.digest && missing == 0 {
		return nil
	}
	if err := i.push(ctx, e, manifest); err != nil {
		return err
	}
	i.log.Info("image imported", "image", repo.RepositoryStr()+":"+e.tag.TagStr(), "digest", e.digest.String(),
		"bytes", missing, "duration", time.Since(start))
	return nil
}

// manifest reads an image's manifest from the layout and checks it.
func (i importer) manifest(digest v1.Hash) (*v1.Manifest, error) {
	raw, err := i.dir.Bytes(digest)
	if err != nil {
		return nil, fmt.Errorf("read manifest from layout: %w", err)
	}
	got, _, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("hash manifest: %w", err)
	}
	if got != digest {
		return nil, fmt.Errorf("%w: blob %s of the layout is %s; build or copy the layout again", ErrDigest, digest, got)
	}
	return parseManifest(raw)
}

// blobs lists what the registry must hold for an image; the manifest itself last.
func (i importer) blobs(manifest *v1.Manifest, digest v1.Hash) []v1.Descriptor {
	blobs := append([]v1.Descriptor{manifest.Config}, manifest.Layers...)
	if info, err := i.dir.Bytes(digest); err == nil {
		blobs = append(blobs, v1.Descriptor{Digest: digest, Size: int64(len(info))})
	}
	return blobs
}

// whole tells whether the registry has a blob, and takes one that is damaged away: pushes skip what exists.
func (i importer) whole(ctx context.Context, repo name.Repository, blob v1.Descriptor) (bool, error) {
	content, err := i.source.blob(ctx, repo, blob)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer content.Close()
	_, err = io.Copy(io.Discard, content)
	if err == nil || !errors.Is(err, ErrDigest) {
		return err == nil, err
	}
	i.log.Warn("damaged content in the registry is replaced", "repository", repo.RepositoryStr(), "digest", blob.Digest.String())
	return false, i.source.remove(ctx, repo, blob.Digest)
}

func (i importer) push(ctx context.Context, e entry, manifest *v1.Manifest) error {
	image, err := i.dir.Image(e.digest)
	if err != nil {
		return fmt.Errorf("open image in layout: %w", err)
	}
	layers, err := image.Layers()
	if err != nil {
		return fmt.Errorf("open layers in layout: %w", err)
	}
	config, err := partial.ConfigLayer(image)
	if err != nil {
		return fmt.Errorf("open config in layout: %w", err)
	}
	for n, layer := range append([]v1.Layer{config}, layers...) {
		if err := i.verify(append([]v1.Descriptor{manifest.Config}, manifest.Layers...)[n]); err != nil {
			return err
		}
		if err := i.pusher.Upload(ctx, e.tag.Repository, layer); err != nil {
			return fmt.Errorf("push blob: %w", err)
		}
	}
	// Content first, then the name: after a loss of power, what has a manifest has its blobs.
	if err := i.registry.Sync(e.tag.RepositoryStr()); err != nil {
		return err
	}
	if err := i.pusher.Push(ctx, e.tag, image); err != nil {
		return fmt.Errorf("push manifest: %w", err)
	}
	return i.registry.Sync(e.tag.RepositoryStr())
}

// verify checks a blob of the layout before it is pushed, to name the culprit.
func (i importer) verify(blob v1.Descriptor) error {
	content, err := i.dir.Blob(blob.Digest)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("blob %s is not in the layout: %w", blob.Digest, ErrInvalid)
	}
	if err != nil {
		return fmt.Errorf("read blob %s from layout: %w", blob.Digest, err)
	}
	defer content.Close()
	got, size, err := v1.SHA256(content)
	if err != nil {
		return fmt.Errorf("read blob %s from layout: %w", blob.Digest, err)
	}
	if got != blob.Digest || size != blob.Size {
		return fmt.Errorf("%w: blob %s of the layout is %s; build or copy the layout again", ErrDigest, blob.Digest, got)
	}
	return nil
}

// resolve reads the imported releases back, and makes sure that their components came with them.
func (i importer) resolve(ctx context.Context, imported []entry) ([]Release, error) {
	store := &Store{source: i.source, log: i.log, limits: limits{bytes: maxImageBytes, entries: maxImageEntries}}
	releases := make([]Release, 0, len(imported))
	for _, e := range imported {
		found, err := store.Resolve(ctx, e.tag.String())
		if err != nil {
			return nil, err
		}
		if found.Version != e.tag.TagStr() {
			return nil, fmt.Errorf("release image %s says that it is %s: %w", e.tag.TagStr(), found.Version, ErrInvalid)
		}
		for component, ref := range found.Components {
			if _, err := store.LayerDigests(ctx, ref); err != nil {
				return nil, fmt.Errorf("component %s of release %s: %w", component, found.Version, err)
			}
		}
		releases = append(releases, *found)
	}
	return releases, nil
}

// remove takes a blob out of the registry.
func (s source) remove(ctx context.Context, repo name.Repository, digest v1.Hash) error {
	url := "https://" + Host + "/v2/" + repo.RepositoryStr() + "/blobs/" + digest.String()
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, url, nil)
	if err != nil {
		return fmt.Errorf("remove blob %s: %w", digest, err)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return fmt.Errorf("remove blob %s: %w", digest, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		return fmt.Errorf("remove blob %s: registry answers %s", digest, resp.Status)
	}
	return nil
}
