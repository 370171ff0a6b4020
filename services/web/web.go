// Package web is the one HTTP(S) front: ports, TLS, tokens, middleware, the list of routes.
package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
)

// Route is one entry of the front's list.
type Route struct {
	Pattern string // as http.ServeMux has it, "GET /path/{name}"; a name with key or token in it is not logged
	Handler http.Handler
	Plain   bool  // also over plain HTTP
	MaxBody int64 // of a request; Config.MaxBody when 0
}

// Config is where the front listens.
type Config struct {
	HTTP  []netip.AddrPort // plain; port 0 takes any free one
	HTTPS []netip.AddrPort
	TLS   *tls.Config // needed with HTTPS
	// MaxBody of a request in bytes; 8 MiB when 0.
	MaxBody int64
	// Healthy is asked by /healthz; nil means that running is healthy.
	Healthy func(context.Context) error
	// Metrics counts requests and is what /metrics shows; nil leaves both out.
	Metrics *prometheus.Registry
	Log     *slog.Logger
}

const (
	defaultMaxBody = 8 << 20
	headerWait     = 10 * time.Second
	idle           = 2 * time.Minute
	grace          = 5 * time.Second
)

// Server is the front.
type Server struct {
	cfg          Config
	plain, tls   *front
	plainL, tlsL []net.Listener
}

// New makes the list of routes; one that is malformed or there twice is an error.
func New(cfg Config, routes []Route) (*Server, error) {
	if len(cfg.HTTPS) > 0 && cfg.TLS == nil {
		return nil, errors.New("web: HTTPS without a certificate")
	}
	if cfg.MaxBody == 0 {
		cfg.MaxBody = defaultMaxBody
	}
	cfg.Log = cfg.Log.With("service", "web")
	var registerer prometheus.Registerer
	routes = append([]Route{{Pattern: "GET /healthz", Handler: healthz(cfg.Healthy), Plain: true}}, routes...)
	if cfg.Metrics != nil {
		registerer = cfg.Metrics
		handler := promhttp.HandlerFor(cfg.Metrics, promhttp.HandlerOpts{})
		routes = append(routes, Route{Pattern: "GET /metrics", Handler: handler, Plain: true})
	}
	metrics, err := newMetrics(registerer)
	if err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	limits := map[string]int64{"": cfg.MaxBody}
	all, plain := http.NewServeMux(), http.NewServeMux()
	for _, r := range routes {
		if err := handle(all, r); err != nil {
			return nil, fmt.Errorf("web: %w", err)
		}
		if r.Plain {
			plain.Handle(r.Pattern, r.Handler)
		}
		limits[r.Pattern] = r.MaxBody
		if r.MaxBody == 0 {
			limits[r.Pattern] = cfg.MaxBody
		}
	}
	return &Server{
		cfg:   cfg,
		plain: &front{plain, all, limits, cfg.Log, metrics},
		tls:   &front{all, http.NewServeMux(), limits, cfg.Log, metrics},
	}, nil
}

// handle turns the mux's panic about a pattern into an error.
func handle(mux *http.ServeMux, r Route) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("route %q: %v", r.Pattern, reason)
		}
	}()
	mux.Handle(r.Pattern, r.Handler)
	return nil
}

func healthz(healthy func(context.Context) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if healthy != nil {
			if err := healthy(r.Context()); err != nil {
				Problem(w, http.StatusServiceUnavailable, err.Error())
				return
			}
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, "ok\n")
	})
}

// Listen binds all addresses, so that a taken port stops the start.
func (s *Server) Listen(ctx context.Context) error {
	for _, group := range []struct {
		addresses []netip.AddrPort
		into      *[]net.Listener
	}{{s.cfg.HTTP, &s.plainL}, {s.cfg.HTTPS, &s.tlsL}} {
		for _, a := range group.addresses {
			network := "tcp4"
			if a.Addr().Is6() {
				network = "tcp6"
			}
			l, err := (&net.ListenConfig{}).Listen(ctx, network, a.String())
			if err != nil {
				s.close()
				return fmt.Errorf("web: %w", err)
			}
			*group.into = append(*group.into, l)
		}
	}
	return nil
}

func (s *Server) close() {
	for _, l := range append(s.plainL, s.tlsL...) {
		l.Close()
	}
}

// Addresses are those that it is bound to.
func (s *Server) Addresses() (plain, https []netip.AddrPort) { return bound(s.plainL), bound(s.tlsL) }

func bound(listeners []net.Listener) (list []netip.AddrPort) {
	for _, l := range listeners {
		list = append(list, l.Addr().(*net.TCPAddr).AddrPort())
	}
	return list
}

// Run serves until ctx ends. Requests see that end at once, and answers under way have a few seconds to finish.
func (s *Server) Run(ctx context.Context) error {
	defer s.close()
	group, running := errgroup.WithContext(ctx)
	serve := func(f *front, listeners []net.Listener, start func(*http.Server, net.Listener) error) {
		server := s.server(running, f)
		for _, l := range listeners {
			group.Go(func() error {
				if err := start(server, l); !errors.Is(err, http.ErrServerClosed) {
					return fmt.Errorf("web on %s: %w", l.Addr(), err)
				}
				return nil
			})
		}
		group.Go(func() error {
			<-running.Done()
			return stop(running, server)
		})
	}
	serve(s.plain, s.plainL, func(h *http.Server, l net.Listener) error { return h.Serve(l) })
	serve(s.tls, s.tlsL, func(h *http.Server, l net.Listener) error { return h.ServeTLS(l, "", "") })
	s.cfg.Log.Info("answering", "http", fmt.Sprint(bound(s.plainL)), "https", fmt.Sprint(bound(s.tlsL)))
	return group.Wait()
}

// server has no timeout for a whole answer; writer and body bound how long a connection may stand still.
func (s *Server) server(ctx context.Context, f *front) *http.Server {
	return &http.Server{
		Handler:           f,
		TLSConfig:         secure(s.cfg.TLS),
		ReadHeaderTimeout: headerWait,
		IdleTimeout:       idle,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
}

func secure(cfg *tls.Config) *tls.Config {
	if cfg == nil {
		return nil
	}
	cfg = cfg.Clone()
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
	return cfg
}

func stop(ctx context.Context, server *http.Server) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return server.Close()
	}
	return nil
}
