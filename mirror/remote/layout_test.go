package remote

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	ggcr "github.com/google/go-containerregistry/pkg/v1/random"
)

func TestSources(t *testing.T) {
	sum := "sha256:" + strings.Repeat("a", 64)
	for text, want := range map[string]Reference{
		"oci:///srv/catalog":     {Repository: Repository{LayoutHost, "/srv/catalog"}},
		"oci://here/catalog/":    {Repository: Repository{LayoutHost, "here/catalog"}},
		"oci:///srv/images:one":  {Repository: Repository{LayoutHost, "/srv/images"}, Tag: "one"},
		"oci:///srv/i:m@" + sum:  {Repository: Repository{LayoutHost, "/srv/i"}, Tag: "m", Digest: sum},
		"reg.example.com/a/b:v1": {Repository: Repository{"reg.example.com", "a/b"}, Tag: "v1"},
	} {
		got, err := ParseSource(text)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
		if again, err := ParseSource(got.Repository.String()); err != nil || again.Repository != got.Repository {
			t.Errorf("%s: read again %+v, %v", got.Repository, again, err)
		}
	}
	for _, text := range []string{"oci://", "oci:///srv@sha256:x", "oci:///a\x00b"} {
		if ref, err := ParseSource(text); !errors.Is(err, ErrReference) {
			t.Errorf("%s: %+v, %v", text, ref, err)
		}
	}
	if ref, err := ParseReference("oci:///etc/ssl"); err == nil {
		t.Errorf("what others write leads to files of this machine: %+v", ref)
	}
}

// laidOut makes a layout with an image of the name one.
func laidOut(t *testing.T) (layout.Path, v1.Image) {
	t.Helper()
	path, err := layout.Write(t.TempDir(), empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	image, err := ggcr.Image(1000, 2)
	if err == nil {
		err = path.AppendImage(image, layout.WithAnnotations(map[string]string{refName: "one"}))
	}
	if err != nil {
		t.Fatal(err)
	}
	return path, image
}

func TestLayoutNames(t *testing.T) {
	path, image := laidOut(t)
	want, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := image.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	c, repo := client(t, Config{}), Repository{LayoutHost, string(path)}
	for _, identifier := range []string{"", "one", want.String()} {
		m, err := c.Manifest(t.Context(), repo, identifier)
		if err != nil || m.Digest != want.String() || !bytes.Equal(m.Data, raw) || m.MediaType == "" {
			t.Errorf("%q: %+v, %v", identifier, m, err)
		}
	}
	if _, err := c.Resolve(t.Context(), repo, "two"); !errors.Is(err, ErrNotFound) {
		t.Errorf("two: %v", err)
	}
	if tags, err := c.Tags(t.Context(), repo); err != nil || len(tags) != 1 || tags[0] != "one" {
		t.Errorf("tags %v, %v", tags, err)
	}
	second, err := ggcr.Image(10, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := path.AppendImage(second); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Resolve(t.Context(), repo, ""); err == nil || !strings.Contains(err.Error(), `"one"`) {
		t.Errorf("which of two: %v", err)
	}
}

func TestLayoutBlobs(t *testing.T) {
	path, image := laidOut(t)
	c, repo := client(t, Config{}), Repository{LayoutHost, string(path)}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	size, err := layers[0].Size()
	if err != nil {
		t.Fatal(err)
	}
	blob := Descriptor{Digest: digest.String(), Size: size}
	whole := readBlob(t, c, repo, blob, 0)
	if rest := readBlob(t, c, repo, blob, 10); !bytes.Equal(rest, whole[10:]) || int64(len(whole)) != size {
		t.Errorf("%d bytes, from 10 on %d", len(whole), len(rest))
	}
	whole[5] ^= 1
	if err := os.WriteFile(filepath.Join(string(path), blobFile(blob.Digest)), whole, 0o600); err != nil {
		t.Fatal(err)
	}
	body, err := c.Open(t.Context(), repo, blob, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if _, err := io.Copy(io.Discard, body); !errors.Is(err, ErrDigest) {
		t.Errorf("wrong content: %v", err)
	}
}

func readBlob(t *testing.T, c *Client, repo Repository, blob Descriptor, offset int64) []byte {
	t.Helper()
	body, err := c.Open(t.Context(), repo, blob, offset)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	raw, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestLayoutStaysInside: a link does not lead out of the directory.
func TestLayoutStaysInside(t *testing.T) {
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "secret")
	for file, text := range map[string]string{filepath.Join(dir, "oci-layout"): `{"imageLayoutVersion":"1.0.0"}`, outside: `{"manifests":[]}`} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(dir, "index.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := client(t, Config{}).Tags(t.Context(), Repository{LayoutHost, dir}); err == nil {
		t.Error("a link out of the directory is followed")
	}
}

func FuzzLayout(f *testing.F) {
	f.Add([]byte(`{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:`+strings.Repeat("a", 64)+`","size":7,"annotations":{"org.opencontainers.image.ref.name":"one"}}]}`), "one")
	f.Add([]byte(`{"manifests":[{"digest":"../../etc/passwd","size":-1}]}`), "")
	f.Fuzz(func(t *testing.T, raw []byte, name string) {
		index, err := decodeLayout(raw)
		if err != nil {
			return
		}
		l := &layoutDir{index: index}
		if digest, err := l.find(name); err == nil && !ValidDigest(digest) {
			t.Fatalf("%q means %q", name, digest)
		}
		for _, tag := range l.tags() {
			if !tagPattern.MatchString(tag) {
				t.Fatalf("tag %q", tag)
			}
		}
	})
}
