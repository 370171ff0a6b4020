package process

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/slipway-io/slipway/services/controlplane"
)

func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	versions := 0
	for _, entry := range entries {
		if entry.IsDir() {
			versions++
			continue
		}
		if entry.Name() == currentLink {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[entry.Name()] = string(data)
	}
	if versions != 1 {
		t.Errorf("%d versions are kept", versions)
	}
	return out
}

func TestWriteMount(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mounts", "etcd", "server")
	var last string
	for _, step := range []struct {
		desc   string
		data   map[string][]byte
		same   bool
		damage func()
	}{
		{"first", map[string][]byte{"tls.crt": []byte("a"), "tls.key": []byte("b")}, false, nil},
		{"again", map[string][]byte{"tls.crt": []byte("a"), "tls.key": []byte("b")}, true, nil},
		{"cut off by a power failure", map[string][]byte{"tls.crt": []byte("a"), "tls.key": []byte("b")}, true, func() { os.Truncate(filepath.Join(dir, "tls.crt"), 0) }},
		{"left over from a crash", map[string][]byte{"tls.crt": []byte("c"), "tls.key": []byte("b")}, false, func() { os.Symlink("nowhere", filepath.Join(dir, "..new-..data")) }},
		{"other keys", map[string][]byte{"ca.crt": []byte("d")}, false, nil},
		{"empty", map[string][]byte{}, false, nil},
	} {
		if step.damage != nil {
			step.damage()
		}
		digest, err := writeMount(dir, step.data)
		if err != nil {
			t.Fatalf("%s: %v", step.desc, err)
		}
		if (digest == last) != step.same {
			t.Errorf("%s: digest %s after %s", step.desc, digest, last)
		}
		last = digest
		want := map[string]string{}
		for key, value := range step.data {
			want[key] = string(value)
		}
		if got := files(t, dir); !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", step.desc, got, want)
		}
	}
}

func TestWriteMountModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "m")
	if _, err := writeMount(dir, map[string][]byte{"key": []byte("secret")}); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, currentLink): 0o700, filepath.Join(dir, "key"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}

func TestWriteMountRefusesPaths(t *testing.T) {
	for _, key := range []string{"../x", "a/b", "..", ".", "..data", ""} {
		if _, err := writeMount(filepath.Join(t.TempDir(), "m"), map[string][]byte{key: nil}); err == nil {
			t.Errorf("key %q was taken", key)
		}
	}
}

func TestContent(t *testing.T) {
	cp := controlplane.ControlPlane{
		Secrets:    map[string]*corev1.Secret{"s": {Data: map[string][]byte{"a": []byte("1"), "b": []byte("2")}}},
		ConfigMaps: map[string]*corev1.ConfigMap{"c": {Data: map[string]string{"x": "3"}}},
	}
	for _, test := range []struct {
		mount controlplane.Mount
		want  []string
		fails bool
	}{
		{mount: controlplane.Mount{Secret: "s"}, want: []string{"a", "b"}},
		{mount: controlplane.Mount{Secret: "s", Keys: []string{"b"}}, want: []string{"b"}},
		{mount: controlplane.Mount{ConfigMap: "c"}, want: []string{"x"}},
		{mount: controlplane.Mount{Secret: "none"}, fails: true},
		{mount: controlplane.Mount{ConfigMap: "none"}, fails: true},
		{mount: controlplane.Mount{Secret: "s", Keys: []string{"none"}}, fails: true},
	} {
		got, err := content(cp, test.mount)
		if (err != nil) != test.fails || !slices.Equal(slices.Sorted(maps.Keys(got)), test.want) {
			t.Errorf("%+v: %v, %v", test.mount, got, err)
		}
	}
}
