package dhcp6

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/slipway-io/slipway/services/dhcp"
	"github.com/slipway-io/slipway/services/dhcp/lease"
)

const (
	queueLimit = 1024
	batchMost  = 256
	sayAgain   = time.Hour
)

// Server answers DHCPv6 on one interface.
type Server struct {
	cfg     Config
	wire    *wire
	log     *slog.Logger
	metrics metrics
	now     func() time.Time

	mu     sync.Mutex // guards engine and leases
	engine *engine
	leases *lease.Log           // nil in mode proxy
	said   map[string]time.Time // when something was last logged; of the worker only
}

type metrics struct {
	packets         *prometheus.CounterVec
	dropped, failed prometheus.Counter
}

// Listen checks the configuration, reads the leases and binds. boot may be nil where nothing boots, reservations where
// there are none, registerer where nobody counts.
func Listen(ctx context.Context, cfg Config, boot Boot, reservations Reservations, registerer prometheus.Registerer, log *slog.Logger) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("dhcp6 on %s: %w", cfg.Interface, err)
	}
	if filepath.Base(cfg.Interface) != cfg.Interface {
		return nil, fmt.Errorf("dhcp6: %q is not the name of an interface", cfg.Interface)
	}
	if boot == nil {
		boot = nothing{}
	}
	if reservations == nil {
		reservations = dhcp.Fixed{}
	}
	s := &Server{cfg: cfg, log: log.With("service", "dhcp6", "interface", cfg.Interface), now: time.Now, said: map[string]time.Time{}}
	duid, err := openDUID(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("dhcp6 on %s: %w", cfg.Interface, err)
	}
	s.engine = newEngine(cfg, duid, boot, reservations)
	if err := s.register(registerer); err != nil {
		return nil, fmt.Errorf("dhcp6 on %s: %w", cfg.Interface, err)
	}
	if s.wire, err = listenWire(ctx, cfg.Interface); err != nil {
		return nil, fmt.Errorf("dhcp6: %w", err)
	}
	if err := s.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("dhcp6 on %s: %w", cfg.Interface, err), s.wire.udp.Close())
	}
	return s, nil
}

// nothing boots nothing.
type nothing struct{}

func (nothing) Boot(dhcp.Client) dhcp.Offer { return dhcp.Offer{} }

func (s *Server) open() error {
	if s.cfg.Proxy {
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
			Name: "slipway_dhcp6_packets_total", Help: "DHCPv6 packets received, by type and what became of them.",
		}, []string{"type", "outcome"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "slipway_dhcp6_dropped_total", Help: "DHCPv6 packets dropped because the queue was full.",
		}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "slipway_dhcp6_unanswered_total", Help: "DHCPv6 answers that could not be recorded or sent.",
		}),
	}
	active := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "slipway_dhcp6_leases", Help: "Leases in use.",
	}, func() float64 { return float64(s.activeLeases()) })
	if registerer == nil {
		return nil
	}
	registerer = prometheus.WrapRegistererWith(prometheus.Labels{"interface": s.cfg.Interface}, registerer)
	for _, c := range []prometheus.Collector{s.metrics.packets, s.metrics.dropped, s.metrics.failed, active} {
		if err := registerer.Register(c); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	return nil
}

// Leases lists what is known, expired ones included, by address.
func (s *Server) Leases() []lease.Lease {
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
	packets := make(chan arrival, queueLimit)
	stop := context.AfterFunc(running, func() { s.wire.udp.Close() })
	defer stop()
	group.Go(func() error {
		defer close(packets)
		return s.receive(packets)
	})
	group.Go(func() error { return s.work(packets) })
	s.log.Info("answering", "address", s.cfg.Address, "proxy", s.cfg.Proxy)
	err := group.Wait()
	if s.leases != nil {
		if closed := s.leases.Close(); closed != nil {
			return fmt.Errorf("dhcp6 on %s: close: %w", s.cfg.Interface, closed)
		}
	}
	if ctx.Err() == nil {
		return fmt.Errorf("dhcp6 on %s: %w", s.cfg.Interface, err)
	}
	return nil
}

func (s *Server) receive(packets chan<- arrival) error {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := s.wire.udp.ReadFromUDPAddrPort(buf)
		if errors.Is(err, unix.ENETDOWN) {
			continue // the interface went down; packets come again when it is up
		}
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		p, err := dhcpv6.FromBytes(buf[:n])
		if err != nil {
			s.metrics.packets.WithLabelValues("unknown", string(Malformed)).Inc()
			s.log.Debug("packet is not DHCPv6", "ip", from.Addr(), "err", err)
			continue
		}
		select {
		case packets <- arrival{p, from.Addr().WithZone("")}:
		default:
			s.metrics.dropped.Inc() // its client asks again
		}
	}
}

// work takes what has come together since the last sync as one batch.
func (s *Server) work(packets <-chan arrival) error {
	for first := range packets {
		batch := []arrival{first}
		for more := true; more && len(batch) < batchMost; {
			select {
			case p, ok := <-packets:
				if more = ok; ok {
					batch = append(batch, p)
				}
			default:
				more = false
			}
		}
		if err := s.answer(batch); err != nil {
			// The socket goes too, so that the receiver ends.
			return errors.Join(err, s.wire.udp.Close())
		}
	}
	return nil
}

// answer decides a batch, puts its leases on disk with one sync, and only then sends. What cannot be recorded stays
// unanswered: the client asks again. The error is that of a log that takes nothing more.
func (s *Server) answer(batch []arrival) error {
	decisions, err := s.decide(batch)
	if s.leases != nil && s.leases.Broken() != nil {
		return s.leases.Broken()
	}
	if err != nil {
		s.metrics.failed.Add(float64(len(batch)))
		s.log.Error("leases could not be recorded, their clients get no answer", "err", err)
	}
	for i, d := range decisions {
		s.metrics.packets.WithLabelValues(typeLabel(batch[i]), string(d.Outcome)).Inc()
		if d.Reply == nil || (err != nil && len(d.Records) > 0) {
			s.tell(batch[i].from, d)
			continue
		}
		if err := s.wire.send(d.Reply, batch[i].from); err != nil {
			s.metrics.failed.Inc()
			s.log.Warn("answer was not sent", "client", d.Client, "err", err)
			continue
		}
		s.tell(batch[i].from, d)
	}
	return nil
}

func (s *Server) decide(batch []arrival) ([]Decision, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	decisions := make([]Decision, len(batch))
	var records []lease.Lease
	for i, p := range batch {
		decisions[i] = s.engine.decide(now, p)
		records = append(records, decisions[i].Records...)
	}
	if len(records) == 0 {
		return decisions, nil
	}
	if err := s.leases.Append(records); err != nil {
		return decisions, err
	}
	if err := s.leases.Tidy(s.engine.leases); err != nil {
		s.log.Warn("lease log stays as long as it is", "err", err)
	}
	return decisions, nil
}

// tell logs what an operator wants to know; what repeats with each packet, once an hour.
func (s *Server) tell(from netip.Addr, d Decision) {
	switch d.Outcome {
	case Leased:
		if file := bootFile(d.Reply); file != "" {
			s.log.Info("lease with boot file", "mac", d.Client, "ip", d.Address, "file", file)
			return
		}
		s.log.Info("lease", "mac", d.Client, "ip", d.Address)
	case Declined:
		s.log.Warn("address is in use by another host", "mac", d.Client, "ip", d.Address)
	case Exhausted:
		if s.again("full " + d.Subnet.String()) {
			s.log.Warn("no address is left: widen the pool, or shorten leaseTime", "mac", d.Client, "subnet", d.Subnet)
		}
	case Unknown:
		if s.again("relay") {
			s.log.Warn("relayed from a network that is not configured: add it to dhcp.relayed", "relay", from)
		}
	case Foreign:
		if !s.cfg.Proxy && s.again("foreign") {
			s.log.Warn("a client has chosen another DHCPv6 server: turn one of the two off, or set mode: proxy here", "mac", d.Client)
		}
	}
}

func (s *Server) again(key string) bool {
	now := s.now()
	if last, known := s.said[key]; known && now.Sub(last) < sayAgain {
		return false
	}
	s.said[key] = now
	return true
}

// bootFile leaves the query out: the log is for people, and what follows the ? may be long.
func bootFile(reply dhcpv6.DHCPv6) string {
	m, err := reply.GetInnerMessage()
	if err != nil {
		return ""
	}
	file, _, _ := strings.Cut(m.Options.BootFileURL(), "?")
	return file
}

// typeLabel bounds the metric's label to the message types that there are.
func typeLabel(a arrival) string {
	m, err := a.GetInnerMessage()
	if err != nil || m == nil || m.MessageType < dhcpv6.MessageTypeSolicit || m.MessageType > dhcpv6.MessageTypeInformationRequest {
		return "unknown"
	}
	return strings.ToLower(m.MessageType.String())
}
