package dhcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-io/slipway/services/dhcp/lease"
)

const queueLimit = 1024

// Server answers DHCPv4 on one interface.
type Server struct {
	cfg     Config
	wire    *wire
	log     *slog.Logger
	metrics metrics
	now     func() time.Time

	proxy  *proxy // in mode proxy, where there is no engine and no lease log
	leases *lease.Log
	mu     sync.Mutex // guards engine
	engine *engine
	said   said
	low    chan struct{} // a reserve wants to be filled
}

type metrics struct {
	packets *prometheus.CounterVec
	dropped prometheus.Counter
	failed  prometheus.Counter

	conflicts prometheus.Counter
	others    prometheus.Gauge
}

// Listen checks the configuration, reads the leases and binds. boot may be nil where nothing boots, reservations where
// there are none, registerer where nobody counts.
func Listen(ctx context.Context, cfg Config, boot Boot, reservations Reservations, registerer prometheus.Registerer, log *slog.Logger) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("dhcp on %s: %w", cfg.Interface, err)
	}
	if filepath.Base(cfg.Interface) != cfg.Interface {
		return nil, fmt.Errorf("dhcp: %q is not the name of an interface", cfg.Interface)
	}
	if boot == nil {
		boot = nothing{}
	}
	if reservations == nil {
		reservations = Fixed{}
	}
	s := &Server{cfg: cfg, log: log.With("service", "dhcp", "interface", cfg.Interface), now: time.Now, said: said{at: map[string]time.Time{}}, low: make(chan struct{}, 1)}
	if cfg.Proxy {
		s.proxy = newProxy(cfg, boot)
	} else {
		s.engine = newEngine(cfg, boot, reservations)
	}
	if err := s.register(registerer); err != nil {
		return nil, fmt.Errorf("dhcp on %s: %w", cfg.Interface, err)
	}
	var err error
	if s.wire, err = listenWire(ctx, cfg.Interface, cfg.Address.Addr(), cfg.Proxy); err != nil {
		return nil, fmt.Errorf("dhcp: %w", err)
	}
	if err := s.wire.listenAround(ctx, s.engine != nil && len(cfg.Relayed) > 0); err != nil {
		return nil, errors.Join(fmt.Errorf("dhcp on %s: %w", cfg.Interface, err), s.wire.close())
	}
	if err := s.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("dhcp on %s: %w", cfg.Interface, err), s.wire.close())
	}
	return s, nil
}

// nothing boots nothing.
type nothing struct{}

func (nothing) Boot(Client) Offer { return Offer{} }

func (s *Server) open() error {
	if s.engine == nil {
		return nil
	}
	file, leases, fixed, err := lease.Open(s.cfg.Dir, s.cfg.Interface)
	if err != nil {
		return err
	}
	if fixed != (lease.Repair{}) {
		s.log.Warn("lease log repaired", "cutBytes", fixed.Cut, "skippedRecords", fixed.Skipped)
	}
	s.leases = file
	if taken := s.engine.load(leases); taken < len(leases) {
		s.log.Warn("leases of networks that are no longer served were left out", "leases", len(leases)-taken)
	}
	return nil
}

func (s *Server) register(registerer prometheus.Registerer) error {
	s.metrics = metrics{
		packets: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipway_dhcp_packets_total", Help: "DHCPv4 packets received, by type and what became of them.",
		}, []string{"type", "outcome"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "slipway_dhcp_dropped_total", Help: "DHCPv4 packets dropped because the queue was full.",
		}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "slipway_dhcp_unanswered_total", Help: "DHCPv4 answers that could not be recorded or sent.",
		}),
	}
	s.metrics.conflicts = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "slipway_dhcp_conflicts_total", Help: "Addresses of the pools that a probe found in use without a lease.",
	})
	s.metrics.others = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "slipway_dhcp_other_servers", Help: "DHCP servers that are not ours and offered an address when last asked.",
	})
	active := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "slipway_dhcp_leases", Help: "Leases in use.",
	}, func() float64 { return float64(s.activeLeases()) })
	if registerer == nil {
		return nil
	}
	registerer = prometheus.WrapRegistererWith(prometheus.Labels{"interface": s.cfg.Interface}, registerer)
	for _, c := range []prometheus.Collector{s.metrics.packets, s.metrics.dropped, s.metrics.failed, s.metrics.conflicts, s.metrics.others, active} {
		if err := registerer.Register(c); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	return nil
}

// Leases lists what is known, expired ones included, by address; none in mode proxy.
func (s *Server) Leases() []Lease {
	if s.engine == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.engine.leases.Leases()
}

func (s *Server) activeLeases() (n int) {
	now := s.now()
	for _, l := range s.Leases() {
		if l.Active(now) && l.Client != "" {
			n++
		}
	}
	return n
}

// Run answers until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	group, running := errgroup.WithContext(ctx)
	stop := context.AfterFunc(running, func() { _ = s.wire.closeAround() })
	defer stop()
	if s.wire.offers != nil {
		group.Go(func() error { return s.watchOthers(running) })
	}
	if s.engine != nil {
		if s.wire.arp != nil {
			s.fill(running, 0) // who comes meanwhile waits in the socket
		}
		group.Go(func() error { return s.keepReserves(running) })
	}
	group.Go(func() error { return s.receive(running, s.wire.udp, false) })
	if s.wire.boot != nil {
		group.Go(func() error { return s.receive(running, s.wire.boot, true) })
	}
	s.log.Info("answering", "address", s.cfg.Address, "proxy", s.cfg.Proxy)
	err := group.Wait()
	closed := s.wire.closePorts()
	if s.leases != nil {
		closed = errors.Join(closed, s.leases.Close())
	}
	if closed != nil {
		return fmt.Errorf("dhcp on %s: close: %w", s.cfg.Interface, closed)
	}
	if ctx.Err() == nil {
		return fmt.Errorf("dhcp on %s: %w", s.cfg.Interface, err)
	}
	return nil
}

// answer decides a batch and sends what gives nothing; what has to be on disk first is returned.
func (s *Server) answer(batch []arrival) (decided commits) {
	for i, d := range s.decide(batch) {
		s.metrics.packets.WithLabelValues(typeLabel(batch[i].DHCPv4), string(d.Outcome)).Inc()
		if len(d.Records) > 0 {
			decided.packets, decided.decisions = append(decided.packets, batch[i]), append(decided.decisions, d)
			continue
		}
		s.tell(batch[i], d)
		s.send(batch[i], d.Reply)
	}
	return decided
}

// send answers on the boot server's port whoever asked there, all others as RFC 2131 says.
func (s *Server) send(p arrival, reply *dhcpv4.DHCPv4) {
	if reply == nil {
		return
	}
	var err error
	if p.boot {
		err = s.wire.sendBoot(reply, p.from)
	} else {
		err = s.wire.send(reply)
	}
	if err != nil {
		s.metrics.failed.Inc()
		s.log.Warn("answer was not sent", "mac", p.ClientHWAddr.String(), "err", err)
	}
}

func (s *Server) decide(batch []arrival) []Decision {
	decisions := make([]Decision, len(batch))
	if s.proxy != nil {
		for i, p := range batch {
			decisions[i] = s.proxy.decide(p)
		}
		return decisions
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for i, p := range batch {
		decisions[i] = s.engine.decide(now, p.DHCPv4)
	}
	if s.engine.low() {
		select {
		case s.low <- struct{}{}:
		default:
		}
	}
	return decisions
}
