package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-io/slipway/mirror/archive"
)

// content of a store: every file with its digest.
func (r *tlsRegistry) content(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(r.dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		raw, err := os.ReadFile(path)
		fmt.Fprintf(&all, "%s %x\n", strings.TrimPrefix(path, r.dir), sha256.Sum256(raw))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// replace edits a file of the archive.
func replace(t *testing.T, dir, file, old, with string) {
	t.Helper()
	path := filepath.Join(dir, file)
	raw, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(raw, []byte(old)) {
		t.Fatalf("%s has no %q: %v", file, old, err)
	}
	raw = bytes.ReplaceAll(raw, []byte(old), []byte(with))
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

// replaceByte is what a bad stick does.
func replaceByte(t *testing.T, path string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err == nil {
		raw[len(raw)-1] ^= 1
		err = os.WriteFile(path, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestHostileArchives: an archive that means harm is refused as a whole, and the registry's store has the same files after as before.
func TestHostileArchives(t *testing.T) {
	g := newGap(t, "127.0.0.1")
	g.source.push(t, "team/one:v1", 100_000)
	g.source.push(t, "team/two:v1", 200_000)
	g.images(t, "ImageSetConfiguration", "mirror", "team/one:v1", "team/two:v1")
	segment := func(dir string) string {
		found, err := filepath.Glob(filepath.Join(dir, "*.segment"))
		if err != nil || len(found) != 1 {
			t.Fatal(found, err)
		}
		return found[0]
	}
	for name, harm := range map[string]func(dir string) error{
		"path traversal": func(dir string) error {
			old := filepath.Base(segment(dir))
			replace(t, dir, archive.IndexName, old, "../"+old)
			return os.Rename(filepath.Join(dir, old), filepath.Join(dir, "..", old))
		},
		"wrong digest": func(dir string) error {
			replaceByte(t, segment(dir))
			return nil
		},
		"oversized index": func(dir string) error { return os.Truncate(filepath.Join(dir, archive.IndexName), 1<<30) },
		// Nothing of an archive is unpacked; what could swell is a segment that claims more than it is, or is a hole in the disk.
		"bomb": func(dir string) error { return os.Truncate(segment(dir), 1<<40) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(g.dir, strings.ReplaceAll(name, " ", "-"), "usb")
			g.must(t, "-c", filepath.Join(g.dir, "mirror.yaml"), "file://"+dir)
			if err := harm(dir); err != nil {
				t.Fatal(err)
			}
			before := g.target.content(t)
			out, err := g.mirror(t, "--from", "file://"+dir, "docker://"+g.target.host+"/site")
			if err == nil {
				t.Errorf("it was taken:\n%s", out)
			}
			if after := g.target.content(t); after != before {
				t.Errorf("the store has changed:\n%s\nbefore:\n%s", after, before)
			}
		})
	}
}
