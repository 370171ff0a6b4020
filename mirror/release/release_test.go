package release

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/slipway-io/slipway/assets/release/pack"
	"github.com/slipway-io/slipway/mirror/registry"
)

const testVersion = "1.2.3"

type fixture struct {
	layout   string
	registry *registry.Registry
	regDir   string
	store    *Store
	log      *strings.Builder
	logger   *slog.Logger
	etcd     v1.Descriptor
}

// newFixture packs a small release: etcd with a program and a link.
func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{layout: filepath.Join(t.TempDir(), "layout"), regDir: filepath.Join(t.TempDir(), "registry"), log: &strings.Builder{}}
	f.logger = slog.New(slog.NewTextHandler(f.log, nil))
	l, err := pack.New(f.layout)
	if err != nil {
		t.Fatal(err)
	}
	f.etcd, err = l.Add(pack.Image{Name: "etcd", Files: []pack.File{
		{Path: "usr/bin/etcd", Mode: 0o755, Data: []byte(strings.Repeat("program ", 50_000))},
		{Path: "usr/bin/alias", Link: "etcd"},
	}}, testVersion)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.AddRelease(testVersion, []pack.Component{{Name: "etcd", Version: "3", Digest: f.etcd.Digest}}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	f.registry, err = registry.Open(registry.Config{Dir: f.regDir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.registry.Close() })
	f.store = New(f.registry, filepath.Join(t.TempDir(), "content"), f.logger)
	return f
}

func (f *fixture) run(t *testing.T) []Release {
	t.Helper()
	releases, err := Import(t.Context(), f.layout, f.registry, f.logger)
	if err != nil {
		t.Fatal(err)
	}
	return releases
}

// layer is the file name of etcd's only layer, in the layout and in the registry alike.
func (f *fixture) layer(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(f.layout, "blobs", "sha256", f.etcd.Digest.Hex))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := parseManifest(raw)
	if err != nil {
		t.Fatal(err)
	}
	return manifest.Layers[0].Digest.Hex
}

func TestImportResolveUnpack(t *testing.T) {
	f := newFixture(t)
	releases := f.run(t)
	if len(releases) != 1 || releases[0].Version != testVersion {
		t.Fatalf("imported %+v", releases)
	}
	for _, ref := range []string{
		"registry.slipway.io/release/release:1.2.3",
		"registry.site.example:5000/release/release:1.2.3",
		"[fd00::1]:5000/release/release:1.2.3",
		"registry.site.example:5000/release/release@" + releases[0].Digest,
	} {
		got, err := f.store.Resolve(t.Context(), "", ref)
		if err != nil {
			t.Errorf("resolve %s: %v", ref, err)
			continue
		}
		if got.Digest != releases[0].Digest || got.Components["etcd"] != "registry.slipway.io/release/etcd@"+f.etcd.Digest.String() {
			t.Errorf("resolve %s: %+v", ref, got)
		}
	}
	image, err := releases[0].Image("etcd")
	if err != nil {
		t.Fatal(err)
	}
	_, layers, err := f.store.Content(t.Context(), image)
	if err != nil || len(layers) != 1 || layers[0] != "sha256:"+f.layer(t) {
		t.Errorf("layers %v, %v", layers, err)
	}
	dir, err := f.store.Unpack(t.Context(), image)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(f.store.dir, f.etcd.Digest.Hex); dir != want {
		t.Errorf("unpacked into %s, want %s", dir, want)
	}
	info, err := os.Stat(filepath.Join(dir, "usr/bin/alias")) // through the link
	if err != nil || info.Size() != 400_000 || info.Mode().Perm() != 0o755 {
		t.Errorf("program: %v, %v", info, err)
	}
}

func TestSecondImportDoesNothing(t *testing.T) {
	f := newFixture(t)
	f.run(t)
	if n := strings.Count(f.log.String(), "image imported"); n != 2 {
		t.Fatalf("first import brought %d images, want 2:\n%s", n, f.log)
	}
	f.log.Reset()
	if got := f.run(t); len(got) != 1 {
		t.Errorf("second import returns %+v", got)
	}
	if f.log.Len() != 0 {
		t.Errorf("second import did something:\n%s", f.log)
	}
}

func TestTamperedLayoutIsRefused(t *testing.T) {
	f := newFixture(t)
	for _, blob := range []string{f.layer(t), f.etcd.Digest.Hex} {
		path := filepath.Join(f.layout, "blobs", "sha256", blob)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		tamper(t, path)
		_, err = Import(t.Context(), f.layout, f.registry, f.logger)
		if !errors.Is(err, ErrDigest) || !strings.Contains(err.Error(), "sha256:"+blob) {
			t.Errorf("import: %v, want ErrDigest naming %s", err, blob)
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.store.Resolve(t.Context(), "", "registry.slipway.io/release/release:1.2.3"); !errors.Is(err, ErrNotFound) {
		t.Errorf("resolve after refused imports: %v", err)
	}
}

func TestDamagedRegistryIsNoticedAndRepaired(t *testing.T) {
	f := newFixture(t)
	releases := f.run(t)
	for _, blob := range []string{f.layer(t), f.etcd.Digest.Hex} {
		tamper(t, filepath.Join(f.regDir, "blobs/sha256", blob[:2], blob))
		_, err := f.store.Unpack(t.Context(), releases[0].Components["etcd"])
		if !errors.Is(err, ErrDigest) || !strings.Contains(err.Error(), "sha256:"+blob) {
			t.Errorf("unpack: %v, want ErrDigest naming %s", err, blob)
		}
		f.run(t)
	}
	if left, err := os.ReadDir(f.store.dir); err != nil || len(left) != 0 {
		t.Errorf("refused content was left behind: %v %v", left, err)
	}
	if _, err := f.store.Unpack(t.Context(), releases[0].Components["etcd"]); err != nil {
		t.Errorf("unpack after repair: %v", err)
	}
}

// tamper changes the last byte: compression and archive still read well.
func tamper(t *testing.T, path string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)-1] ^= 1
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestMissingReleaseNamesWhatThereIs(t *testing.T) {
	f := newFixture(t)
	f.run(t)
	for ref, want := range map[string]string{
		"registry.slipway.io/release/release:9.9.9": "1.2.3",
		"quay.io/openshift/release:4.19":            "release/release with 1.2.3",
	} {
		_, err := f.store.Resolve(t.Context(), "", ref)
		if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), want) {
			t.Errorf("resolve %s: %v, want ErrNotFound with %q", ref, err, want)
		}
	}
	for _, ref := range []string{"registry.slipway.io/release/etcd:1.2.3", "Not A Reference"} {
		if _, err := f.store.Resolve(t.Context(), "", ref); !errors.Is(err, ErrInvalid) {
			t.Errorf("resolve %s: %v, want ErrInvalid", ref, err)
		}
	}
	if _, err := f.store.Unpack(t.Context(), "registry.slipway.io/release/etcd:1.2.3"); !errors.Is(err, ErrInvalid) {
		t.Errorf("unpack by tag: %v, want ErrInvalid", err)
	}
}

func TestReleaseWithoutItsComponentIsRefused(t *testing.T) {
	f := newFixture(t)
	dir := filepath.Join(t.TempDir(), "layout")
	l, err := pack.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	missing := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("a", 64)}
	if _, err := l.AddRelease(testVersion, []pack.Component{{Name: "etcd", Digest: missing}}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = Import(t.Context(), dir, f.registry, f.logger)
	if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), missing.Hex) {
		t.Errorf("import: %v, want ErrNotFound naming the digest", err)
	}
	if _, err := Import(t.Context(), t.TempDir(), f.registry, f.logger); err == nil {
		t.Error("an empty folder was imported")
	}
}

func TestUnpackOnceForAll(t *testing.T) {
	f := newFixture(t)
	image := f.run(t)[0].Components["etcd"]
	leftover := filepath.Join(f.store.dir, ".unpack-"+f.etcd.Digest.Hex, "half")
	if err := os.MkdirAll(leftover, 0o700); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if _, err := f.store.Unpack(t.Context(), image); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := strings.Count(f.log.String(), "image unpacked"); n != 1 {
		t.Errorf("unpacked %d times, want 1", n)
	}
	if entries, err := os.ReadDir(f.store.dir); err != nil || len(entries) != 1 {
		t.Errorf("content folder has %v, %v; want the image alone", entries, err)
	}
}
