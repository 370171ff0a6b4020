package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var content = bytes.Repeat([]byte("root file system "), 100_000)

func newFetch(t *testing.T, url string) *fetch {
	return &fetch{url: url, sha256: fmt.Sprintf("%x", sha256.Sum256(content)), out: filepath.Join(t.TempDir(), "rootfs.img"),
		log: slog.New(slog.DiscardHandler), firstWait: time.Millisecond, maxWait: 2 * time.Millisecond, stall: 2 * time.Second}
}

func serve(t *testing.T, address string, h http.HandlerFunc) *httptest.Server {
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Skipf("listen on %s: %v", address, err)
	}
	srv := httptest.NewUnstartedServer(h)
	srv.Listener.Close()
	srv.Listener = l
	srv.Start()
	t.Cleanup(srv.Close)
	return srv
}

func TestFetchContinues(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(address, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var ranges []string
			srv := serve(t, address, func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				ranges = append(ranges, r.Header.Get("Range"))
				count := len(ranges)
				mu.Unlock()
				switch count {
				case 1: // the server is not ready
					http.Error(w, "starting", http.StatusServiceUnavailable)
				case 2: // the connection breaks in the middle
					w.Header().Set("Content-Length", fmt.Sprint(len(content)))
					w.Write(content[:1000])
					w.(http.Flusher).Flush()
					panic(http.ErrAbortHandler)
				case 3: // the server hangs
					w.WriteHeader(http.StatusOK)
					w.(http.Flusher).Flush()
					<-r.Context().Done()
				default:
					http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
				}
			})
			f := newFetch(t, srv.URL)
			if err := f.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(f.out)
			if err != nil || !bytes.Equal(got, content) {
				t.Fatalf("wrong content (%d bytes, %v)", len(got), err)
			}
			mu.Lock()
			defer mu.Unlock()
			if want := "bytes=1000-"; len(ranges) < 4 || ranges[2] != want {
				t.Errorf("requested ranges %q, want the third to be %q", ranges, want)
			}
		})
	}
}

func TestFetchRefusesAnotherBuild(t *testing.T) {
	srv := serve(t, "127.0.0.1:0", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("of another build")) })
	if err := newFetch(t, srv.URL).run(t.Context()); !errors.Is(err, errDigest) {
		t.Fatalf("got %v, want %v", err, errDigest)
	}
}

func TestFetchStopsWithItsContext(t *testing.T) {
	srv := serve(t, "127.0.0.1:0", func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := newFetch(t, srv.URL).run(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
}

func TestOverwrite(t *testing.T) {
	got, err := overwrite([]byte(`{"ignition":{"version":"3.4.0"},"storage":{
		"directories":[{"path":"/d"}],
		"files":[{"path":"/a","contents":{"source":"data:,x"}},{"path":"/b","overwrite":false,"contents":{"source":"data:,x"}},{"path":"/c","append":[{"source":"data:,y"}],"contents":{}}],
		"links":[{"path":"/l","target":"/a"}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`{"contents":{"source":"data:,x"},"overwrite":true,"path":"/a"}`, `"overwrite":false,"path":"/b"`,
		`"contents":{},"path":"/c"`, `[{"path":"/d"}]`, `{"overwrite":true,"path":"/l","target":"/a"}`}
	for _, part := range want {
		if !strings.Contains(string(got), part) {
			t.Errorf("%s\nlacks %s", got, part)
		}
	}
	if _, err := overwrite([]byte("[]")); err == nil {
		t.Error("a configuration that is no object was accepted")
	}
}
