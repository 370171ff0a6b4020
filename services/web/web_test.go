package web

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// buffer is a log that can be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func certificate(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, pool
}

type site struct {
	*Server
	log    *buffer
	client *http.Client
	plain  []netip.AddrPort
	https  []netip.AddrPort
	stop   func() error
}

func serve(t *testing.T, cfg Config, routes ...Route) *site {
	t.Helper()
	loopbacks := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0"), netip.MustParseAddrPort("[::1]:0")}
	var pool *x509.CertPool
	cfg.TLS, pool = certificate(t)
	cfg.HTTP, cfg.HTTPS, cfg.Metrics = loopbacks, loopbacks, prometheus.NewRegistry()
	log := &buffer{}
	cfg.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := New(cfg, routes)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop := sync.OnceValue(func() error { cancel(); return <-done })
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := stop(); err != nil {
			t.Errorf("clean stop: %v", err)
		}
	})
	plain, https := s.Addresses()
	return &site{s, log, &http.Client{Transport: transport}, plain, https, stop}
}

func (s *site) do(t *testing.T, method, url string, body io.Reader) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(got)
}

func say(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
}

func TestRoutes(t *testing.T) {
	s := serve(t, Config{}, Route{Pattern: "GET /boot.ipxe", Handler: say("#!ipxe"), Plain: true}, Route{Pattern: "POST /secret/{id}", Handler: say("secret")})
	for i := range 2 {
		plain, https := "http://"+s.plain[i].String(), "https://"+s.https[i].String()
		for _, c := range []struct {
			method, url string
			status      int
			want        string
		}{
			{"GET", plain + "/boot.ipxe?mac=x", 200, "#!ipxe"},
			{"HEAD", plain + "/boot.ipxe", 200, ""},
			{"GET", https + "/boot.ipxe", 200, "#!ipxe"},
			{"POST", https + "/secret/1", 200, "secret"},
			{"POST", plain + "/secret/1", 404, "is served over HTTPS only"},
			{"GET", https + "/secret/1", 405, "method GET is not allowed"},
			{"DELETE", plain + "/boot.ipxe", 405, "method DELETE is not allowed"},
			{"GET", plain + "/none", 404, "path /none was not found"},
			{"GET", plain + "/healthz", 200, "ok"},
			{"GET", https + "/metrics", 200, `slipway_http_requests_total{code="404",method="GET",route=""}`},
		} {
			resp, got := s.do(t, c.method, c.url, nil)
			if resp.StatusCode != c.status || !strings.Contains(got, c.want) {
				t.Errorf("%s %s: %d %s, want %d %s", c.method, c.url, resp.StatusCode, got, c.status, c.want)
			}
			if c.status < 400 {
				continue
			}
			var p problem
			if err := json.Unmarshal([]byte(got), &p); err != nil || p.Kind != "Error" || p.ID != c.status || p.Code != fmt.Sprint(c.status) {
				t.Errorf("%s %s: problem %q", c.method, c.url, got)
			}
			if c.status == 405 && resp.Header.Get("Allow") == "" {
				t.Errorf("%s %s: no Allow", c.method, c.url)
			}
		}
	}
}

func TestSecretsStayOutOfTheLog(t *testing.T) {
	s := serve(t, Config{}, Route{Pattern: "GET /byapikey/{api_key}/{version}", Handler: say("x"), Plain: true})
	base := "http://" + s.plain[0].String()
	s.do(t, "GET", base+"/byapikey/verysecret/4?api_key=alsosecret", nil)
	s.do(t, "GET", base+"/none?api_key=alsosecret", nil)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	log := s.log.String()
	if strings.Contains(log, "secret") || !strings.Contains(log, "path=/byapikey/…/4") || !strings.Contains(log, "path=/none") {
		t.Errorf("log:\n%s", log)
	}
}

func TestPanic(t *testing.T) {
	s := serve(t, Config{},
		Route{Pattern: "/before", Plain: true, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("boom") })},
		Route{Pattern: "/after", Plain: true, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			_, _ = w.Write([]byte("half"))
			panic("boom")
		})})
	base := "http://" + s.plain[0].String()
	resp, got := s.do(t, "GET", base+"/before", nil)
	if id := resp.Header.Get(requestIDHeader); resp.StatusCode != 500 || id == "" || !strings.Contains(got, id) || strings.Contains(got, "boom") {
		t.Errorf("%d %s", resp.StatusCode, got)
	}
	half, err := s.client.Get(base + "/after")
	if err == nil {
		_, err = io.ReadAll(half.Body)
		half.Body.Close()
	}
	if err == nil {
		t.Error("an answer that broke off looks whole")
	}
	if log := s.log.String(); strings.Count(log, "handler panicked") < 2 {
		t.Errorf("log:\n%s", log)
	}
}

func TestBodyLimit(t *testing.T) {
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			Problem(w, http.StatusRequestEntityTooLarge, err.Error())
			return
		}
		fmt.Fprint(w, len(b))
	})
	s := serve(t, Config{MaxBody: 10}, Route{Pattern: "POST /small", Handler: echo, Plain: true}, Route{Pattern: "POST /large", Handler: echo, Plain: true, MaxBody: 1000})
	base := "http://" + s.plain[0].String()
	for _, c := range []struct {
		path string
		n    int
		want int
	}{{"/small", 10, 200}, {"/small", 11, 413}, {"/large", 1000, 200}, {"/large", 1001, 413}, {"/none", 2000, 404}} {
		if resp, got := s.do(t, "POST", base+c.path, strings.NewReader(strings.Repeat("x", c.n))); resp.StatusCode != c.want {
			t.Errorf("%s with %d bytes: %d %s", c.path, c.n, resp.StatusCode, got)
		}
	}
}

func TestDownloads(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rootfs")
	content := bytes.Repeat([]byte("0123456789abcdef"), 3*chunk/16+7)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, Config{}, Route{Pattern: "GET /rootfs", Plain: true, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) })})
	for _, base := range []string{"http://" + s.plain[0].String(), "https://" + s.https[1].String()} {
		for spec, want := range map[string][]byte{"": content, "bytes=5-2100000": content[5:2100001], "bytes=-7": content[len(content)-7:], "bytes=0-0": content[:1]} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/rootfs", nil)
			if err != nil {
				t.Fatal(err)
			}
			if spec != "" {
				req.Header.Set("Range", spec)
			}
			resp, err := s.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || !bytes.Equal(got, want) || resp.ContentLength != int64(len(want)) {
				t.Errorf("%q: %d bytes of %d, %v", spec, len(got), len(want), err)
			}
		}
	}
}

func TestHealth(t *testing.T) {
	s := serve(t, Config{Healthy: func(context.Context) error { return errors.New("management API does not answer") }})
	if resp, got := s.do(t, "GET", "http://"+s.plain[0].String()+"/healthz", nil); resp.StatusCode != 503 || !strings.Contains(got, "management API") {
		t.Errorf("%d %s", resp.StatusCode, got)
	}
}

func TestStopEndsLongPolls(t *testing.T) {
	waiting := make(chan struct{})
	s := serve(t, Config{}, Route{Pattern: "POST /poll", Plain: true, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(waiting)
		<-r.Context().Done()
	})})
	go func() {
		resp, err := s.client.Post("http://"+s.plain[0].String()+"/poll", "text/plain", strings.NewReader("x"))
		if err == nil {
			resp.Body.Close()
		}
	}()
	<-waiting
	start := time.Now()
	if err := s.stop(); err != nil || time.Since(start) > grace/2 {
		t.Errorf("stopped after %s: %v", time.Since(start), err)
	}
}

func TestRefused(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for want, routes := range map[string][]Route{
		"conflicts":              {{Pattern: "GET /a", Handler: say("")}, {Pattern: "GET /a", Handler: say("")}},
		`route "GET /healthz"`:   {{Pattern: "GET /healthz", Handler: say("")}},
		`route "NO SUCH PATTERN`: {{Pattern: "NO SUCH PATTERN", Handler: say("")}},
	} {
		if _, err := New(Config{Log: log}, routes); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s, got %v", want, err)
		}
	}
	s := serve(t, Config{})
	taken, err := New(Config{HTTP: s.plain, Log: log}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := taken.Listen(t.Context()); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("a taken port: %v", err)
	}
	if _, err := New(Config{HTTPS: s.https, Log: log}, nil); err == nil {
		t.Error("HTTPS without a certificate is taken")
	}
}

func TestTokens(t *testing.T) {
	tokens := NewTokens([]byte("0123456789abcdef0123456789abcdef"))
	token := tokens.InfraEnv("a")
	if !tokens.CheckInfraEnv("a", token) || token != tokens.InfraEnv("a") {
		t.Error("the right token is refused")
	}
	for uid, given := range map[string]string{"b": token, "a": token + "x", "": tokens.InfraEnv("")} {
		if tokens.CheckInfraEnv(uid, given) {
			t.Errorf("%q passes for %q", given, uid)
		}
	}
	if NewTokens(nil).CheckInfraEnv("a", NewTokens(nil).InfraEnv("a")) {
		t.Error("a token without a key passes")
	}
	if text := fmt.Sprintf("%v %+v", tokens, tokens); strings.Contains(text, "0123") || strings.Contains(text, "48") {
		t.Errorf("printed: %s", text)
	}
	if strings.ContainsAny(token, "+/=&?") {
		t.Errorf("%s does not fit a URL", token)
	}
}

func TestRequestID(t *testing.T) {
	for given, kept := range map[string]bool{"abc-1.2_Z": true, "": false, "a b": false, "a\x1b": false, strings.Repeat("a", 65): false} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set(requestIDHeader, given)
		if got := requestID(r); (got == given) != kept || got == "" {
			t.Errorf("%q gives %q", given, got)
		}
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
