// Package dns is one protocol: parse, decide, answer.
//
// It is authoritative for the zones that it is given and forwards every other question. Answers of other servers are not cached.
package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"
)

// Config is where the service listens and whom it asks.
type Config struct {
	Addresses []netip.AddrPort // each for UDP and TCP; port 0 takes any free one
	Upstreams []netip.AddrPort // none: foreign names are refused
	Timeout   time.Duration    // for one upstream; 2 s when 0
}

const (
	udpSize     = 1232 // what crosses any path unfragmented
	connections = 256  // over TCP, per address
	forwards    = 512  // questions under way to upstreams
	stopAfter   = 2 * time.Second
)

// Server answers over UDP and TCP.
type Server struct {
	upstreams []netip.AddrPort
	timeout   time.Duration
	log       *slog.Logger
	queries   *prometheus.CounterVec
	slots     chan struct{}
	records   atomic.Pointer[snapshot]
	packets   []net.PacketConn
	listeners []net.Listener
}

// Listen binds all addresses. Until Set is called, no zone is served. registerer may be nil.
func Listen(ctx context.Context, cfg Config, registerer prometheus.Registerer, log *slog.Logger) (*Server, error) {
	if len(cfg.Addresses) == 0 {
		return nil, errors.New("dns: no address to listen on")
	}
	s := &Server{
		upstreams: cfg.Upstreams, timeout: cfg.Timeout, log: log.With("service", "dns"), slots: make(chan struct{}, forwards),
		queries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipway_dns_queries_total", Help: "DNS questions answered, by source of the answer and its code.",
		}, []string{"source", "rcode"}),
	}
	if s.timeout == 0 {
		s.timeout = 2 * time.Second
	}
	s.records.Store(&snapshot{})
	if registerer != nil {
		if err := registerer.Register(s.queries); err != nil {
			return nil, fmt.Errorf("dns: register metrics: %w", err)
		}
	}
	for _, a := range cfg.Addresses {
		if err := s.bind(ctx, a); err != nil {
			s.close()
			return nil, fmt.Errorf("dns: %w", err)
		}
	}
	if err := s.checkLoops(); err != nil {
		s.close()
		return nil, fmt.Errorf("dns: %w", err)
	}
	return s, nil
}

// bind takes the same port for UDP and TCP. With port 0 the port that UDP gets may be taken for TCP, so it tries again.
func (s *Server) bind(ctx context.Context, a netip.AddrPort) error {
	family := "4"
	if a.Addr().Is6() {
		family = "6"
	}
	var lc net.ListenConfig
	for try := 0; ; try++ {
		packet, err := lc.ListenPacket(ctx, "udp"+family, a.String())
		if err != nil {
			return err
		}
		bound := packet.LocalAddr().(*net.UDPAddr).AddrPort()
		listener, err := lc.Listen(ctx, "tcp"+family, bound.String())
		if err == nil {
			s.packets = append(s.packets, packet)
			s.listeners = append(s.listeners, netutil.LimitListener(listener, connections))
			return nil
		}
		packet.Close()
		if a.Port() != 0 || try == 10 {
			return err
		}
	}
}

// checkLoops refuses an upstream that is this server itself.
func (s *Server) checkLoops() error {
	var own []netip.Addr
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("read own addresses: %w", err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			own = append(own, p.Addr())
		}
	}
	for _, up := range s.upstreams {
		for _, bound := range s.Addresses() {
			if up == bound || (up.Port() == bound.Port() && bound.Addr().IsUnspecified() && slices.Contains(own, up.Addr())) {
				return fmt.Errorf("upstream %s: is this server itself", up)
			}
		}
	}
	return nil
}

// Addresses are those that it is bound to.
func (s *Server) Addresses() []netip.AddrPort {
	bound := make([]netip.AddrPort, len(s.packets))
	for i, p := range s.packets {
		bound[i] = p.LocalAddr().(*net.UDPAddr).AddrPort()
	}
	return bound
}

// Set replaces all records at once; questions under way get the old ones or the new ones, never a mixture. Faulty records
// change nothing.
func (s *Server) Set(r Records) error {
	next, err := compile(r, s.records.Load().serial+1)
	if err != nil {
		return fmt.Errorf("set DNS records: %w", err)
	}
	if next.serial == 1 { // the first since the start: ahead of what an earlier run has told
		next.serial = uint32(time.Now().Unix())
	}
	s.records.Store(next)
	return nil
}

func (s *Server) close() {
	for i, p := range s.packets {
		p.Close()
		s.listeners[i].Close()
	}
}

// Run answers until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	defer s.close()
	group, running := errgroup.WithContext(ctx)
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { s.serve(running, w, q) })
	var servers []*dns.Server
	for i, packet := range s.packets {
		servers = append(servers,
			&dns.Server{PacketConn: packet, Handler: handler, UDPSize: udpSize},
			&dns.Server{Listener: s.listeners[i], Handler: handler})
	}
	for _, server := range servers {
		group.Go(func() error {
			if err := server.ActivateAndServe(); err != nil && running.Err() == nil {
				return fmt.Errorf("dns: %w", err)
			}
			return nil
		})
	}
	group.Go(func() error {
		<-running.Done()
		s.stop(running, servers)
		return nil
	})
	s.log.Info("answering", "addresses", fmt.Sprint(s.Addresses()), "upstreams", fmt.Sprint(s.upstreams))
	return group.Wait()
}

// stop ends the servers; one that has not started yet finds its socket closed.
func (s *Server) stop(ctx context.Context, servers []*dns.Server) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopAfter)
	defer cancel()
	for _, server := range servers {
		if err := server.ShutdownContext(ctx); err != nil {
			s.log.Debug("DNS server did not stop by itself", "err", err)
		}
	}
	s.close()
}
