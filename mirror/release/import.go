package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/slipway-io/slipway/mirror/registry"
)

// refName is the annotation of an image in the layout's index: <component>:<release version>.
const refName = "org.opencontainers.image.ref.name"

// Import brings the releases of an OCI layout directory into the registry and returns them. Content that is there and whole is left alone,
// content that is damaged is replaced; a release appears only after its components.
func Import(ctx context.Context, layoutDir string, reg *registry.Registry, log *slog.Logger) ([]Release, error) {
	releases, err := runImport(ctx, layoutDir, reg, log)
	if err != nil {
		return nil, fmt.Errorf("import %s: %w", layoutDir, err)
	}
	return releases, nil
}

func runImport(ctx context.Context, layoutDir string, reg *registry.Registry, log *slog.Logger) ([]Release, error) {
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
	i := importer{dir: dir, registry: reg, source: source{registry: reg}, log: log}
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
	registry *registry.Registry
	source   source
	log      *slog.Logger
}

func (i importer) image(ctx context.Context, e entry) error {
	start := time.Now()
	raw, manifest, err := i.manifest(e.digest)
	if err != nil {
		return err
	}
	missing, size, err := i.missing(ctx, manifest)
	if err != nil {
		return err
	}
	if _, current, err := i.source.manifest(e.tag); err == nil && current == e.digest && len(missing) == 0 {
		return nil
	}
	repo := e.tag.RepositoryStr()
	for _, blob := range append([]v1.Descriptor{manifest.Config}, manifest.Layers...) {
		if missing[blob.Digest] {
			err = i.copy(ctx, repo, blob)
		} else {
			err = i.registry.Hold(repo, blob.Digest.String())
		}
		if err != nil {
			return err
		}
		delete(missing, blob.Digest) // the same layer twice is brought once
	}
	if _, err := i.registry.PutManifest(repo, string(manifest.MediaType), raw, e.tag.TagStr()); err != nil {
		return err
	}
	i.log.Info("image imported", "image", repo+":"+e.tag.TagStr(), "digest", e.digest.String(), "bytes", size, "duration", time.Since(start))
	return nil
}

// manifest reads an image's manifest from the layout and checks it.
func (i importer) manifest(digest v1.Hash) ([]byte, *v1.Manifest, error) {
	raw, err := i.dir.Bytes(digest)
	if err != nil {
		return nil, nil, fmt.Errorf("read manifest from layout: %w", err)
	}
	got, _, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return nil, nil, fmt.Errorf("hash manifest: %w", err)
	}
	if got != digest {
		return nil, nil, fmt.Errorf("%w: blob %s of the layout is %s; build or copy the layout again", ErrDigest, digest, got)
	}
	manifest, err := parseManifest(raw)
	return raw, manifest, err
}

// missing reads what the registry has of an image, and returns what it has not, or has damaged.
func (i importer) missing(ctx context.Context, manifest *v1.Manifest) (map[v1.Hash]bool, int64, error) {
	missing := map[v1.Hash]bool{}
	var size int64
	for _, blob := range append([]v1.Descriptor{manifest.Config}, manifest.Layers...) {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		whole, err := i.whole(blob)
		if err != nil {
			return nil, 0, err
		}
		if !whole && !missing[blob.Digest] {
			missing[blob.Digest] = true
			size += blob.Size
		}
	}
	return missing, size, nil
}

// whole tells whether the registry has a blob as it should be.
func (i importer) whole(blob v1.Descriptor) (bool, error) {
	content, err := i.source.blob(blob)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer content.Close()
	_, err = io.Copy(io.Discard, content)
	if errors.Is(err, ErrDigest) {
		i.log.Warn("damaged content in the registry is replaced", "digest", blob.Digest.String())
		return false, nil
	}
	return err == nil, err
}

// copy brings a blob from the layout, from where an import that was killed stopped.
func (i importer) copy(ctx context.Context, repo string, blob v1.Descriptor) (err error) {
	content, err := i.dir.Blob(blob.Digest)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("blob %s is not in the layout: %w", blob.Digest, ErrInvalid)
	}
	if err != nil {
		return fmt.Errorf("read blob %s from layout: %w", blob.Digest, err)
	}
	defer content.Close()
	w, err := i.registry.WriteBlob(repo, blob.Digest.String())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	if _, err := io.CopyN(io.Discard, content, w.Offset()); err != nil {
		return fmt.Errorf("read blob %s from layout: %w", blob.Digest, err)
	}
	if _, err := io.Copy(w, stoppable{ctx, content}); err != nil {
		return fmt.Errorf("copy blob %s from layout: %w", blob.Digest, err)
	}
	if err := w.Commit(); errors.Is(err, registry.ErrDigest) {
		return fmt.Errorf("%w: blob %s of the layout: %w; build or copy the layout again", ErrDigest, blob.Digest, err)
	} else if err != nil {
		return fmt.Errorf("copy blob from layout: %w", err)
	}
	return nil
}

// stoppable ends a copy with its context.
type stoppable struct {
	ctx context.Context
	io.Reader
}

func (s stoppable) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.Reader.Read(p)
}

// resolve reads the imported releases back, and makes sure that their components came with them.
func (i importer) resolve(ctx context.Context, imported []entry) ([]Release, error) {
	store := &Store{source: i.source, log: i.log, limits: limits{bytes: maxImageBytes, entries: maxImageEntries}}
	releases := make([]Release, 0, len(imported))
	for _, e := range imported {
		found, err := store.Resolve(ctx, "", e.tag.String())
		if err != nil {
			return nil, err
		}
		if found.Version != e.tag.TagStr() {
			return nil, fmt.Errorf("release image %s says that it is %s: %w", e.tag.TagStr(), found.Version, ErrInvalid)
		}
		for component, ref := range found.Components {
			if _, _, err := store.Content(ctx, ref); err != nil {
				return nil, fmt.Errorf("component %s of release %s: %w", component, found.Version, err)
			}
		}
		releases = append(releases, *found)
	}
	return releases, nil
}
