package plan

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/slipway-io/slipway/mirror/catalog"
	"github.com/slipway-io/slipway/mirror/durable"
	"github.com/slipway-io/slipway/mirror/imageset"
	"github.com/slipway-io/slipway/mirror/release"
	"github.com/slipway-io/slipway/mirror/remote"
)

// configsLabel of a catalog's image names the directory with its configurations.
const configsLabel = "operators.operatorframework.io.index.configs.v1"

const maxTemplate = 64 << 10

// prepared is what planning a catalog has brought, kept in the workspace: the same catalog and the same wishes need no look at its layers.
type prepared struct {
	Root      string              `json:"root"`
	Images    []catalog.Image     `json:"images"`
	Manifests map[string]Manifest `json:"manifests"`
	Local     []string            `json:"local"` // blobs that are in the workspace
}

// operators lists the images of all catalogs. A catalog that can't be read is a failure of its own.
func (b *builder) operators(ctx context.Context) ([]item, error) {
	var items []item
	for i, o := range b.set.Operators {
		at := fmt.Sprintf("%s.operators[%d]", b.root(), i)
		ref, err := remote.ParseSource(o.Catalog)
		if err != nil {
			return nil, fmt.Errorf("%w: %s.catalog: %w", imageset.ErrInvalid, at, err)
		}
		it := item{origin: o.Catalog, category: Operator, ref: ref, role: Catalog, platforms: o.Platforms, repository: b.path(ref.Repository), tag: targetTag(ref)}
		if o.TargetCatalog != "" {
			it.repository = b.fold(o.TargetCatalog)
		}
		if o.TargetTag != "" {
			it.tag = o.TargetTag
		}
		if it.template, err = readTemplate(o.TargetCatalogSourceTemplate); err != nil {
			return nil, fmt.Errorf("%w: %s.targetCatalogSourceTemplate: %w", imageset.ErrInvalid, at, err)
		}
		if b.At.Host != "" { // what was made there of a catalog has another digest
			it.tag = orElse(it.tag, digestTag(ref.Digest))
			it.ref.Digest = ""
		}
		b.relocate(&it)
		found, err := b.operator(ctx, it, o, at)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			b.fail(it, err)
			continue
		}
		items = append(items, found...)
	}
	return items, nil
}

// operator lists the images that the kept bundles of a catalog need, and the catalog itself, made again with what is kept.
func (b *builder) operator(ctx context.Context, it item, o imageset.Operator, at string) ([]item, error) {
	digest, err := b.digest(ctx, it)
	if err != nil {
		return nil, err
	}
	it.ref.Digest = digest
	p, err := b.prepare(ctx, it, o, at)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	for digest, m := range p.Manifests {
		b.plan.Manifests[digest] = m
	}
	for _, digest := range p.Local {
		b.local[digest] = true
	}
	b.mu.Unlock()
	var items []item
	if !b.set.Delete || len(o.Packages) == 0 {
		it.built = p.Root
		if it.tag == "" {
			it.tag = digestTag(digest)
		}
		items = append(items, it)
	}
	seen := map[string]bool{}
	for _, image := range p.Images {
		if seen[image.Reference] {
			continue
		}
		seen[image.Reference] = true
		one := item{origin: image.Reference, category: Operator, owner: image.Package, platforms: o.Platforms}
		if one.ref, err = remote.ParseReference(image.Reference); err != nil {
			b.fail(one, fmt.Errorf("bundle %s: %w", image.Bundle, err))
			continue
		}
		one.repository, one.tag = b.path(one.ref.Repository), one.ref.Tag
		b.relocate(&one)
		items = append(items, one)
	}
	return items, nil
}

// prepare takes what an earlier run has prepared, or reads the catalog.
func (b *builder) prepare(ctx context.Context, it item, o imageset.Operator, at string) (*prepared, error) {
	if b.Blobs == "" {
		return nil, errors.New("catalogs want a workspace")
	}
	wish, err := json.Marshal([]any{"1", it.ref.Digest, o.Full, o.Packages, o.Platforms})
	if err != nil {
		return nil, err
	}
	key := sha256.Sum256(wish)
	file := filepath.Join(b.Blobs, "catalog-"+hex.EncodeToString(key[:])+".json")
	if raw, err := os.ReadFile(file); err == nil {
		var p prepared
		if json.Unmarshal(raw, &p) == nil && b.allHere(p.Local) {
			return &p, nil
		}
	}
	p, err := b.readCatalog(ctx, it, o, at)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	return p, durable.Write(file, raw, 0o644)
}

// allHere tells whether all blobs are in the workspace.
func (b *builder) allHere(digests []string) bool {
	return !slices.ContainsFunc(digests, func(digest string) bool {
		_, err := os.Stat(b.blobPath(digest))
		return err != nil
	})
}

func (b *builder) blobPath(digest string) string {
	return filepath.Join(b.Blobs, strings.TrimPrefix(digest, "sha256:"))
}

// readCatalog reads a catalog's configurations, filters them, and makes the catalog again with what is left.
func (b *builder) readCatalog(ctx context.Context, it item, o imageset.Operator, at string) (*prepared, error) {
	instances, err := b.instances(ctx, it)
	if err != nil {
		return nil, err
	}
	p := &prepared{Root: it.ref.Digest, Manifests: map[string]Manifest{}}
	config, err := b.small(ctx, it.ref.Repository, *instances[0].content.Config)
	if err != nil {
		return nil, err
	}
	dir, err := configsDir(config)
	if err != nil {
		return nil, err
	}
	objects, err := b.configs(ctx, it.ref.Repository, instances[0].content.Layers, dir, o, p)
	if err != nil {
		return nil, err
	}
	filtered, err := catalog.Filter(objects, o, at)
	if err != nil {
		return nil, err
	}
	p.Images = filtered.Images
	if o.Full && len(o.Packages) == 0 || b.set.Delete {
		return p, nil // as it is, with its signatures
	}
	return p, b.rebuild(ctx, it, instances, dir, filtered.Files, p)
}

// instance is a catalog's image of one platform.
type instance struct {
	digest  string
	entry   json.RawMessage // in the index; nil without one
	content content
	media   string
}

// instances of a catalog: the chosen platforms, or the one image that it is.
func (b *builder) instances(ctx context.Context, it item) ([]instance, error) {
	m, err := b.manifest(ctx, it.ref.Repository, it.ref.Digest)
	if err != nil {
		return nil, err
	}
	c, err := parse(m)
	if err != nil {
		return nil, err
	}
	if len(c.Manifests) == 0 {
		if c.Config == nil {
			return nil, fmt.Errorf("%w: catalog without a configuration", ErrInvalid)
		}
		return []instance{{digest: it.ref.Digest, content: c, media: m.MediaType}}, nil
	}
	var index struct {
		Manifests []json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(m.Data, &index); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	chosen := c.Manifests
	if len(it.platforms) > 0 {
		chosen = choose(c.Manifests, it.platforms)
	}
	var found []instance
	for n, d := range c.Manifests {
		if d.Platform == nil || d.Platform.OS == "unknown" || !slices.ContainsFunc(chosen, func(k remote.Descriptor) bool { return k.Digest == d.Digest }) {
			continue
		}
		child, err := b.manifest(ctx, it.ref.Repository, d.Digest)
		if err != nil {
			return nil, err
		}
		one := instance{digest: d.Digest, entry: index.Manifests[n], media: child.MediaType}
		if one.content, err = parse(child); err != nil {
			return nil, err
		}
		if one.content.Config != nil {
			found = append(found, one)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("it has none of the wanted platforms, only %s", platformNames(c.Manifests))
	}
	return found, nil
}

func configsDir(config []byte) (string, error) {
	var image struct {
		Config struct {
			Labels map[string]string `json:"Labels"`
		} `json:"config"`
	}
	if err := json.Unmarshal(config, &image); err != nil {
		return "", fmt.Errorf("%w: catalog's configuration: %w", ErrInvalid, err)
	}
	dir, ok := image.Config.Labels[configsLabel]
	if !ok {
		return "", fmt.Errorf("it is no file-based catalog: it has no label %s", configsLabel)
	}
	return strings.Trim(path.Clean("/"+dir), "/"), nil
}

// configs reads the objects of the wanted packages from the layers, lowest first. The layers stay in the workspace: they are moved from there.
func (b *builder) configs(ctx context.Context, repo remote.Repository, layers []remote.Descriptor, dir string, o imageset.Operator, p *prepared) ([]catalog.Object, error) {
	wanted := func(pkg string) bool {
		return len(o.Packages) == 0 || slices.ContainsFunc(o.Packages, func(w imageset.Package) bool { return w.Name == pkg })
	}
	files := map[string][]catalog.Object{}
	for _, layer := range layers {
		if err := b.fetch(ctx, repo, layer); err != nil {
			return nil, err
		}
		p.Local = append(p.Local, layer.Digest)
		if err := b.readConfigs(layer, dir, wanted, files); err != nil {
			return nil, fmt.Errorf("read layer %s: %w", layer.Digest, err)
		}
	}
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	var objects []catalog.Object
	for _, name := range names {
		objects = append(objects, files[name]...)
	}
	return objects, nil
}

// readConfigs adds a layer's files to those below, and takes away what it hides.
func (b *builder) readConfigs(layer remote.Descriptor, dir string, wanted func(string) bool, files map[string][]catalog.Object) error {
	blob, err := os.Open(b.blobPath(layer.Digest))
	if err != nil {
		return err
	}
	defer blob.Close()
	mine := map[string]bool{}
	return release.Walk(blob, func(header *tar.Header, content io.Reader) error {
		name := strings.TrimPrefix(path.Clean("/"+header.Name), "/")
		folder, base := path.Split(name)
		if hidden, ok := strings.CutPrefix(base, ".wh."); ok {
			below := folder + hidden
			if base == ".wh..wh..opq" {
				below = strings.TrimSuffix(folder, "/")
			}
			for file := range files {
				if !mine[file] && (file == below || strings.HasPrefix(file, below+"/")) {
					delete(files, file)
				}
			}
			return nil
		}
		if header.Typeflag != tar.TypeReg || !strings.HasPrefix(name, dir+"/") {
			return nil
		}
		objects, err := catalog.Read(name, content, wanted)
		files[name], mine[name] = objects, true
		return err
	})
}

// fetch brings a blob into the workspace.
func (b *builder) fetch(ctx context.Context, repo remote.Repository, d remote.Descriptor) error {
	if !strings.HasPrefix(d.Digest, "sha256:") {
		return fmt.Errorf("layer %s: only sha256 is supported in catalogs", d.Digest)
	}
	if info, err := os.Stat(b.blobPath(d.Digest)); err == nil && info.Size() == d.Size {
		return nil
	}
	body, err := b.source.Open(ctx, repo, d, 0)
	if err != nil {
		return err
	}
	defer body.Close()
	part, err := os.CreateTemp(b.Blobs, ".part.*")
	if err != nil {
		return fmt.Errorf("keep layer: %w", err)
	}
	defer os.Remove(part.Name())
	_, err = io.Copy(part, body)
	if err := errors.Join(err, part.Sync(), part.Close()); err != nil {
		return fmt.Errorf("keep layer: %w", err)
	}
	return os.Rename(part.Name(), b.blobPath(d.Digest))
}

func orElse(value, other string) string {
	if value == "" {
		return other
	}
	return value
}

// readTemplate reads the CatalogSource that a catalog's is made from.
func readTemplate(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	info, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Size() > maxTemplate {
		return "", fmt.Errorf("%s is no plain file of at most %d bytes", file, maxTemplate)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	var head struct {
		Kind string `json:"kind"`
	}
	if err := yaml.Unmarshal(raw, &head); err != nil || head.Kind != "CatalogSource" {
		return "", fmt.Errorf("%s is no CatalogSource in YAML", file)
	}
	return string(raw), nil
}
