package image

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func newStore(t *testing.T) *Store {
	t.Helper()
	store, err := OpenStore(filepath.Join(t.TempDir(), "images"))
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func TestImport(t *testing.T) {
	w, store := newWorld(t), newStore(t)
	path := filepath.Join(w.dir, "live.iso")
	if _, _, err := store.Import(t.Context(), path, Identity{}, nil); err == nil || !strings.Contains(err.Error(), "say which one") {
		t.Errorf("a kernel without a beginning: %v", err)
	}
	killed := filepath.Join(store.dir, importing+"1")
	if err := os.MkdirAll(killed, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(killed, storedISO), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(filepath.Join(killed, storedISO), time.Time{}, time.Now().Add(-2*abandoned)); err != nil {
		t.Fatal(err)
	}
	var done, total int64
	dir, who, err := store.Import(t.Context(), path, Identity{CPUArchitecture: "amd64", OpenShiftVersion: "4.14"}, func(d, of int64) { done, total = d, of })
	if err != nil || who != (Identity{"37.20230306.dev.0", "4.14", "x86_64"}) || done != total || done != 1<<20 {
		t.Fatalf("%+v, %d of %d bytes, %v", who, done, total, err)
	}
	image, err := OpenOS(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = image.Close() }()
	if err := image.Verify(t.Context(), filepath.Join(t.TempDir(), "stamps"), nil); err != nil || image.Version != who.Version || image.Kernel == nil {
		t.Errorf("%+v, %v", image, err)
	}
	if _, _, err := store.Import(t.Context(), path, who, nil); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("a second time: %v", err)
	}
	if err := os.WriteFile(path, w.files["live.iso"][:900_000], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := store.Import(t.Context(), path, Identity{Version: "x"}, nil); err == nil || !strings.Contains(err.Error(), "the file has 900000 bytes") {
		t.Errorf("half of an ISO: %v", err)
	}
	if found, err := store.Directories(); err != nil || len(found) != 1 || found[0] != dir {
		t.Errorf("%q, %v", found, err)
	}
	if left, err := filepath.Glob(filepath.Join(store.dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

func TestKernelArchitecture(t *testing.T) {
	w := newWorld(t)
	image := w.os.live.image
	for want, head := range map[string]string{
		"x86_64": strings.Repeat("\x00", 0x202) + "HdrS", "aarch64": "MZ\x00\x00zimg", "ppc64le": "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 11) + "\x15\x00", "": "zzz",
	} {
		content := bytes.Clone(w.files["live.iso"])
		area := image.Files["images/pxeboot/vmlinuz"]
		area.Length = 1024
		image.Files["images/pxeboot/vmlinuz"] = area
		copy(content[area.Offset:], head)
		if got := kernelArchitecture(bytes.NewReader(content), image); got != want {
			t.Errorf("%q is of %q", head, got)
		}
	}
}

// flaky serves content, and breaks off after a while as often as it is told to.
type flaky struct {
	content []byte

	mu     sync.Mutex
	tag    string
	breaks int
	ranges []string
}

// from now on it has this tag, and breaks off so often.
func (f *flaky) from(tag string, breaks int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tag, f.breaks, f.ranges = tag, breaks, nil
}

// asked are the ranges that it was asked for.
func (f *flaky) asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.ranges)
}

func (f *flaky) begin(asked string) (tag string, breaks bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ranges = append(f.ranges, asked)
	if breaks = f.breaks > 0; breaks {
		f.breaks--
	}
	return f.tag, breaks
}

func (f *flaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	tag, breaks := f.begin(r.Header.Get("Range"))
	w.Header().Set("ETag", tag)
	if breaks {
		w.Header().Set("Content-Length", fmt.Sprint(len(f.content)))
		_, _ = w.Write(f.content[:300_000])
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.content))
}

func TestPull(t *testing.T) {
	w, store := newWorld(t), newStore(t)
	server := &flaky{content: w.files["live.iso"], tag: `"1"`, breaks: 1}
	at := httptest.NewServer(server)
	defer at.Close()
	source := Source{Identity{"414.1", "4.14", "x86_64"}, at.URL + "/live.iso#sha256=" + w.sum("live.iso")}
	if _, err := store.Pull(t.Context(), at.Client(), source, nil); err == nil || !strings.Contains(err.Error(), "300000 of 1048576 bytes") {
		t.Fatalf("a broken connection: %v", err)
	}
	dir, err := store.Pull(t.Context(), at.Client(), source, nil)
	if err != nil || filepath.Base(dir) != "414.1-x86_64" || !slices.Equal(server.asked(), []string{"", "bytes=300000-"}) {
		t.Fatalf("%s with ranges %q, %v", dir, server.asked(), err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, storedISO)); err != nil || !bytes.Equal(got, server.content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}

	// The file has changed between two attempts: it comes as a whole.
	server.from(`"1"`, 1)
	source.Version = "414.2"
	if _, err := store.Pull(t.Context(), at.Client(), source, nil); err == nil {
		t.Fatal("a broken connection is taken")
	}
	server.from(`"2"`, 0)
	if dir, err = store.Pull(t.Context(), at.Client(), source, nil); err != nil || server.asked()[0] != "bytes=300000-" {
		t.Fatalf("%q, %v", server.asked(), err)
	}
	if _, err := OpenOS(dir); err != nil {
		t.Error(err)
	}

	for want, bad := range map[string]Source{
		"has digest":         {Identity{"3", "", "x86_64"}, at.URL + "#sha256=" + strings.Repeat("0", 64)},
		"no http":            {Identity{"3", "", "x86_64"}, "file:///etc/passwd"},
		"64 hexadecimal":     {Identity{"3", "", "x86_64"}, at.URL + "#sha256=1"},
		"is not one":         {Identity{"../3", "", "x86_64"}, at.URL},
		"not known":          {Identity{"3", "", "vax"}, at.URL},
		"connection refused": {Identity{"3", "", "x86_64"}, "http://127.0.0.1:1/x?password=secret"},
	} {
		if _, err := store.Pull(t.Context(), at.Client(), bad, nil); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(store.dir, ".part-*", "*")); err != nil || len(left) != 1 { // the refused connection's
		t.Errorf("left behind: %q, %v", left, err)
	}
}

// What is wanted is pulled, what is imported is found, and both only once.
func TestLibrary(t *testing.T) {
	w, store := newWorld(t), newStore(t)
	server := &flaky{content: w.files["live.iso"], tag: `"1"`}
	at := httptest.NewServer(server)
	defer at.Close()
	var log bytes.Buffer
	library := &Library{
		Store: store, Add: w.service.Add, Stamps: filepath.Join(t.TempDir(), "stamps"), Client: at.Client(), Log: slog.New(slog.NewTextHandler(&log, nil)),
		Wanted: func(context.Context) ([]Source, error) {
			return []Source{{Identity{"414.1", "4.14", "x86_64"}, at.URL}, {Identity{"bad", "", "x86_64"}, at.URL + "#x"}}, nil
		},
	}
	if _, _, err := store.Import(t.Context(), filepath.Join(w.dir, "live.iso"), Identity{Version: "byo", CPUArchitecture: "x86_64"}, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := library.look(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, version := range []string{"byo", "414.1", "4.14"} {
		if image, ok := w.service.OS(version, "x86_64"); !ok || image.ISO == nil {
			t.Errorf("%s is not there", version)
		}
	}
	if len(server.asked()) != 1 || strings.Count(log.String(), "pull OS image") != 1 {
		t.Errorf("asked %d times; %s", len(server.asked()), &log)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := library.Run(ctx); err != nil {
		t.Errorf("a clean stop: %v", err)
	}
}
