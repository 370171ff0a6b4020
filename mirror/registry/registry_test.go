package registry

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// serve answers on a loopback address over TLS and returns the registry's host with a transport that trusts it.
func serve(t *testing.T, r *Registry, address string) (string, http.RoundTripper) {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Skipf("no loopback for %s: %v", address, err)
	}
	server := httptest.NewUnstartedServer(r.Handler())
	server.Listener = listener
	server.StartTLS()
	t.Cleanup(server.Close)
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	return listener.Addr().String(), &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
}

func push(t *testing.T, r *Registry, path string) v1.Image {
	t.Helper()
	image, err := random.Image(300_000, 3)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference("registry.invalid/" + path)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image, remote.WithTransport(r.Transport()), remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	return image
}

func open(t *testing.T, dir string) *Registry {
	t.Helper()
	r := New(Config{Dir: dir})
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func TestPullOverTLS(t *testing.T) {
	dir := t.TempDir()
	writer := New(Config{Dir: dir})
	pushed := push(t, writer, "release/etcd:1.2.3")
	if err := writer.Sync("release/etcd"); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	digest, err := pushed.Digest()
	if err != nil {
		t.Fatal(err)
	}
	reader := open(t, dir) // what was pushed is found again by the next process
	for _, address := range []string{"127.0.0.1", "::1"} {
		host, trusted := serve(t, reader, address)
		for _, path := range []string{"/release/etcd:1.2.3", "/release/etcd@" + digest.String()} {
			ref, err := name.ParseReference(host + path)
			if err != nil {
				t.Fatal(err)
			}
			pulled, err := remote.Image(ref, remote.WithTransport(trusted), remote.WithContext(t.Context()))
			if err != nil {
				t.Fatalf("pull %s: %v", ref, err)
			}
			if err := validate.Image(pulled); err != nil {
				t.Errorf("pull %s: %v", ref, err)
			}
		}
	}
}

func TestPushOverTheNetworkIsRefused(t *testing.T) {
	r := open(t, t.TempDir())
	push(t, r, "release/etcd:1")
	host, trusted := serve(t, r, "127.0.0.1")
	image, err := random.Image(10, 1)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(host + "/release/etcd:2")
	if err != nil {
		t.Fatal(err)
	}
	err = remote.Write(ref, image, remote.WithTransport(trusted), remote.WithContext(t.Context()))
	var refused *transport.Error
	if !errors.As(err, &refused) || refused.StatusCode != http.StatusForbidden || refused.Errors[0].Code != transport.DeniedErrorCode {
		t.Errorf("push: %v, want 403 DENIED", err)
	}
	client := &http.Client{Transport: trusted}
	for _, c := range []struct{ method, path string }{
		{http.MethodPost, "/v2/release/etcd/blobs/uploads/"},
		{http.MethodGet, "/v2/release/etcd/blobs/uploads/some-session"},
		{http.MethodPut, "/v2/release/etcd/manifests/1"},
		{http.MethodDelete, "/v2/release/etcd/manifests/1"},
		{http.MethodDelete, "/v2/release/etcd/blobs/sha256:" + strings.Repeat("a", 64)},
		{http.MethodPatch, "/v2/release/etcd/blobs/uploads/x"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, "https://"+host+c.path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusForbidden || !bytes.Contains(body, []byte(`"DENIED"`)) {
			t.Errorf("%s %s: %s %s %v, want 403 DENIED", c.method, c.path, resp.Status, body, err)
		}
	}
}

func TestUnknownAndHostileNames(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	if err := os.MkdirAll(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(outside, "index.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := open(t, filepath.Join(dir, "registry"))
	push(t, r, "release/etcd:1")
	if err := os.Symlink(outside, filepath.Join(dir, "registry", "link")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{
		"/v2/":                                           http.StatusOK,
		"/v2/release/etcd/tags/list":                     http.StatusOK,
		"/v2/release/etcd/manifests/1":                   http.StatusOK,
		"/v2/release/etcd/manifests/2":                   http.StatusNotFound,
		"/v2/release/none/manifests/1":                   http.StatusNotFound,
		"/v2/../outside/manifests/1":                     http.StatusNotFound,
		"/v2/link/tags/list":                             http.StatusNotFound,
		"/v2/" + strings.Repeat("a/", 300) + "tags/list": http.StatusNotFound,
		"/":           http.StatusNotFound,
		"/index.html": http.StatusNotFound,
	} {
		w := httptest.NewRecorder()
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.URL.Path = path
		r.Handler().ServeHTTP(w, req)
		if w.Code != want {
			t.Errorf("GET %.80s: %d, want %d", path, w.Code, want)
		}
	}
}

func TestBusyRegistrySaysSo(t *testing.T) {
	r := open(t, t.TempDir())
	for range maxPulls {
		r.pulls <- struct{}{}
	}
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v2/", nil))
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("got %d %v, want 429 with Retry-After", w.Code, w.Header())
	}
}

// answers is a handler with the ways in which one may end.
func answers(ended chan<- struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/panic":
			panic("broken")
		case "/endless":
			defer close(ended)
			for {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		case "/echo":
			w.WriteHeader(http.StatusAccepted)
			io.Copy(w, r.Body)
		case "/wait":
			<-r.Context().Done()
		}
	}
}

func TestTransport(t *testing.T) {
	ended := make(chan struct{})
	client := &http.Client{Transport: inProcess{handler: answers(ended)}}
	t.Run("echo streams", func(t *testing.T) {
		resp, err := client.Post("https://x.invalid/echo", "text/plain", strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "hello" || resp.StatusCode != http.StatusAccepted {
			t.Errorf("got %s %q %v", resp.Status, body, err)
		}
	})
	t.Run("closing the body ends the handler", func(t *testing.T) {
		resp, err := client.Get("https://x.invalid/endless")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		<-ended
	})
	t.Run("panic is an error", func(t *testing.T) {
		resp, err := client.Get("https://x.invalid/panic")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.ReadAll(resp.Body); err == nil || resp.StatusCode != http.StatusInternalServerError {
			t.Errorf("got %s, %v", resp.Status, err)
		}
	})
	t.Run("context ends the request", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://x.invalid/wait", nil)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		resp, err := client.Do(req)
		if err == nil {
			resp.Body.Close()
			_, err = io.ReadAll(resp.Body)
		}
		if err == nil {
			t.Error("no error")
		}
	})
}
