package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	defaultAttempts    = 6
	defaultConcurrency = 8
	firstWait          = 500 * time.Millisecond
	longestWait        = time.Minute
	longestQuiet       = 5 * time.Minute // of what a registry may ask for with Retry-After
	maxErrorBody       = 64 << 10
)

var (
	// ErrNotFound says that the registry has no such thing.
	ErrNotFound = errors.New("not found")
	// ErrDigest says that content is not what its digest promises.
	ErrDigest = errors.New("content does not match its digest")
)

// Keychain knows credentials.
type Keychain interface {
	Credentials(context.Context, Repository) (Credentials, error)
}

// Config of a client. The zero value asks anonymously and verifies TLS with the system's authorities.
type Config struct {
	Keychain Keychain
	// Insecure leaves certificates unchecked, and uses plain HTTP where a registry speaks nothing else.
	Insecure bool
	// Authorities are trusted in addition to the system's; PEM.
	Authorities []byte
	// Concurrency bounds the requests to one registry that are under way, downloads and the rest apart; 0 means 8.
	Concurrency int
	// Attempts at one request, or without progress at one blob; 0 means 6.
	Attempts int
	// Limiter bounds downloads, in bytes per second; nil does not.
	Limiter *rate.Limiter
	// Mirrors are asked before the registries that images name; only where something is read.
	Mirrors *Mirrors
	Log     *slog.Logger
	// Wait lets time pass; nil means a timer.
	Wait func(context.Context, time.Duration) error
}

// Client talks to registries. It is safe for use by many goroutines.
type Client struct {
	keychain    Keychain
	insecure    bool
	concurrency int
	attempts    int
	limiter     *rate.Limiter
	mirrors     *Mirrors
	log         *slog.Logger
	wait        func(context.Context, time.Duration) error
	http        *http.Client

	mu    sync.Mutex
	hosts map[string]*host
}

// host is what the client knows of one registry.
type host struct {
	door
	reads, rest *gate // apart, because an upload's body may wait for a download
}

// Trust is TLS with the system's certificate authorities and further ones in PEM, or, where insecure, with anybody's certificate.
func Trust(authorities []byte, insecure bool) (*tls.Config, error) {
	trust := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: insecure}
	if len(authorities) == 0 {
		return trust, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(authorities) {
		return nil, errors.New("read certificate authorities: no PEM certificate in them")
	}
	trust.RootCAs = pool
	return trust, nil
}

// New returns a client.
func New(c Config) (*Client, error) {
	client := &Client{keychain: c.Keychain, insecure: c.Insecure, concurrency: c.Concurrency, attempts: c.Attempts,
		limiter: c.Limiter, mirrors: c.Mirrors, log: c.Log, wait: c.Wait, hosts: map[string]*host{}}
	if client.keychain == nil {
		client.keychain = (*AuthFiles)(nil)
	}
	if client.concurrency <= 0 {
		client.concurrency = defaultConcurrency
	}
	if client.attempts <= 0 {
		client.attempts = defaultAttempts
	}
	if client.log == nil {
		client.log = slog.New(slog.DiscardHandler)
	}
	if client.wait == nil {
		client.wait = wait
	}
	trust, err := Trust(c.Authorities, c.Insecure)
	if err != nil {
		return nil, err
	}
	client.http = &http.Client{Transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       trust,
		TLSHandshakeTimeout:   30 * time.Second,
		ResponseHeaderTimeout: 5 * time.Minute, // a registry may hash a large blob before it answers
		MaxIdleConnsPerHost:   2 * client.concurrency,
		IdleConnTimeout:       time.Minute,
		DisableCompression:    true, // bytes and their digests as they are
		WriteBufferSize:       64 << 10,
		ReadBufferSize:        64 << 10,
		// One HTTP/2 connection would put all blobs into one window; connections of their own are faster.
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
	}}
	return client, nil
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// call is one request, which can be made again.
type call struct {
	method string
	repo   Repository
	path   string // below /v2/
	at     string // in place of path: a location that the registry gave
	header http.Header
	body   func() io.Reader // nil without one; called once per attempt
	length int64
	scopes []string
	once   bool // the caller repeats, because it knows how
	want   []int
}

func (c *Client) host(name string) *host {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.hosts[name]
	if h == nil {
		h = &host{door: door{tokens: map[string]token{}}, reads: newGate(c.concurrency), rest: newGate(c.concurrency)}
		c.hosts[name] = h
	}
	return h
}

// do makes the request until it is answered as wanted, and returns the answer with its body open.
// The body's Close gives the place at the registry back.
func (c *Client) do(ctx context.Context, k call) (*http.Response, error) {
	h := c.host(k.repo.Host)
	challenged := false
	for attempt := 1; ; attempt++ {
		resp, err := c.try(ctx, h, k)
		if err == nil {
			return resp, nil
		}
		var status *StatusError
		if errors.As(err, &status) && status.Status == http.StatusUnauthorized && !challenged && h.answered(err) && !k.once {
			challenged = true
			attempt--
			continue
		}
		pause, again := retry(err, attempt)
		if errors.Is(err, errPlain) {
			attempt--
			continue
		}
		if !again || k.once || attempt >= c.attempts || ctx.Err() != nil {
			return nil, c.blame(ctx, k.repo, err)
		}
		c.log.Debug("request is repeated", "method", k.method, "registry", k.repo.Host, "attempt", attempt, "after", pause, "err", err)
		if err := c.wait(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// refusal is a StatusError with what a retry needs.
type refusal struct {
	*StatusError
	after     time.Duration // Retry-After
	challenge bool          // another try with a token makes sense
}

func (r *refusal) Unwrap() error { return r.StatusError }

func (h *host) answered(err error) bool {
	var r *refusal
	return errors.As(err, &r) && r.challenge
}

var errPlain = errors.New("registry speaks HTTP without TLS")

func (c *Client) try(ctx context.Context, h *host, k call) (*http.Response, error) {
	g := h.rest
	if k.method == http.MethodGet && k.at == "" {
		g = h.reads
	}
	if err := g.enter(ctx, c.wait); err != nil {
		return nil, err
	}
	resp, err := c.send(ctx, h, k)
	if err != nil {
		g.leave(false)
		if strings.Contains(err.Error(), plainAnswer) && c.insecure {
			h.mu.Lock()
			h.plain = true
			h.mu.Unlock()
			return nil, fmt.Errorf("%w: %s", errPlain, k.repo.Host)
		}
		return nil, withoutQuery(err)
	}
	for _, want := range k.want {
		if resp.StatusCode == want {
			resp.Body = &place{ReadCloser: resp.Body, leave: sync.OnceFunc(func() { g.leave(true) })}
			return resp, nil
		}
	}
	defer g.leave(resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests)
	defer resp.Body.Close()
	refused := &refusal{StatusError: statusError(resp), after: retryAfter(resp)}
	if resp.StatusCode == http.StatusUnauthorized {
		refused.challenge = h.refused(resp)
	}
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
		g.slow(refused.after)
	}
	return nil, refused
}

func (c *Client) send(ctx context.Context, h *host, k call) (*http.Response, error) {
	target, foreign, err := c.url(h, k)
	if err != nil {
		return nil, err
	}
	var body io.Reader
	if k.body != nil {
		body = k.body()
	}
	req, err := http.NewRequestWithContext(ctx, k.method, target, body)
	if err != nil {
		return nil, err
	}
	if k.header != nil {
		req.Header = k.header.Clone()
	}
	if body != nil {
		req.ContentLength = k.length
	}
	req.Header.Set("User-Agent", "slipway")
	if !foreign {
		authorization, err := c.authorization(ctx, &h.door, k.repo, k.scopes)
		if err != nil {
			return nil, err
		}
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
	}
	return c.http.Do(req)
}

// url of a request; foreign tells that a location leads to another host, which gets no credentials.
func (c *Client) url(h *host, k call) (string, bool, error) {
	scheme := "https"
	h.mu.Lock()
	if h.plain {
		scheme = "http"
	}
	h.mu.Unlock()
	base := &url.URL{Scheme: scheme, Host: apiHost(k.repo.Host), Path: "/v2/"}
	if k.at == "" {
		path, query, _ := strings.Cut(k.path, "?")
		base.Path += path
		base.RawQuery = query
		return base.String(), false, nil
	}
	at, err := base.Parse(k.at)
	if err != nil || at.Scheme != "https" && at.Scheme != scheme {
		return "", false, fmt.Errorf("registry %s sends uploads to a place that can't be used", k.repo.Host)
	}
	return at.String(), at.Host != base.Host, nil
}

// place gives the place at the gate back with the body.
type place struct {
	io.ReadCloser
	leave func()
}

func (p *place) Close() error {
	defer p.leave()
	return p.ReadCloser.Close()
}
