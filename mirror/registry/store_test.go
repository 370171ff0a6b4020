package registry

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBlobWriterGoesOn(t *testing.T) {
	s := newSite(t, "127.0.0.1", pushers(t))
	content := strings.Repeat("0123456789", 100_000)
	for _, algorithm := range []string{sha256Name, sha512Name} {
		d := digestOf(algorithm, []byte(content))
		w, err := s.WriteBlob("a/b", d.String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.WriteBlob("c", d.String()); !errors.Is(err, ErrBusy) {
			t.Errorf("second writer: %v, want ErrBusy", err)
		}
		if _, err := io.WriteString(w, content[:400_000]); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		s.reopen(t)
		if w, err = s.WriteBlob("a/b", d.String()); err != nil || w.Offset() != 400_000 {
			t.Fatalf("after a restart: offset %d, %v", w.Offset(), err)
		}
		if _, err := io.WriteString(w, content[400_000:]); err != nil {
			t.Fatal(err)
		}
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
		f, size, err := s.OpenBlob(d.String())
		if err != nil || size != int64(len(content)) {
			t.Fatalf("open: %d, %v", size, err)
		}
		raw, err := io.ReadAll(f)
		f.Close()
		if err != nil || string(raw) != content {
			t.Errorf("read %d bytes, %v", len(raw), err)
		}
	}
}

func TestWrongContentIsDropped(t *testing.T) {
	s := newSite(t, "127.0.0.1", pushers(t))
	d := digestOf(sha256Name, []byte("right"))
	for range 2 {
		w, err := s.WriteBlob("a", d.String())
		if err != nil || w.Offset() != 0 {
			t.Fatalf("offset %d, %v", w.Offset(), err)
		}
		if _, err := io.WriteString(w, "wrong"); err != nil {
			t.Fatal(err)
		}
		if err := w.Commit(); !errors.Is(err, ErrDigest) {
			t.Errorf("commit: %v, want ErrDigest", err)
		}
	}
	if _, _, err := s.OpenBlob(d.String()); !errors.Is(err, ErrNotFound) {
		t.Errorf("open: %v, want ErrNotFound", err)
	}
	if left, err := os.ReadDir(filepath.Join(s.dir, uploadsDir)); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestNewContentHealsDamage(t *testing.T) {
	s := newSite(t, "127.0.0.1", pushers(t))
	content := []byte("whole")
	d := s.put(t, "a", content)
	if err := os.WriteFile(filepath.Join(s.dir, blobPath(d)), []byte("whale"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.put(t, "b", content)
	if raw, err := os.ReadFile(filepath.Join(s.dir, blobPath(d))); err != nil || string(raw) != "whole" {
		t.Errorf("reads %q, %v", raw, err)
	}
	raw := manifestOf(d)
	whole, err := s.PutManifest("a", ociManifest, raw, "v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, blobPath(digestOf(sha256Name, raw))), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Manifest("a", "v1"); !errors.Is(err, ErrDigest) {
		t.Errorf("damaged manifest: %v, want ErrDigest", err)
	}
	if again, err := s.PutManifest("a", ociManifest, raw); err != nil || again != whole {
		t.Fatal(err)
	}
	if _, err := s.Manifest("a", "v1"); err != nil {
		t.Errorf("healed manifest: %v", err)
	}
}

func TestHalfAPushIsClearedAway(t *testing.T) {
	s := newSite(t, "127.0.0.1", pushers(t))
	d := s.put(t, "a", []byte("config"))
	raw := manifestOf(d)
	whole, err := s.PutManifest("a", ociManifest, raw, "v1")
	if err != nil {
		t.Fatal(err)
	}
	// What a loss of power in the wrong moment leaves: a link whose content is not there, a lease without a blob, a file half written.
	for _, file := range []string{blobPath(digestOf(sha256Name, raw)), blobPath(d)} {
		if err := os.Remove(filepath.Join(s.dir, file)); err != nil {
			t.Fatal(err)
		}
	}
	half := filepath.Join(s.dir, uploadsDir, temporary+"X")
	if err := os.WriteFile(half, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.reopen(t)
	if _, err := s.Manifest("a", "v1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("manifest without content: %v", err)
	}
	if exists(half) || exists(filepath.Join(s.dir, leasePath("a", d))) {
		t.Error("halves are left")
	}
	if s.put(t, "a", []byte("config")) != d {
		t.Error("another digest")
	}
	if again, err := s.PutManifest("a", ociManifest, raw, "v1"); err != nil || again != whole {
		t.Errorf("push again: %v", err)
	}
}

func TestTagsMoveAndGo(t *testing.T) {
	s := newSite(t, "127.0.0.1", pushers(t))
	one, err := s.PutManifest("a/b", ociManifest, manifestOf(digestOf(sha256Name, []byte("1"))), "v1", "latest")
	if err != nil {
		t.Fatal(err)
	}
	two, err := s.PutManifest("a/b", ociManifest, manifestOf(digestOf(sha256Name, []byte("2"))), "latest")
	if err != nil {
		t.Fatal(err)
	}
	check := func(want string) {
		t.Helper()
		var got []string
		tags, err := s.Tags("a/b")
		if err != nil {
			t.Fatal(err)
		}
		for _, tag := range tags {
			m, err := s.Manifest("a/b", tag)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, tag+"="+map[string]string{one: "one", two: "two"}[m.Digest])
		}
		if fmt.Sprint(got) != want {
			t.Errorf("tags %v, want %s", got, want)
		}
	}
	check("[latest=two v1=one]")
	s.reopen(t)
	check("[latest=two v1=one]")
	if err := s.DeleteManifest("a/b", "latest"); err != nil {
		t.Fatal(err)
	}
	check("[v1=one]")
	if _, err := s.Manifest("a/b", two); err != nil {
		t.Errorf("the manifest went with its tag: %v", err)
	}
	if err := s.DeleteManifest("a/b", one); err != nil {
		t.Fatal(err)
	}
	s.reopen(t)
	check("[]")
	if err := s.DeleteManifest("a/b", one); !errors.Is(err, ErrNotFound) {
		t.Errorf("delete again: %v", err)
	}
}

func TestRefusedManifests(t *testing.T) {
	s := newSite(t, "127.0.0.1", pushers(t))
	config := fmt.Sprintf(`{"mediaType":"x","digest":"sha256:%064d","size":1}`, 1)
	for name, c := range map[string]struct{ media, raw string }{
		"no JSON":            {ociManifest, `{`},
		"schema 1":           {ociManifest, `{"schemaVersion":1,"config":` + config + `}`},
		"unknown media type": {"application/json", `{"schemaVersion":2,"config":` + config + `}`},
		"other media type":   {ociManifest, `{"schemaVersion":2,"mediaType":"` + ociIndex + `","config":` + config + `}`},
		"image and index":    {ociManifest, `{"schemaVersion":2,"config":` + config + `,"manifests":[]}`},
		"index with layers":  {ociIndex, `{"schemaVersion":2,"manifests":[],"layers":[]}`},
		"bad digest":         {ociIndex, `{"schemaVersion":2,"manifests":[{"digest":"sha256:../../x","size":1}]}`},
		"negative size":      {ociIndex, `{"schemaVersion":2,"manifests":[{"digest":"` + digestOf(sha256Name, nil).String() + `","size":-1}]}`},
		"bad subject":        {ociIndex, `{"schemaVersion":2,"manifests":[],"subject":{"digest":"md5:00"}}`},
	} {
		if _, err := s.PutManifest("a", c.media, []byte(c.raw), "v1"); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	if s.Repositories() != nil {
		t.Errorf("repositories %v", s.Repositories())
	}
}

func FuzzManifest(f *testing.F) {
	d := digestOf(sha256Name, []byte("x"))
	f.Add(ociManifest, manifestOf(d, d))
	f.Add(ociIndex, fmt.Appendf(nil, `{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":3,"annotations":{"a":"b"}}],"subject":{"digest":%q}}`, ociManifest, d, d))
	f.Add("", []byte(`{"schemaVersion":2,"mediaType":"`+dockerList+`","manifests":null}`))
	f.Add(dockerManifest+"; charset=utf-8", []byte(`{"schemaVersion":2,"config":{"digest":"sha512:00"}}`))
	f.Fuzz(func(t *testing.T, media string, raw []byte) {
		l, doc, err := parseManifest(media, raw)
		if err != nil {
			return
		}
		for _, text := range l.Blobs {
			if _, err := parseDigest(text); err != nil {
				t.Errorf("blob %q was let through", text)
			}
		}
		if l.Size != int64(len(raw)) || l.MediaType == "" {
			t.Errorf("link %+v", l)
		}
		descriptor(d, l, doc)
	})
}

func FuzzPath(f *testing.F) {
	for _, path := range []string{"/v2/", "/v2", "/v2/_catalog", "/v2/a/b/manifests/latest", "/v2/a/blobs/uploads/", "/v2/a/blobs/uploads/X",
		"/v2/a/blobs/sha256:00", "/v2/blobs/blobs/uploads", "/v2/a/tags/list", "/v2/a/referrers/sha256:00", "/v2//manifests/..", "/v2/../a/manifests/x"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		at := parsePath(path)
		if checkRepository(at.repository) != nil {
			return // goes no further
		}
		names := []string{tagPath(at.repository, "t")}
		if checkTag(at.reference) == nil {
			names = append(names, tagPath(at.repository, at.reference))
		}
		if d, err := parseDigest(at.reference); err == nil {
			names = append(names, blobPath(d), manifestPath(at.repository, d), leasePath(at.repository, d))
		}
		for _, name := range names {
			if !filepath.IsLocal(name) || strings.Contains(name, "..") && !strings.Contains(at.reference, "..") {
				t.Errorf("%q leads to %q", path, name)
			}
		}
	})
}
