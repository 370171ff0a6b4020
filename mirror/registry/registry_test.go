package registry

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"golang.org/x/crypto/bcrypt"
)

// site is a registry that answers on a loopback address over TLS.
type site struct {
	*Registry
	dir    string
	host   string
	ca     string // PEM file
	client *http.Client
	clock  *clock
	// received counts the bytes that clients sent, TLS and all.
	received atomic.Int64
}

// counted is a listener whose connections are counted.
type counted struct {
	net.Listener
	received *atomic.Int64
}

func (l counted) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return countedConn{conn, l.received}, err
}

type countedConn struct {
	net.Conn
	received *atomic.Int64
}

func (c countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.received.Add(int64(n))
	return n, err
}

// clock is time that tests move.
type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

var loopbacks = []string{"127.0.0.1", "::1"}

func newSite(t *testing.T, address string, access Access) *site {
	t.Helper()
	s := &site{dir: t.TempDir(), clock: &clock{time.Now()}}
	s.reopen(t)
	s.Allow(access)
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Skipf("no loopback for %s: %v", address, err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.Handler().ServeHTTP(w, r) }))
	server.Listener = counted{listener, &s.received}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // clients that do not trust it say so themselves
	server.StartTLS()
	t.Cleanup(server.Close)
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	s.host = listener.Addr().String()
	s.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	s.ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(s.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// reopen is what a restart of the process does.
func (s *site) reopen(t *testing.T) {
	t.Helper()
	allowed := Access{Anonymous: true}
	if s.Registry != nil {
		old := s.Registry.access.Load()
		allowed = Access{Public: old.public}
		for _, user := range old.users {
			allowed.Users = append(allowed.Users, user)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	r, err := open(Config{Dir: s.dir, MinFree: -1}, s.clock.now)
	if err != nil {
		t.Fatal(err)
	}
	r.Allow(allowed)
	s.Registry = r
	t.Cleanup(func() { r.Close() })
}

func user(t *testing.T, name, password string, pull, push []string) User {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return User{Name: name, Hash: hash, Pull: pull, Push: push}
}

// pushers is an access with the user "pusher", password "secret", who may do everything.
func pushers(t *testing.T) Access {
	return Access{Anonymous: true, Users: []User{user(t, "pusher", "secret", nil, []string{"*"})}}
}

func (s *site) options(t *testing.T) []remote.Option {
	return []remote.Option{remote.WithTransport(s.client.Transport), remote.WithContext(t.Context()),
		remote.WithAuth(&authn.Basic{Username: "pusher", Password: "secret"})}
}

func (s *site) reference(t *testing.T, path string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(s.host + "/" + path)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func (s *site) push(t *testing.T, path string) v1.Image {
	t.Helper()
	image, err := random.Image(300_000, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(s.reference(t, path), image, s.options(t)...); err != nil {
		t.Fatal(err)
	}
	return image
}

// ask sends a request as the pusher, or as nobody when user is "".
func (s *site) ask(t *testing.T, user, method, path, body string, headers ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "https://"+s.host+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		req.SetBasicAuth(user, "secret")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	resp.Body = io.NopCloser(strings.NewReader(string(raw)))
	return resp
}

func text(t *testing.T, resp *http.Response) string {
	t.Helper()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestPullOverTLS(t *testing.T) {
	for _, address := range loopbacks {
		s := newSite(t, address, pushers(t))
		pushed := s.push(t, "release/etcd:1.2.3")
		digest, err := pushed.Digest()
		if err != nil {
			t.Fatal(err)
		}
		s.reopen(t) // what was pushed is found again by the next process
		for _, path := range []string{"release/etcd:1.2.3", "release/etcd@" + digest.String()} {
			pulled, err := remote.Image(s.reference(t, path), remote.WithTransport(s.client.Transport), remote.WithContext(t.Context()))
			if err != nil {
				t.Fatalf("pull %s: %v", path, err)
			}
			if err := validate.Image(pulled); err != nil {
				t.Errorf("pull %s: %v", path, err)
			}
		}
	}
}

func TestPushWithoutUsersIsRefused(t *testing.T) {
	s := newSite(t, "127.0.0.1", Access{Anonymous: true})
	image, err := random.Image(10, 1)
	if err != nil {
		t.Fatal(err)
	}
	err = remote.Write(s.reference(t, "release/etcd:2"), image, remote.WithTransport(s.client.Transport), remote.WithContext(t.Context()))
	var refused *transport.Error
	if !errors.As(err, &refused) || refused.StatusCode != http.StatusForbidden || refused.Errors[0].Code != transport.DeniedErrorCode {
		t.Errorf("push: %v, want 403 DENIED", err)
	}
	for _, c := range []struct{ method, path string }{
		{http.MethodPost, "/v2/release/etcd/blobs/uploads/"},
		{http.MethodGet, "/v2/release/etcd/blobs/uploads/some-session"},
		{http.MethodPut, "/v2/release/etcd/manifests/1"},
		{http.MethodDelete, "/v2/release/etcd/manifests/1"},
		{http.MethodDelete, "/v2/release/etcd/blobs/sha256:" + strings.Repeat("a", 64)},
		{http.MethodPatch, "/v2/release/etcd/blobs/uploads/x"},
	} {
		resp := s.ask(t, "", c.method, c.path, "{}")
		if body := text(t, resp); resp.StatusCode != http.StatusForbidden || !strings.Contains(body, `"DENIED"`) {
			t.Errorf("%s %s: %s %s, want 403 DENIED", c.method, c.path, resp.Status, body)
		}
	}
}

func TestUnknownAndHostileNames(t *testing.T) {
	s := newSite(t, "127.0.0.1", pushers(t))
	s.push(t, "release/etcd:1")
	outside := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(s.dir, repositoriesDir, "link")); err != nil {
		t.Fatal(err)
	}
	s.reopen(t)
	for path, want := range map[string]int{
		"/v2/release/etcd/tags/list":                     http.StatusOK,
		"/v2/release/etcd/manifests/1":                   http.StatusOK,
		"/v2/release/etcd/manifests/2":                   http.StatusNotFound,
		"/v2/release/none/manifests/1":                   http.StatusNotFound,
		"/v2/../outside/manifests/1":                     http.StatusBadRequest,
		"/v2/link/tags/list":                             http.StatusNotFound,
		"/v2/" + strings.Repeat("a/", 300) + "tags/list": http.StatusBadRequest,
		"/":           http.StatusNotFound,
		"/v2x":        http.StatusNotFound,
		"/index.html": http.StatusNotFound,
		"/v2/release/etcd/blobs/sha256:../../../lock": http.StatusNotFound,
		"/v2/release/etcd/blobs/sha256:abc":           http.StatusBadRequest,
		"/v2/release/etcd/manifests/..":               http.StatusBadRequest,
		"/v2/release/_tags/manifests/1":               http.StatusBadRequest,
	} {
		w := httptest.NewRecorder()
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.URL.Path = path
		s.Handler().ServeHTTP(w, req)
		if w.Code != want {
			t.Errorf("GET %.80s: %d, want %d", path, w.Code, want)
		}
	}
	resp := s.ask(t, "pusher", http.MethodPost, "/v2/link/blobs/uploads/?digest="+digestOf(sha256Name, []byte("x")).String(), "x")
	if left, err := os.ReadDir(outside); err != nil || len(left) > 0 || resp.StatusCode < 500 {
		t.Errorf("push through a link: %s, outside has %v, %v", resp.Status, left, err)
	}
}

func TestBusyRegistrySaysSo(t *testing.T) {
	s := newSite(t, "127.0.0.1", Access{Anonymous: true})
	for range maxRequests {
		s.requests <- struct{}{}
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v2/", nil))
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("got %d %v, want 429 with Retry-After", w.Code, w.Header())
	}
}

func TestOneProcessAtATime(t *testing.T) {
	s := newSite(t, "127.0.0.1", Access{})
	if _, err := Open(Config{Dir: s.dir}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("second open: %v", err)
	}
}
