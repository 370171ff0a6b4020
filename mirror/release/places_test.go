package release

import (
	"context"
	"errors"
	"testing"
)

// mirrored moves the fixture's release to where a mirror run puts it, out of the store that knows it by its own name.
func (f *fixture) mirrored(t *testing.T) *Release {
	t.Helper()
	found := f.run(t)[0]
	for from, to := range map[string][2]string{"release/etcd": {"m/openshift/release", testVersion + "-x86_64-etcd"}, "release/release": {"m/openshift/release-images", testVersion + "-x86_64"}} {
		manifest, err := f.registry.Manifest(from, testVersion)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.registry.PutManifest(to[0], manifest.MediaType, manifest.Raw, to[1]); err != nil {
			t.Fatal(err)
		}
		if err := f.registry.DeleteManifest(from, manifest.Digest); err != nil {
			t.Fatal(err)
		}
	}
	return &found
}

func TestMirroredRelease(t *testing.T) {
	f := newFixture(t)
	if _, _, err := f.store.Newest(t.Context()); !errors.Is(err, ErrNotFound) {
		t.Errorf("newest of none: %v", err)
	}
	want := f.mirrored(t)
	f.store.Mirrors = func(_ context.Context, view, ref string) ([]string, bool, error) {
		switch view {
		case "set":
			return []string{"m/none", "m/openshift/release-images"}, true, nil
		case "never":
			return nil, false, nil
		}
		return nil, true, nil
	}
	for _, c := range []struct {
		view, ref string
		found     bool
	}{
		{"set", "registry.slipway.io/release/release:" + testVersion, true},
		{"set", "quay.io/openshift-release-dev/ocp-release:" + testVersion + "-x86_64", true},
		{"", "registry.site.example:5000/m/openshift/release-images:" + testVersion + "-x86_64", true},
		{"", "[fd07::2]:5000/m/openshift/release-images:" + testVersion + "-x86_64", true},
		{"", "registry.slipway.io/release/release@" + want.Digest, true}, // a digest says what it is, wherever it lies
		{"", "registry.slipway.io/release/release:" + testVersion, false},
		{"never", "registry.site.example:5000/m/openshift/release-images:" + testVersion, false},
	} {
		got, err := f.store.Resolve(t.Context(), c.view, c.ref)
		if c.found && (err != nil || got.Digest != want.Digest) || !c.found && !errors.Is(err, ErrNotFound) {
			t.Errorf("%s by %q: %+v, %v", c.ref, c.view, got, err)
		}
	}
	repository, layers, err := f.store.Content(t.Context(), want.Components["etcd"])
	if err != nil || repository != "m/openshift/release" || len(layers) != 1 {
		t.Errorf("content is in %s: %v, %v", repository, layers, err)
	}
	if _, err := f.store.Unpack(t.Context(), want.Components["etcd"]); err != nil {
		t.Error(err)
	}
	image, newest, err := f.store.Newest(t.Context())
	if err != nil || newest.Digest != want.Digest || image != "m/openshift/release-images:"+testVersion+"-x86_64" {
		t.Errorf("newest %s %+v, %v", image, newest, err)
	}
}
