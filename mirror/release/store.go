package release

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-io/slipway/mirror/registry"
)

// Mirrors gives the repositories of the site's registry in which an image may be, the preferred one first, by the mirror sets of a view,
// and whether the one of its own name is looked into after them.
type Mirrors func(ctx context.Context, view, ref string) (repositories []string, own bool, err error)

// Store resolves release images of the site's registry and unpacks images for processes that run on the appliance.
type Store struct {
	// Mirrors is set before the store is used; without it every image is where its name says.
	Mirrors Mirrors

	source source
	dir    string
	log    *slog.Logger
	limits limits

	mu      sync.Mutex
	pending map[string]*turn // unpacking in progress, by digest
}

// New returns a store that unpacks below dir.
func New(reg *registry.Registry, dir string, log *slog.Logger) *Store {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Store{
		source:  source{registry: reg},
		dir:     dir,
		log:     log,
		limits:  limits{bytes: maxImageBytes, entries: maxImageEntries},
		pending: map[string]*turn{},
	}
}

// Resolve reads what a release image names, by its original name or by that of its mirror. A view names the mirror sets that count.
// The reference's host does not matter beyond that: every image comes from the site's registry.
func (s *Store) Resolve(ctx context.Context, view, ref string) (*Release, error) {
	found, err := s.resolve(ctx, view, ref)
	if err != nil {
		return nil, fmt.Errorf("resolve release image %s: %w", ref, err)
	}
	return found, nil
}

func (s *Store) resolve(ctx context.Context, view, ref string) (*Release, error) {
	places, err := s.places(ctx, view, ref)
	if err != nil {
		return nil, err
	}
	manifest, digest, _, err := s.first(places)
	if err != nil {
		return nil, err
	}
	files, err := s.manifests(ctx, manifest.Layers)
	if err != nil {
		return nil, err
	}
	for _, file := range []string{referencesPath, metadataPath} {
		if _, ok := files[file]; !ok {
			return nil, fmt.Errorf("%w: it has no %s", ErrInvalid, file)
		}
	}
	version, err := parseMetadata(files[metadataPath])
	if err != nil {
		return nil, err
	}
	components, err := parseReferences(files[referencesPath])
	if err != nil {
		return nil, err
	}
	return &Release{Version: version, Digest: digest.String(), Components: components}, nil
}

// Content of an image, which is named by digest: a repository that has it, and its layers, lowest first: the blobs that a host fetches and unpacks.
func (s *Store) Content(ctx context.Context, ref string) (repository string, layers []string, err error) {
	places, err := s.places(ctx, "", ref)
	if err != nil {
		return "", nil, fmt.Errorf("list layers: %w", err)
	}
	manifest, _, repository, err := s.first(places)
	if err != nil {
		return "", nil, fmt.Errorf("list layers of %s: %w", ref, err)
	}
	for _, layer := range manifest.Layers {
		layers = append(layers, layer.Digest.String())
	}
	return repository, layers, nil
}

// manifests reads the two files that make an image a release; a later layer's file wins.
func (s *Store) manifests(ctx context.Context, layers []v1.Descriptor) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, layer := range layers {
		err := s.readLayer(ctx, layer, func(header *tar.Header, content io.Reader) error {
			file := path.Clean(header.Name)
			if header.Typeflag != tar.TypeReg || (file != referencesPath && file != metadataPath) {
				return nil
			}
			raw, err := readBounded(content, file)
			files[file] = raw
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}

// readLayer walks a layer's entries and then makes sure that it was the right layer.
func (s *Store) readLayer(ctx context.Context, layer v1.Descriptor, entry func(*tar.Header, io.Reader) error) error {
	blob, err := s.source.blob(layer)
	if err != nil {
		return err
	}
	defer blob.Close()
	err = readTar(blob, s.limits, entry)
	// The digest decides: damage often shows first as broken compression or a broken archive.
	if _, drained := io.Copy(io.Discard, blob); errors.Is(drained, ErrDigest) {
		return drained
	} else if err == nil {
		err = drained
	}
	if err != nil {
		return fmt.Errorf("read layer %s: %w", layer.Digest, err)
	}
	return nil
}
