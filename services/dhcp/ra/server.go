package ra

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/mdlayher/ndp"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// Answers to single hosts: a rack that powers on at once is served, a flood is not.
const (
	answersPerSecond = 100
	answersAtOnce    = 200
)

// Server advertises on one interface.
type Server struct {
	cfg      Config
	wire     *wire
	log      *slog.Logger
	sent     *prometheus.CounterVec
	others   prometheus.Gauge
	routers  routers
	schedule *schedule
	limit    *rate.Limiter
}

// Listen checks the configuration and opens the interface's socket. registerer may be nil where nobody counts.
func Listen(ctx context.Context, cfg Config, registerer prometheus.Registerer, log *slog.Logger) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("router advertisements on %s: %w", cfg.Interface, err)
	}
	s := &Server{
		cfg: cfg, log: log.With("service", "ra", "interface", cfg.Interface), routers: routers{},
		limit: rate.NewLimiter(answersPerSecond, answersAtOnce),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipway_ra_sent_total", Help: "Router advertisements, to all nodes or to the one that asked.",
		}, []string{"to"}),
		others: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "slipway_ra_other_routers", Help: "Routers of the site that advertise on the interface.",
		}),
	}
	if registerer != nil {
		registerer = prometheus.WrapRegistererWith(prometheus.Labels{"interface": cfg.Interface}, registerer)
		if err := errors.Join(registerer.Register(s.sent), registerer.Register(s.others)); err != nil {
			return nil, fmt.Errorf("router advertisements on %s: register metrics: %w", cfg.Interface, err)
		}
	}
	var err error
	if s.wire, err = listenWire(ctx, cfg.Interface); err != nil {
		return nil, fmt.Errorf("router advertisements: %w", err)
	}
	return s, nil
}

// Run advertises until ctx ends; then a gateway says that it is none any more.
func (s *Server) Run(ctx context.Context) error {
	group, running := errgroup.WithContext(ctx)
	heard := make(chan message, 64)
	stop := context.AfterFunc(running, func() { s.wire.stopReading() })
	defer stop()
	group.Go(func() error {
		defer close(heard)
		return s.wire.receive(heard)
	})
	group.Go(func() error {
		s.loop(heard)
		return nil
	})
	s.log.Info("answering", "prefix", s.cfg.Prefix, "managed", s.cfg.Managed, "autonomous", s.cfg.Autonomous, "router", s.cfg.RouterLifetime > 0)
	err := group.Wait()
	s.farewell()
	closed := s.wire.raw.Close()
	if ctx.Err() == nil {
		return errors.Join(fmt.Errorf("router advertisements on %s: %w", s.cfg.Interface, err), closed)
	}
	return nil
}

// loop has all state to itself. It ends with the receiver.
func (s *Server) loop(heard <-chan message) {
	s.schedule = newSchedule(s.cfg.says(), time.Now())
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case m, open := <-heard:
			if !open {
				return
			}
			s.handle(m, time.Now())
		case <-timer.C:
		}
		now := time.Now()
		for _, gone := range s.routers.expire(now) {
			s.log.Info("router of the site has gone silent", "ip", gone)
		}
		s.others.Set(float64(len(s.routers)))
		if next := s.schedule.next; !next.IsZero() && !next.After(now) {
			s.all(now)
		}
		timer.Reset(s.wait(now))
	}
}

func (s *Server) wait(now time.Time) time.Duration {
	if s.schedule.next.IsZero() {
		return time.Minute
	}
	return max(0, min(time.Minute, s.schedule.next.Sub(now)))
}

func (s *Server) handle(m message, now time.Time) {
	switch body := m.body.(type) {
	case *ndp.RouterSolicitation:
		if !m.from.IsLinkLocalUnicast() {
			s.schedule.asked(now)
			return
		}
		if s.limit.AllowN(now, 1) {
			s.one(m.from)
		}
	case *ndp.RouterAdvertisement:
		if m.from.IsLinkLocalUnicast() && s.routers.hear(m.from, body, now) {
			left, more := s.cfg.beside(s.routers.said())
			s.log.Info("a router of the site advertises here: only what it leaves out is added", "ip", m.from,
				"managed", body.ManagedConfiguration, "silent", !more, "prefix", left.Prefix, "dns", fmt.Sprint(left.DNS))
		}
	}
}

// one answers a host; a host that misses the answer asks again.
func (s *Server) one(to netip.Addr) {
	if raw, ok := s.render(s.cfg); ok && s.wire.send(raw, to) == nil {
		s.sent.WithLabelValues("one").Inc()
	}
}

func (s *Server) all(now time.Time) {
	raw, ok := s.render(s.cfg)
	if !ok {
		s.schedule.done(now)
		return
	}
	if err := s.wire.send(raw, allNodes()); err != nil {
		s.log.Debug("advertisement was not sent, once more in a second", "err", err)
		s.schedule.failed(now)
		return
	}
	s.sent.WithLabelValues("all").Inc()
	s.schedule.done(now)
}

func (s *Server) render(cfg Config) ([]byte, bool) {
	left, more := cfg.beside(s.routers.said())
	if !more {
		return nil, false
	}
	raw, err := left.advertisement(s.wire.mac)
	if err != nil {
		s.log.Error("router advertisement", "err", err)
		return nil, false
	}
	return raw, true
}

func (s *Server) farewell() {
	if s.cfg.RouterLifetime == 0 {
		return
	}
	last := s.cfg
	last.RouterLifetime = 0
	if raw, err := last.advertisement(s.wire.mac); err == nil {
		// The hosts find out by themselves when this gets lost.
		_ = s.wire.send(raw, allNodes())
	}
}

func allNodes() netip.Addr {
	all, _ := netip.AddrFromSlice(net.IPv6linklocalallnodes)
	return all
}
