package plan

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	ggcr "github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/bcrypt"

	"github.com/slipway-io/slipway/mirror/imageset"
	"github.com/slipway-io/slipway/mirror/registry"
	"github.com/slipway-io/slipway/mirror/remote"
	"github.com/slipway-io/slipway/mirror/signature"
)

// source is a registry with a release in it.
type source struct {
	host   string
	client *remote.Client
}

var pusher = ggcr.WithAuth(&authn.Basic{Username: "pusher", Password: "pusher"})

func newSource(t testing.TB) *source {
	t.Helper()
	store, err := registry.Open(registry.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte("pusher"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	store.Allow(registry.Access{Anonymous: true, Users: []registry.User{{Name: "pusher", Hash: hash, Push: []string{"*"}}}})
	web := httptest.NewServer(store.Handler())
	t.Cleanup(func() {
		web.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	client, err := remote.New(remote.Config{Insecure: true, Attempts: 2, Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &source{host: strings.TrimPrefix(web.URL, "http://"), client: client}
}

func (s *source) push(t testing.TB, path string, image v1.Image) string {
	t.Helper()
	ref, err := name.ParseReference(s.host + "/" + path)
	if err == nil {
		err = ggcr.Write(ref, image, pusher)
	}
	if err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return s.host + "/" + strings.Split(path, ":")[0] + "@" + digest.String()
}

func files(t testing.TB, content map[string]string) v1.Layer {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for file, text := range content {
		err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: file, Size: int64(len(text)), Mode: 0o644})
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(out.Bytes())), nil }, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		t.Fatal(err)
	}
	return layer
}

func imageOf(t testing.TB, layers ...v1.Layer) v1.Image {
	t.Helper()
	made, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), layers...)
	if err != nil {
		t.Fatal(err)
	}
	file, err := made.ConfigFile()
	if err == nil {
		file = file.DeepCopy()
		file.OS, file.Architecture = "linux", "amd64"
		made, err = mutate.ConfigFile(made, file)
	}
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func anyLayer(t testing.TB) v1.Layer {
	t.Helper()
	layer, err := random.Layer(1000, types.OCILayer)
	if err != nil {
		t.Fatal(err)
	}
	return layer
}

// release pushes a release of two components and returns its reference by digest.
func (s *source) release(t testing.TB, version string) string {
	t.Helper()
	tags := []map[string]any{}
	for _, component := range []string{"etcd", "pod"} {
		ref := s.push(t, "art/dev:"+version+component, imageOf(t, anyLayer(t)))
		tags = append(tags, map[string]any{"name": component, "from": map[string]string{"kind": "DockerImage", "name": ref}})
	}
	references, err := json.Marshal(map[string]any{"kind": "ImageStream", "apiVersion": "image.openshift.io/v1", "metadata": map[string]string{"name": version}, "spec": map[string]any{"tags": tags}})
	if err != nil {
		t.Fatal(err)
	}
	stream := `{"architectures":{"x86_64":{"images":{"kubevirt":{"digest-ref":"` + tags[0]["from"].(map[string]string)["name"] + `"}}}}}`
	return s.push(t, "ocp/release:"+version, imageOf(t, anyLayer(t), files(t, map[string]string{
		"release-manifests/image-references": string(references),
		"release-manifests/release-metadata": `{"kind":"cincinnati-metadata-v0","version":"` + version + `"}`,
		bootImages:                           "data:\n  stream: '" + stream + "'\n",
	})))
}

func TestReleasesByChannel(t *testing.T) {
	s := newSource(t)
	first, second := s.release(t, "4.18.1"), s.release(t, "4.18.2")
	dir := t.TempDir()
	graphFile := filepath.Join(dir, "graph.json")
	raw := fmt.Sprintf(`{"nodes":[{"version":"4.18.1","payload":%q},{"version":"4.18.2","payload":%q}],"edges":[[0,1]]}`, first, second)
	if err := os.WriteFile(graphFile, []byte(raw), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := openpgp.NewEntity("release", "", "r@example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	var public bytes.Buffer
	if err := key.Serialize(&public); err != nil {
		t.Fatal(err)
	}
	keys, err := signature.ReadKeys(public.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	digest := second[strings.Index(second, "@")+1:]
	sign(t, key, filepath.Join(dir, "sigs"), digest)
	set := &imageset.Set{Content: imageset.Content{Platform: imageset.Platform{KubeVirtContainer: true, Channels: []imageset.Channel{{Name: "stable-4.18", MinVersion: "4.18.1"}}}}}
	p, err := Build(t.Context(), set, s.client, Options{Release: ReleaseOptions{Graph: graphFile, Signatures: filepath.Join(dir, "sigs"), Keys: keys}})
	if err != nil {
		t.Fatal(err)
	}
	// The first release is not signed: it is a failure, and the second is there.
	if len(p.Failures) != 1 || !strings.Contains(p.Failures[0].Error, "not verified") || p.Failures[0].Category != Release {
		t.Errorf("failures: %+v", p.Failures)
	}
	var got []string
	for _, image := range p.Images {
		got = append(got, image.Repository+":"+image.Tag)
		if image.Role == Payload && (len(image.Needs) != 3 || image.Digest != digest) {
			t.Errorf("payload: %+v", image)
		}
	}
	want := "openshift/release:4.18.2-x86_64-etcd openshift/release:4.18.2-x86_64-kubevirt openshift/release:4.18.2-x86_64-pod openshift/release-images:4.18.2-x86_64"
	if strings.Join(got, " ") != want {
		t.Errorf("planned %v, want %s", got, want)
	}
	if len(p.Signatures[digest]) != 1 || len(p.Releases) != 1 {
		t.Errorf("signatures %v, releases %v", p.Signatures, p.Releases)
	}
	again, err := Build(t.Context(), set, s.client, Options{Previous: p, Release: ReleaseOptions{Graph: graphFile, Signatures: filepath.Join(dir, "none"), Keys: keys}})
	if err != nil || len(again.Images) != 4 {
		t.Errorf("again, with signatures that are known: %v %v", again, err)
	}
}

func sign(t *testing.T, key *openpgp.Entity, store, digest string) {
	t.Helper()
	folder := filepath.Join(store, strings.Replace(digest, ":", "=", 1))
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := openpgp.Sign(&out, key, nil, nil)
	if err == nil {
		_, err = fmt.Fprintf(w, `{"critical":{"type":"atomic container signature","image":{"docker-manifest-digest":%q},"identity":{"docker-reference":"x/y:z"}}}`, digest)
	}
	if err == nil {
		err = errors.Join(w.Close(), os.WriteFile(filepath.Join(folder, "signature-1"), out.Bytes(), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestReleaseWithoutComponentFails(t *testing.T) {
	s := newSource(t)
	ref := s.release(t, "4.18.1")
	set := &imageset.Set{Content: imageset.Content{Platform: imageset.Platform{Release: ref}, BlockedImages: nil}}
	p, err := Build(t.Context(), set, s.client, Options{Release: ReleaseOptions{IgnoreSignatures: true}})
	if err != nil || len(p.Images) != 3 {
		t.Fatalf("%+v %v", p, err)
	}
	for _, image := range p.Images {
		if strings.HasSuffix(image.Tag, "-etcd") {
			parsed, err := remote.ParseReference(image.Source)
			if err != nil {
				t.Fatal(err)
			}
			target, err := name.ParseReference(parsed.Repository.String() + "@" + image.Digest)
			if err == nil {
				err = ggcr.Delete(target, pusher)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	p, err = Build(t.Context(), set, s.client, Options{Release: ReleaseOptions{IgnoreSignatures: true}})
	if err != nil || len(p.Failures) != 2 || len(p.Images) != 1 {
		t.Errorf("%+v %v", p, err)
	}
}

func TestReleasesThatCannotBeHonoured(t *testing.T) {
	s := newSource(t)
	for want, platform := range map[string]imageset.Platform{
		"mirror.platform.channels: channels want an update graph": {Channels: []imageset.Channel{{Name: "a"}}},
		"mirror.platform.graph: ":                                 {Release: "a/b:c", Graph: true},
		"mirror.platform: releases are checked against keys":      {Release: "a/b:c"},
	} {
		_, err := Build(t.Context(), &imageset.Set{Content: imageset.Content{Platform: platform}}, s.client, Options{})
		if !errors.Is(err, imageset.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestCollidingPlacesAndHosts(t *testing.T) {
	a, b := newSource(t), newSource(t)
	a.push(t, "team/app:v1", imageOf(t, anyLayer(t)))
	b.push(t, "team/app:v1", imageOf(t, anyLayer(t)))
	set := &imageset.Set{Content: imageset.Content{AdditionalImages: []imageset.Image{{Name: a.host + "/team/app:v1"}, {Name: b.host + "/team/app:v1"}}}}
	p, err := Build(t.Context(), set, a.client, Options{})
	if err != nil || len(p.Images) != 1 || len(p.Failures) != 1 || !strings.Contains(p.Failures[0].Error, "source's host in the path") {
		t.Errorf("%+v %v", p, err)
	}
	p, err = Build(t.Context(), set, a.client, Options{Placing: Placing{SourceHost: true}})
	if err != nil || len(p.Images) != 2 || len(p.Failures) != 0 {
		t.Errorf("with hosts: %+v %v", p, err)
	}
}

func TestPlacing(t *testing.T) {
	for _, c := range []struct {
		p    Placing
		in   remote.Repository
		want string
	}{
		{Placing{}, remote.Repository{Host: "quay.io", Path: "a/b/c"}, "a/b/c"},
		{Placing{MaxNested: 2}, remote.Repository{Host: "quay.io", Path: "a/b/c"}, "a/b-c"},
		{Placing{MaxNested: 3, Namespace: "x/y"}, remote.Repository{Host: "quay.io", Path: "a/b/c"}, "a-b-c"},
		{Placing{SourceHost: true}, remote.Repository{Host: "[fd07::2]:5000", Path: "a"}, "fd07--2-5000/a"},
	} {
		if got := c.p.path(c.in); got != c.want {
			t.Errorf("%+v of %v: %s, want %s", c.p, c.in, got, c.want)
		}
	}
}

func FuzzPlan(f *testing.F) {
	s := New()
	data := []byte(`{"schemaVersion":2,"config":{"digest":"sha256:` + strings.Repeat("a", 64) + `","size":1},"layers":[]}`)
	s.Manifests[remote.Digest(data)] = Manifest{MediaType: remote.OCIManifest, Data: data}
	s.Blobs["sha256:"+strings.Repeat("a", 64)] = Blob{Size: 1}
	s.Images = []Image{{Origin: "a/b", Repository: "a/b", Tag: "c", Digest: remote.Digest(data), Manifests: []string{remote.Digest(data)}}}
	raw, err := s.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"version":1,"images":[{"repository":"../x","digest":"sha256:1","manifests":["sha256:1"]}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := Decode(raw)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("%v is not ErrInvalid", err)
			}
			return
		}
		for _, image := range p.Images {
			if _, err := p.BlobsOf(image); err != nil || strings.Contains(image.Repository, "..") {
				t.Fatalf("%+v passed: %v", image, err)
			}
		}
		if _, err := p.Totals(); err != nil {
			t.Fatal(err)
		}
	})
}
