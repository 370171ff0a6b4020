package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	sourceHost = "127.0.0.1:5101"
	targetHost = "127.0.0.1:5102"
	images     = 20
	changes    = 3 // the image that changes
	ownLayers  = 5
)

// imageSet is what is mirrored: repositories bench/appNN with one tag each, most of their bytes in common.
type imageSet struct {
	names              []string
	unique, sum, delta int64
	blobs              int
	before, after      v1.Image // of the image that changes
	seen               map[v1.Hash]int64
	random             *rand.ChaCha8
}

// pushSet makes the set and pushes it to the source; sizes are those of mirror-baselines, times scale.
func pushSet(ctx context.Context, scale float64) (*imageSet, error) {
	s := &imageSet{seen: map[v1.Hash]int64{}, random: rand.NewChaCha8([32]byte{1})}
	sized := func(bytes float64) (v1.Layer, error) { return s.layer(int(bytes * scale)) }
	base, err := sized(60 << 20)
	if err != nil {
		return nil, err
	}
	var middle [2]v1.Layer
	for i := range middle {
		if middle[i], err = sized(40 << 20); err != nil {
			return nil, err
		}
	}
	small, err := sized(64 << 10)
	if err != nil {
		return nil, err
	}
	for i := range images {
		shared := []v1.Layer{base, middle[i%2], small}
		own := func(arch string) (v1.Image, error) {
			layers := append([]v1.Layer{}, shared...)
			for range ownLayers {
				l, err := sized(21.1e6 / ownLayers)
				if err != nil {
					return nil, err
				}
				layers = append(layers, l)
			}
			return s.image(arch, layers)
		}
		if err := s.pushOne(ctx, i, own); err != nil {
			return nil, err
		}
	}
	s.blobs = len(s.seen)
	for _, size := range s.seen {
		s.unique += size
	}
	return s, s.change(base, middle[changes%2], small, sized)
}

// change makes the image that replaces one of them: new layers on the same base.
func (s *imageSet) change(base, middle, small v1.Layer, sized func(float64) (v1.Layer, error)) error {
	layers := []v1.Layer{base, middle, small}
	for range ownLayers {
		l, err := sized(21.1e6 / ownLayers)
		if err != nil {
			return err
		}
		layers = append(layers, l)
	}
	var err error
	before := s.unique
	if s.after, err = s.image("amd64", layers); err != nil {
		return err
	}
	if err := s.count(s.after); err != nil {
		return err
	}
	var now int64
	for _, size := range s.seen {
		now += size
	}
	s.delta = now - before
	return nil
}

// layer is a gzipped tar of random bytes, so that nobody is tempted to compress it.
func (s *imageSet) layer(size int) (v1.Layer, error) {
	var packed bytes.Buffer
	zip, err := gzip.NewWriterLevel(&packed, gzip.NoCompression)
	if err != nil {
		return nil, err
	}
	archive := tar.NewWriter(zip)
	if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "data", Mode: 0o644, Size: int64(size)}); err != nil {
		return nil, err
	}
	if _, err := io.CopyN(archive, s.random, int64(size)); err != nil {
		return nil, err
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	if err := zip.Close(); err != nil {
		return nil, err
	}
	raw := packed.Bytes()
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil }, tarball.WithMediaType(types.OCILayer))
}

func (s *imageSet) image(arch string, layers []v1.Layer) (v1.Image, error) {
	made, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), layers...)
	if err != nil {
		return nil, err
	}
	file, err := made.ConfigFile()
	if err != nil {
		return nil, err
	}
	file.OS, file.Architecture = "linux", arch
	return mutate.ConfigFile(made, file)
}

func (s *imageSet) pushOne(ctx context.Context, i int, own func(string) (v1.Image, error)) error {
	path := fmt.Sprintf("bench/app%02d", i)
	s.names = append(s.names, path)
	ref, err := name.ParseReference(sourceHost + "/" + path + ":v1")
	if err != nil {
		return err
	}
	amd, err := own("amd64")
	if err != nil {
		return err
	}
	if i == changes {
		s.before = amd
	}
	repository := map[v1.Hash]int64{}
	if err := s.countInto(amd, repository); err != nil {
		return err
	}
	if i%5 != 4 { // four of twenty are of two architectures
		s.add(repository)
		return remote.Write(ref, amd, remote.WithContext(ctx))
	}
	arm, err := own("arm64")
	if err != nil {
		return err
	}
	if err := s.countInto(arm, repository); err != nil {
		return err
	}
	s.add(repository)
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: amd, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: arm, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}})
	return remote.WriteIndex(ref, index, remote.WithContext(ctx))
}

func (s *imageSet) add(repository map[v1.Hash]int64) {
	for hash, size := range repository {
		s.seen[hash] = size
		s.sum += size
	}
}

func (s *imageSet) count(made v1.Image) error { return s.countInto(made, s.seen) }

func (s *imageSet) countInto(made v1.Image, into map[v1.Hash]int64) error {
	manifest, err := made.Manifest()
	if err != nil {
		return err
	}
	for _, d := range append([]v1.Descriptor{manifest.Config}, manifest.Layers...) {
		into[d.Digest] = d.Size
	}
	return nil
}

// tag makes the source's tag name the image as it was, or as it has changed.
func (s *imageSet) tag(ctx context.Context, changed bool) error {
	made := s.before
	if changed {
		made = s.after
	}
	ref, err := name.ParseReference(sourceHost + "/" + s.names[changes] + ":v1")
	if err != nil {
		return err
	}
	return remote.Write(ref, made, remote.WithContext(ctx))
}

// imageBytes are what one image has.
func imageBytes(made v1.Image) (int64, error) {
	manifest, err := made.Manifest()
	if err != nil {
		return 0, err
	}
	total := manifest.Config.Size
	for _, l := range manifest.Layers {
		total += l.Size
	}
	return total, nil
}

// waitFor asks a registry until it answers.
func waitFor(ctx context.Context, host string) error {
	for range 500 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+"/v2/", strings.NewReader(""))
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			return nil
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
	return fmt.Errorf("registry %s does not answer", host)
}
