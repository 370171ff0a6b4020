package pack

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func fakeRelease(t *testing.T, source string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	l, err := New(dir)
	if err != nil {
		t.Fatal(err)
	}
	image, err := l.Add(Image{
		Name:       "etcd",
		Files:      []File{{Path: "usr/bin/etcd", Mode: 0o755, Source: source}, {Path: "usr/bin/alias", Link: "etcd"}, {Path: "etc/x", Mode: 0o600, Data: []byte("x")}},
		Entrypoint: []string{"/usr/bin/etcd"},
	}, "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.AddRelease("1.2.3", []Component{{Name: "etcd", Version: "3.0.0", Digest: image.Digest}}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		files[strings.TrimPrefix(path, dir)] = string(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestSameInputsGiveTheSameBytes(t *testing.T) {
	content := strings.Repeat("binary ", 100000)
	var trees []map[string]string
	for _, mode := range []os.FileMode{0o700, 0o644} { // the source's own mode and times do not matter
		source := filepath.Join(t.TempDir(), "bin")
		if err := os.WriteFile(source, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		trees = append(trees, tree(t, fakeRelease(t, source)))
	}
	if diff := cmp.Diff(trees[0], trees[1]); diff != "" {
		t.Errorf("two layouts of the same inputs differ:\n%s", diff)
	}
	if len(trees[0]) != 8 { // index, oci-layout, and layer, config, manifest of two images
		t.Errorf("layout has %d files, want 8", len(trees[0]))
	}
}

func TestLayoutIsValid(t *testing.T) {
	source := filepath.Join(t.TempDir(), "bin")
	if err := os.WriteFile(source, []byte("binary"), 0o600); err != nil {
		t.Fatal(err)
	}
	index, err := layout.ImageIndexFromPath(fakeRelease(t, source))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
}

func TestBadFilesAreRefused(t *testing.T) {
	for name, files := range map[string][]File{
		"escape":          {{Path: "../x"}},
		"absolute":        {{Path: "/x"}},
		"twice":           {{Path: "x"}, {Path: "x"}},
		"file and folder": {{Path: "x"}, {Path: "x/y"}},
		"no source":       {{Path: "x", Source: "/nonexistent/file"}},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := New(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.Add(Image{Name: "bad", Files: files}, "1"); err == nil {
				t.Error("packed without an error")
			}
		})
	}
}
