package plan

import (
	"archive/tar"
	"encoding/json"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	ggcr "github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-io/slipway/mirror/imageset"
	"github.com/slipway-io/slipway/mirror/release"
	"github.com/slipway-io/slipway/mirror/remote"
)

// catalogImage pushes a catalog of two packages with a bundle each, and returns its tag.
func (s *source) catalogImage(t *testing.T) string {
	t.Helper()
	var config strings.Builder
	for _, pkg := range []string{"lvms", "other"} {
		bundle := s.push(t, pkg+"/bundle:v1", imageOf(t, anyLayer(t)))
		operand := s.push(t, pkg+"/operand:v1", imageOf(t, anyLayer(t)))
		for _, object := range []map[string]any{
			{"schema": "olm.package", "name": pkg, "defaultChannel": "stable"},
			{"schema": "olm.channel", "package": pkg, "name": "stable", "entries": []map[string]string{{"name": pkg + ".v1.0.0"}}},
			{"schema": "olm.bundle", "package": pkg, "name": pkg + ".v1.0.0", "image": bundle, "relatedImages": []map[string]string{{"name": "o", "image": operand}},
				"properties": []map[string]any{{"type": "olm.package", "value": map[string]string{"packageName": pkg, "version": "1.0.0"}}}},
		} {
			raw, err := json.Marshal(object)
			if err != nil {
				t.Fatal(err)
			}
			config.Write(append(raw, '\n'))
		}
	}
	made := imageOf(t, anyLayer(t), files(t, map[string]string{"configs/gone/catalog.json": `{"schema":"olm.package","name":"gone"}`}),
		files(t, map[string]string{"configs/.wh.gone": "", "configs/all/catalog.json": config.String(), "configs/README.md": "hello"}))
	made, err := mutate.Config(made, v1.Config{Labels: map[string]string{configsLabel: "/configs"}, Cmd: []string{"serve", "/configs"}})
	if err != nil {
		t.Fatal(err)
	}
	s.push(t, "redhat/index:v4.18", made)
	return s.host + "/redhat/index:v4.18"
}

func TestCatalogIsMadeAgain(t *testing.T) {
	s := newSource(t)
	ref := s.catalogImage(t)
	blobs := t.TempDir()
	set := &imageset.Set{Content: imageset.Content{Operators: []imageset.Operator{{Catalog: ref, TargetCatalog: "olm/mine", Packages: []imageset.Package{{Name: "lvms"}}}}}}
	p, err := Build(t.Context(), set, s.client, Options{Blobs: blobs})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Failures) != 0 || len(p.Images) != 3 {
		t.Fatalf("%+v %+v", p.Images, p.Failures)
	}
	at := slices.IndexFunc(p.Images, func(i Image) bool { return i.Role == Catalog })
	made := p.Images[at]
	if made.Repository != "olm/mine" || made.Tag != "v4.18" {
		t.Errorf("catalog: %+v", made)
	}
	for _, image := range p.Images {
		if image.Role != Catalog && image.Owner != "lvms" {
			t.Errorf("image of %q: %+v", image.Owner, image)
		}
	}
	c, err := parse(p.Manifests[made.Digest])
	if err != nil || len(c.Layers) != 4 {
		t.Fatalf("%+v %v", c, err)
	}
	checkConfig(t, blobs, c)
	last := filepath.Join(blobs, strings.TrimPrefix(c.Layers[3].Digest, "sha256:"))
	layer, err := os.Open(last)
	if err != nil {
		t.Fatal(err)
	}
	defer layer.Close()
	var names []string
	err = release.Walk(layer, func(h *tar.Header, content io.Reader) error {
		raw, err := io.ReadAll(content)
		if strings.Contains(string(raw), "other") {
			t.Errorf("%s has what was not wanted: %s", h.Name, raw)
		}
		names = append(names, path.Clean(h.Name))
		return err
	})
	want := "configs configs/.wh..wh..opq tmp/cache tmp/cache/.wh..wh..opq configs/lvms configs/lvms/catalog.json"
	if got := strings.Join(names, " "); err != nil || got != want {
		t.Errorf("layer has %s, %v; want %s", got, err, want)
	}
	again, err := Build(t.Context(), set, s.client, Options{Blobs: blobs, Previous: p})
	if err != nil || again.Images[at].Digest != made.Digest {
		t.Errorf("made twice, the catalog differs: %v", err)
	}
}

func checkConfig(t *testing.T, blobs string, c content) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(blobs, strings.TrimPrefix(c.Config.Digest, "sha256:")))
	if err != nil {
		t.Fatal(err)
	}
	var config v1.ConfigFile
	if err := json.Unmarshal(raw, &config); err != nil {
		t.Fatal(err)
	}
	if len(config.RootFS.DiffIDs) != len(c.Layers) || !slices.Contains(config.Config.Cmd, "--cache-enforce-integrity=false") || config.Config.Labels[configsLabel] != "/configs" {
		t.Errorf("configuration: %+v", config)
	}
}

func TestWholeCatalogStaysAsItIs(t *testing.T) {
	s := newSource(t)
	ref := s.catalogImage(t)
	set := &imageset.Set{Content: imageset.Content{Operators: []imageset.Operator{{Catalog: ref, Full: true}}}}
	p, err := Build(t.Context(), set, s.client, Options{Blobs: t.TempDir()})
	if err != nil || len(p.Failures) != 0 || len(p.Images) != 5 {
		t.Fatalf("%+v %v", p, err)
	}
	digest, err := s.client.Resolve(t.Context(), mustParse(t, ref), "v4.18")
	at := slices.IndexFunc(p.Images, func(i Image) bool { return i.Role == Catalog })
	if err != nil || p.Images[at].Digest != digest {
		t.Errorf("catalog %s, want %s, %v", p.Images[at].Digest, digest, err)
	}
}

// TestCatalogFromDirectory: a catalog on the disk is filtered like one in a registry.
func TestCatalogFromDirectory(t *testing.T) {
	s := newSource(t)
	ref, err := name.ParseReference(s.catalogImage(t))
	if err != nil {
		t.Fatal(err)
	}
	pulled, err := ggcr.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "my-catalog")
	path, err := layout.Write(dir, empty.Index)
	if err == nil {
		err = path.AppendImage(pulled)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []imageset.Operator{{Catalog: "oci://" + dir}, {Catalog: "oci://" + dir, TargetCatalog: "olm/mine", TargetTag: "v7"}} {
		o.Packages = []imageset.Package{{Name: "lvms"}}
		p, err := Build(t.Context(), &imageset.Set{Content: imageset.Content{Operators: []imageset.Operator{o}}}, s.client, Options{Blobs: t.TempDir()})
		if err != nil || len(p.Failures) != 0 || len(p.Images) != 3 {
			t.Fatalf("%+v %v", p, err)
		}
		made := p.Images[slices.IndexFunc(p.Images, func(i Image) bool { return i.Role == Catalog })]
		if at := made.Repository + ":" + made.Tag; at != "my-catalog:latest" && at != "olm/mine:v7" || !made.FromDirectory() {
			t.Errorf("%+v", made)
		}
	}
}

func mustParse(t *testing.T, text string) remote.Repository {
	t.Helper()
	ref, err := remote.ParseReference(text)
	if err != nil {
		t.Fatal(err)
	}
	return ref.Repository
}
