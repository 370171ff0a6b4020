// Package tftp is one protocol: parse, decide, answer.
//
// It hands out the files that firmware fetches before it can speak HTTP (RFC 1350), read only, with the options blksize, timeout, tsize and
// windowsize (RFC 2347, 2348, 2349, 7440). packet.go parses, window.go decides what is sent when, loop.go carries it out.
package tftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// Files opens what a client asked for and tells its exact size in bytes. The name is clean: relative, without . and .. elements.
// An error that is fs.ErrNotExist is told to the client as that, any other is not told. What it opens is best an io.ReaderAt, then nothing is
// kept in memory, or an io.ReadSeeker. Reads may wait for a disk and for nothing else: other transfers wait with them.
type Files interface {
	Open(name string) (io.ReadCloser, int64, error)
}

// Config is where the service listens and how much it does at a time.
type Config struct {
	Addresses []netip.AddrPort // port 0 takes any free one
	Transfers int              // at a time, over all clients; 1024 when 0
	PerClient int              // transfers at a time of one address; half of Transfers when 0
	Requests  int              // a second, over all clients; 2000 when 0
}

const (
	defaultTransfers = 1024
	defaultRequests  = 2000
	mostLoops        = 4
	// One loop that has many transfers finds several packets at each wait, which costs less than many loops with few.
	processorsPerLoop = 4
)

// What a client is told. Its own words never come back and neither do paths.
var (
	errNotFound = errors.New("file not found")
	errRefused  = errors.New("file cannot be read")
	errReadOnly = errors.New("server is read only")
	errMode     = errors.New("only mode octet is served")
	errStopping = errors.New("server is stopping")
)

// Server answers read requests.
type Server struct {
	conns     []*net.UDPConn
	loops     []*loop
	turn      atomic.Uint32
	files     Files
	log       *slog.Logger
	admission *admission
	limit     *rate.Limiter
	metrics   metrics
	opening   sync.WaitGroup
}

type metrics struct {
	transfers *prometheus.CounterVec
	bytes     prometheus.Counter
}

// Listen binds all addresses, so that a taken port stops the start and not a boot. registerer may be nil.
func Listen(cfg Config, files Files, registerer prometheus.Registerer, log *slog.Logger) (*Server, error) {
	if len(cfg.Addresses) == 0 {
		return nil, errors.New("tftp: no address to listen on")
	}
	if cfg.Transfers == 0 {
		cfg.Transfers = defaultTransfers
	}
	if cfg.PerClient == 0 {
		cfg.PerClient = max(1, cfg.Transfers/2)
	}
	if cfg.Requests == 0 {
		cfg.Requests = defaultRequests
	}
	s := &Server{
		files: files, log: log.With("service", "tftp"), admission: newAdmission(cfg.Transfers, cfg.PerClient),
		limit: rate.NewLimiter(rate.Limit(cfg.Requests), cfg.Requests),
	}
	if err := errors.Join(s.register(registerer), s.bind(cfg.Addresses)); err != nil {
		return nil, fmt.Errorf("tftp: %w", errors.Join(err, s.close()))
	}
	return s, nil
}

func (s *Server) bind(addresses []netip.AddrPort) error {
	for range max(1, min(mostLoops, runtime.GOMAXPROCS(0)/processorsPerLoop)) {
		l, err := newLoop()
		if err != nil {
			return err
		}
		s.loops = append(s.loops, l)
	}
	for _, a := range addresses {
		network := "udp4"
		if a.Addr().Is6() {
			network = "udp6"
		}
		conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(a))
		if err != nil {
			return err
		}
		s.conns = append(s.conns, conn)
		if err := wantArrival(conn, a.Addr().Is6()); err != nil {
			return fmt.Errorf("ask for destination addresses on %s: %w", a, err)
		}
	}
	return nil
}

func (s *Server) register(registerer prometheus.Registerer) error {
	s.metrics = metrics{
		transfers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipway_tftp_transfers_total", Help: "TFTP requests, by what became of them.",
		}, []string{"outcome"}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "slipway_tftp_sent_bytes_total", Help: "Bytes of files sent over TFTP and acknowledged.",
		}),
	}
	if registerer == nil {
		return nil
	}
	for _, c := range []prometheus.Collector{s.metrics.transfers, s.metrics.bytes} {
		if err := registerer.Register(c); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	return nil
}

// Addresses are those that it is bound to.
func (s *Server) Addresses() []netip.AddrPort {
	bound := make([]netip.AddrPort, len(s.conns))
	for i, c := range s.conns {
		bound[i] = c.LocalAddr().(*net.UDPAddr).AddrPort()
	}
	return bound
}

func (s *Server) close() (err error) {
	for _, c := range s.conns {
		err = errors.Join(err, c.Close())
	}
	for _, l := range s.loops {
		err = errors.Join(err, l.close())
	}
	return err
}

// Run answers until ctx ends; transfers under way are broken off then, and their clients are told.
func (s *Server) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, l := range s.loops {
		group.Go(l.run)
	}
	for _, conn := range s.conns {
		group.Go(func() error { return s.listen(ctx, conn) })
	}
	group.Go(func() error {
		<-ctx.Done()
		for _, conn := range s.conns {
			_ = conn.SetReadDeadline(time.Unix(1, 0)) // wakes listen; a socket that is open takes any deadline
		}
		for _, l := range s.loops {
			l.stop()
		}
		return nil
	})
	s.log.Info("answering", "addresses", fmt.Sprint(s.Addresses()))
	err := group.Wait()
	s.opening.Wait()
	return errors.Join(err, s.close())
}
