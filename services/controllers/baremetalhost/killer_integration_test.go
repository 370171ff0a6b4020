//go:build integration

package baremetalhost_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/slipway-io/slipway/test/world"
)

// apiEnv has the test program be the controllers, which use the API at this URL.
const apiEnv = "SLIPWAY_TEST_API"

func TestMain(m *testing.M) {
	at := os.Getenv(apiEnv)
	if at == "" {
		os.Exit(world.Main(m))
	}
	if err := control(at); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func control(at string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the test
		cancel()
	}()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	mgr, err := world.Manager(&rest.Config{Host: at, QPS: 200, Burst: 400}, log)
	if err != nil {
		return err
	}
	if err := controllers(ctx, mgr, time.Second, log); err != nil {
		return err
	}
	return mgr.Start(ctx)
}

// point in a host's life: a write to the API that has the text, or a step of its machine.
type point struct{ name, write, step string }

// killer stands between the controllers, which are a process, and what they work with: the API and a machine. At the point that is
// armed it sends them SIGKILL: before the point's work is done, or after it, when nobody hears of it.
type killer struct {
	t         *testing.T
	api       *httptest.Server
	proxy     *httputil.ReverseProxy
	unheard   bool
	process   sync.Mutex // for child and stdin: it is started by the test and killed by the requests of its own
	child     *exec.Cmd
	stdin     io.Closer
	mu        sync.Mutex // for armed and killed
	armed     *point
	killed    chan struct{}
	passwords *finder
}

func newKiller(t *testing.T, w *world.World, unheard bool) *killer {
	t.Helper()
	target, err := url.Parse(w.Config.Host)
	w.Must(err)
	transport, err := rest.TransportFor(w.Config)
	w.Must(err)
	k := &killer{t: t, unheard: unheard, passwords: &finder{word: []byte(password)}, proxy: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, Transport: transport, FlushInterval: -1,
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}}
	k.api = httptest.NewServer(k)
	t.Cleanup(func() {
		k.kill()
		k.api.CloseClientConnections()
		k.api.Close()
		if k.passwords.found() {
			t.Error("the log of the controllers has a password")
		}
	})
	return k
}

// start the controllers.
func (k *killer) start() {
	k.t.Helper()
	k.process.Lock()
	defer k.process.Unlock()
	self, err := os.Executable()
	if err == nil {
		k.child = exec.Command(self)
		k.child.Env = append(os.Environ(), apiEnv+"="+k.api.URL)
		k.child.Stdout, k.child.Stderr = k.passwords, k.passwords
		k.stdin, err = k.child.StdinPipe()
	}
	if err == nil {
		err = k.child.Start()
	}
	if err != nil {
		k.t.Fatal(err)
	}
}

// runs tells whether the controllers do.
func (k *killer) runs() bool {
	k.process.Lock()
	defer k.process.Unlock()
	return k.child != nil
}

func (k *killer) kill() {
	k.process.Lock()
	defer k.process.Unlock()
	if k.child == nil {
		return
	}
	_ = k.child.Process.Kill()
	_ = k.child.Wait() // it was killed
	k.stdin.Close()
	k.child = nil
}

// arm the next point; what comes is closed when the controllers are dead.
func (k *killer) arm(p point) <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.armed, k.killed = &p, make(chan struct{})
	return k.killed
}

// hit takes the armed point when it is reached.
func (k *killer) hit(reached func(point) bool) (end func(), is bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.armed == nil || !reached(*k.armed) {
		return nil, false
	}
	killed := k.killed
	k.armed = nil
	return func() { k.kill(); close(killed) }, true
}

// ServeHTTP is the way to the API.
func (k *killer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPatch || r.Method == http.MethodPut {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		kill, is := k.hit(func(p point) bool {
			return p.write != "" && strings.Contains(r.URL.Path, "/baremetalhosts/") && bytes.Contains(body, []byte(p.write))
		})
		if is {
			if k.unheard {
				k.proxy.ServeHTTP(httptest.NewRecorder(), r)
			}
			kill()
			panic(http.ErrAbortHandler)
		}
	}
	k.proxy.ServeHTTP(w, r)
}

var errKilled = errors.New("killed")

// did a step of the machine, which is not done when the controllers die before it.
func (k *killer) did(what string) error {
	kill, is := k.hit(func(p point) bool { return p.step == what })
	if !is {
		return nil
	}
	kill()
	if k.unheard {
		return nil
	}
	return errKilled
}

func (k *killer) PowerOn(context.Context) error                      { return k.did("on") }
func (k *killer) PowerOff(context.Context, bool) error               { return k.did("off") }
func (k *killer) Reset(context.Context) error                        { return k.did("reset") }
func (k *killer) Insert(context.Context, string) error               { return k.did("insert") }
func (k *killer) Eject(context.Context) error                        { return k.did("eject") }
func (k *killer) BootOnce(_ context.Context, target, _ string) error { return k.did("boot " + target) }

// finder looks for a word in what is written to it.
type finder struct {
	mu   sync.Mutex
	word []byte
	has  bool
}

func (f *finder) Write(text []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.has = f.has || bytes.Contains(text, f.word)
	return len(text), nil
}

func (f *finder) found() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.has
}
