package sync

import (
	"context"
	"io"

	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	gosync "sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	ggcr "github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"golang.org/x/crypto/bcrypt"

	"github.com/slipway-io/slipway/mirror/imageset"
	"github.com/slipway-io/slipway/mirror/plan"
	"github.com/slipway-io/slipway/mirror/registry"
	"github.com/slipway-io/slipway/mirror/remote"
)

// server is a registry that counts what it is asked.
type server struct {
	host string
	mu   gosync.Mutex
	seen map[string]int
	sent int64
	took int64 // bytes of request bodies
	// open are the requests under way; an answer has arrived before its handler has ended.
	open int
	idle *gosync.Cond
	// before is asked first; true means that it has answered.
	before func(http.ResponseWriter, *http.Request) bool
}

// bytes that were sent and taken, once no request is under way.
func (s *server) bytes() (sent, took int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.open > 0 {
		s.idle.Wait()
	}
	return s.sent, s.took
}

// intercept has before asked from the next request on.
func (s *server) intercept(before func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = before
}

// begin notes a request and gives who is asked before the registry.
func (s *server) begin(method string) func(http.ResponseWriter, *http.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[method]++
	s.open++
	return s.before
}

func (s *server) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
	s.idle.Broadcast()
}

func (s *server) count(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[method]
}

func (s *server) total() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, c := range s.seen {
		n += c
	}
	return n
}

func (s *server) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.open > 0 {
		s.idle.Wait()
	}
	s.seen, s.sent = map[string]int{}, 0
}

// taking counts what is pushed.
type taking struct {
	io.ReadCloser
	s *server
}

func (c taking) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.s.mu.Lock()
	c.s.took += int64(n)
	c.s.mu.Unlock()
	return n, err
}

type counting struct {
	http.ResponseWriter
	s *server
}

func (c counting) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.s.mu.Lock()
	c.s.sent += int64(n)
	c.s.mu.Unlock()
	return n, err
}

func serve(t *testing.T) *server {
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
	handler := store.Handler()
	s := &server{seen: map[string]int{}}
	s.idle = gosync.NewCond(&s.mu)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		before := s.begin(r.Method)
		defer s.end()
		if before != nil && before(w, r) {
			return
		}
		r.Body = taking{r.Body, s}
		handler.ServeHTTP(counting{w, s}, r)
	}))
	t.Cleanup(func() {
		web.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	s.host = strings.TrimPrefix(web.URL, "http://")
	return s
}

// pusher may push everywhere.
type pusher struct{}

func (pusher) Credentials(context.Context, remote.Repository) (remote.Credentials, error) {
	return remote.Credentials{Username: "pusher", Password: "pusher"}, nil
}

var pusherAuth = ggcr.WithAuth(&authn.Basic{Username: "pusher", Password: "pusher"})

func push(t *testing.T, ref string, what ggcr.Taggable) {
	t.Helper()
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	switch it := what.(type) {
	case v1.Image:
		err = ggcr.Write(parsed, it, pusherAuth)
	case v1.ImageIndex:
		err = ggcr.WriteIndex(parsed, it, pusherAuth)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func layer(t *testing.T, size int64) v1.Layer {
	t.Helper()
	l, err := random.Layer(size, types.OCILayer)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func image(t *testing.T, layers ...v1.Layer) v1.Image {
	t.Helper()
	made, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), layers...)
	if err != nil {
		t.Fatal(err)
	}
	made, err = mutate.ConfigFile(made, &v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: rootFS(t, made),
		Config: v1.Config{Labels: map[string]string{"unique": random20(t)}}})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func rootFS(t *testing.T, made v1.Image) v1.RootFS {
	file, err := made.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return file.RootFS
}

func random20(t *testing.T) string {
	h, err := layer(t, 20).Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.Hex
}

// site is a source, a target and a workspace.
type site struct {
	source, target *server
	client         *remote.Client
	dir            string
	previous       *plan.Plan
	options        plan.Options
}

func newSite(t *testing.T) *site {
	t.Helper()
	return &site{source: serve(t), target: serve(t), client: newClient(t), dir: t.TempDir()}
}

func newClient(t *testing.T) *remote.Client {
	t.Helper()
	client, err := remote.New(remote.Config{Insecure: true, Keychain: pusher{}, Attempts: 3, Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func (s *site) plan(t *testing.T, names ...string) *plan.Plan {
	t.Helper()
	set := &imageset.Set{}
	for _, n := range names {
		set.AdditionalImages = append(set.AdditionalImages, imageset.Image{Name: s.source.host + "/" + n})
	}
	return s.planSet(t, set)
}

func (s *site) planSet(t *testing.T, set *imageset.Set) *plan.Plan {
	t.Helper()
	o := s.options
	o.Previous = s.previous
	p, err := plan.Build(t.Context(), set, s.client, o)
	if err != nil {
		t.Fatal(err)
	}
	s.previous = p
	return p
}

func (s *site) run(t *testing.T, ctx context.Context, p *plan.Plan) *Result {
	t.Helper()
	state, err := OpenState(filepath.Join(s.dir, "state.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := state.Close(); err != nil {
			t.Error(err)
		}
	}()
	work, err := Prepare(ctx, Config{Plan: p, Source: Registries{Client: s.client}, Target: s.client, Host: s.target.host, Namespace: "m", State: state, Workers: 4})
	if err != nil {
		t.Fatal(err)
	}
	result, err := work.Do(ctx)
	if err != nil && ctx.Err() == nil {
		t.Error(err)
	}
	return result
}

func (s *site) pulls(t *testing.T, path string) {
	t.Helper()
	ref, err := name.ParseReference(s.target.host + "/m/" + path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ggcr.Get(ref)
	if err != nil {
		t.Errorf("pull %s: %v", path, err)
		return
	}
	if got.MediaType.IsIndex() {
		index, err := got.ImageIndex()
		if err == nil {
			err = validate.Index(index)
		}
		if err != nil {
			t.Errorf("pull %s: %v", path, err)
		}
		return
	}
	pulled, err := got.Image()
	if err == nil {
		err = validate.Image(pulled)
	}
	if err != nil {
		t.Errorf("pull %s: %v", path, err)
	}
}
