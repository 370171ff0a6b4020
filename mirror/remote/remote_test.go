package remote

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/slipway-io/slipway/mirror/registry"
)

// front is a registry behind a handler that a test changes.
type front struct {
	host     string
	handler  http.Handler
	requests atomic.Int64
}

func serve(t *testing.T, wrap func(http.Handler) http.Handler) *front {
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
	f := &front{handler: wrap(store.Handler())}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.requests.Add(1)
		f.handler.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		server.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	f.host = strings.TrimPrefix(server.URL, "http://")
	return f
}

// pusher may push everywhere.
type pusher struct{}

func (pusher) Credentials(context.Context, Repository) (Credentials, error) {
	return Credentials{Username: "pusher", Password: "pusher"}, nil
}

func plain(h http.Handler) http.Handler { return h }

func client(t *testing.T, c Config) *Client {
	t.Helper()
	c.Insecure = true
	if c.Keychain == nil {
		c.Keychain = pusher{}
	}
	if c.Wait == nil {
		c.Wait = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	}
	made, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(made.Close)
	return made
}

func random(t *testing.T, size int) ([]byte, Descriptor) {
	t.Helper()
	data := make([]byte, size)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	return data, Descriptor{Digest: Digest(data), Size: int64(size)}
}

func from(data []byte) Source {
	return func(_ context.Context, offset int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data[offset:])), nil
	}
}

func TestBlobsGoThere(t *testing.T) {
	f := serve(t, plain)
	c := client(t, Config{})
	repo := Repository{Host: f.host, Path: "a/b"}
	for _, size := range []int{0, 1, 100_000, 3 << 20} {
		data, blob := random(t, size)
		if err := c.Upload(t.Context(), Upload{Repository: repo, Blob: blob, Source: from(data)}); err != nil {
			t.Fatal(err)
		}
		body, err := c.Open(t.Context(), repo, blob, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes came back as %d, %v", size, len(got), err)
		}
		body.Close()
	}
}

// cut ends the first answer to each GET of a blob in the middle.
func cut(sent *atomic.Int64) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		var mu sync.Mutex
		seen := map[string]bool{}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/sha256:") {
				next.ServeHTTP(w, r)
				return
			}
			mu.Lock()
			first := !seen[r.URL.Path]
			seen[r.URL.Path] = true
			mu.Unlock()
			recorded := httptest.NewRecorder()
			next.ServeHTTP(recorded, r)
			for key, values := range recorded.Header() {
				w.Header()[key] = values
			}
			w.WriteHeader(recorded.Code)
			body := recorded.Body.Bytes()
			if first {
				body = body[:len(body)/2]
			}
			sent.Add(int64(len(body))) // before the client may have it all
			_, _ = w.Write(body)
			if first {
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			}
		})
	}
}

func TestCutDownloadIsContinued(t *testing.T) {
	var sent atomic.Int64
	f := serve(t, cut(&sent))
	c := client(t, Config{})
	repo := Repository{Host: f.host, Path: "a/b"}
	data, blob := random(t, 2<<20)
	if err := c.Upload(t.Context(), Upload{Repository: repo, Blob: blob, Source: from(data)}); err != nil {
		t.Fatal(err)
	}
	body, err := c.Open(t.Context(), repo, blob, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if sent.Load() != blob.Size {
		t.Errorf("registry sent %d bytes for %d", sent.Load(), blob.Size)
	}
}

func TestWrongContentIsNoticed(t *testing.T) {
	f := serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
				_, _ = w.Write(bytes.Repeat([]byte("x"), 1000))
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	c := client(t, Config{})
	repo := Repository{Host: f.host, Path: "a/b"}
	_, blob := random(t, 1000)
	source := func(ctx context.Context, offset int64) (io.ReadCloser, error) { return c.Open(ctx, repo, blob, offset) }
	err := c.Upload(t.Context(), Upload{Repository: Repository{Host: f.host, Path: "c"}, Blob: blob, Source: source})
	if !errors.Is(err, ErrDigest) {
		t.Errorf("upload: %v, want ErrDigest", err)
	}
	if there, err := c.Has(t.Context(), Repository{Host: f.host, Path: "c"}, blob.Digest); there || err != nil {
		t.Errorf("wrong content has arrived: %v %v", there, err)
	}
}

func TestBusyRegistryIsAskedAgain(t *testing.T) {
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusBadGateway} {
		var refusals atomic.Int64
		var waited []time.Duration
		f := serve(t, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if refusals.Add(1) <= 3 {
					w.Header().Set("Retry-After", "7")
					w.WriteHeader(status)
					return
				}
				next.ServeHTTP(w, r)
			})
		})
		c := client(t, Config{Wait: func(ctx context.Context, d time.Duration) error {
			waited = append(waited, d)
			return ctx.Err()
		}})
		repo := Repository{Host: f.host, Path: "a/b"}
		data, blob := random(t, 100)
		if err := c.Upload(t.Context(), Upload{Repository: repo, Blob: blob, Source: from(data)}); err != nil {
			t.Fatalf("%d: %v", status, err)
		}
		if len(waited) < 3 || waited[0] < 6*time.Second {
			t.Errorf("%d: waited %v, want at least 7s as the registry asked", status, waited)
		}
	}
}

func TestTokens(t *testing.T) {
	var issued atomic.Int64
	var good atomic.Value
	good.Store("none")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "u" || password != "p:q" || r.URL.Query().Get("service") != "reg" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		value := fmt.Sprintf("t%d", issued.Add(1))
		good.Store(value)
		fmt.Fprintf(w, `{"token":%q,"expires_in":300}`, value)
	}))
	t.Cleanup(server.Close)
	f := serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer "+good.Load().(string) {
				w.Header().Set("WWW-Authenticate", `Bearer realm="`+server.URL+`/token",service="reg",scope="repository:a/b:pull"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			r.SetBasicAuth("pusher", "pusher")
			next.ServeHTTP(w, r)
		})
	})
	file := filepath.Join(t.TempDir(), "auth.json")
	raw := `{"auths":{"` + f.host + `/a":{"auth":"` + base64.StdEncoding.EncodeToString([]byte("u:p:q")) + `"}}}`
	if err := os.WriteFile(file, []byte(raw), 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := OpenAuth([]string{filepath.Join(t.TempDir(), "none"), file})
	if err != nil {
		t.Fatal(err)
	}
	c := client(t, Config{Keychain: keys})
	repo := Repository{Host: f.host, Path: "a/b"}
	data, blob := random(t, 300_000)
	if err := c.Upload(t.Context(), Upload{Repository: repo, Blob: blob, Source: from(data)}); err != nil {
		t.Fatal(err)
	}
	if issued.Load() != 1 {
		t.Errorf("%d tokens for one upload, want 1", issued.Load())
	}
	good.Store("expired early")
	if there, err := c.Has(t.Context(), repo, blob.Digest); err != nil || !there {
		t.Errorf("after the token has expired: %v %v", there, err)
	}
	if _, err := c.Has(t.Context(), Repository{Host: f.host, Path: "other"}, blob.Digest); err == nil || strings.Contains(err.Error(), "p:q") {
		t.Errorf("without credentials: %v", err)
	}
}

func TestMountAndManifests(t *testing.T) {
	f := serve(t, plain)
	c := client(t, Config{})
	a, b := Repository{Host: f.host, Path: "a"}, Repository{Host: f.host, Path: "b"}
	data, blob := random(t, 1000)
	if err := c.Upload(t.Context(), Upload{Repository: a, Blob: blob, Source: from(data)}); err != nil {
		t.Fatal(err)
	}
	if mounted, _, err := c.Mount(t.Context(), b, blob.Digest, a.Path); err != nil || !mounted {
		t.Fatalf("mount: %v %v", mounted, err)
	}
	manifest := []byte(fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"x","digest":%q,"size":1000},"layers":[]}`, OCIManifest, blob.Digest))
	m := Manifest{MediaType: OCIManifest, Digest: Digest(manifest), Data: manifest}
	if _, err := c.PutManifest(t.Context(), b, "v1", m); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Resolve(t.Context(), b, "v1"); err != nil || got != m.Digest {
		t.Errorf("resolve: %s %v", got, err)
	}
	if _, err := c.Resolve(t.Context(), b, "v2"); !errors.Is(err, ErrNotFound) {
		t.Errorf("resolve what is not there: %v", err)
	}
	if got, err := c.Manifest(t.Context(), b, m.Digest); err != nil || !bytes.Equal(got.Data, manifest) || got.MediaType != OCIManifest {
		t.Errorf("manifest: %+v %v", got, err)
	}
	if tags, err := c.Tags(t.Context(), b); err != nil || len(tags) != 1 || tags[0] != "v1" {
		t.Errorf("tags: %v %v", tags, err)
	}
	if found, supported, err := c.Referrers(t.Context(), b, m.Digest); err != nil || !supported || len(found) != 0 {
		t.Errorf("referrers: %v %v %v", found, supported, err)
	}
	if err := c.DeleteManifest(t.Context(), b, "v1"); err != nil {
		t.Errorf("delete: %v", err)
	}
}
