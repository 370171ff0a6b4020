// Package tftp is one protocol: parse, decide, answer.
//
// It hands out the few files that firmware fetches before it can speak HTTP: read only, block size and transfer size options,
// one socket per transfer. The transfer loop is pin/tftp's.
package tftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path"
	"strings"
	"time"

	"github.com/pin/tftp/v3"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

// Files opens what a client asked for and tells its size. The name is clean: relative, without . and .. elements.
// An error that is fs.ErrNotExist is told to the client as that, any other is not told.
type Files interface {
	Open(name string) (io.ReadCloser, int64, error)
}

// Config is where the service listens and how much it does at a time.
type Config struct {
	Addresses []netip.AddrPort // port 0 takes any free one
	Transfers int              // at a time, over all clients; 512 when 0
}

const (
	retransmitAfter = time.Second
	retransmissions = 6
)

// What a client is told. Its own words never come back and neither do paths.
var (
	errNotFound = errors.New("file not found")
	errRefused  = errors.New("file cannot be read")
	errBusy     = errors.New("server is busy, try again")
	errStopping = errors.New("server is stopping")
)

// Server answers read requests.
type Server struct {
	conns   []*net.UDPConn
	files   Files
	log     *slog.Logger
	slots   chan struct{}
	metrics metrics
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
		cfg.Transfers = 512
	}
	s := &Server{files: files, log: log.With("service", "tftp"), slots: make(chan struct{}, cfg.Transfers)}
	if err := s.register(registerer); err != nil {
		return nil, fmt.Errorf("tftp: %w", err)
	}
	for _, a := range cfg.Addresses {
		network := "udp4"
		if a.Addr().Is6() {
			network = "udp6"
		}
		conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(a))
		if err != nil {
			s.close()
			return nil, fmt.Errorf("tftp: %w", err)
		}
		s.conns = append(s.conns, conn)
	}
	return s, nil
}

func (s *Server) register(registerer prometheus.Registerer) error {
	s.metrics = metrics{
		transfers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipway_tftp_transfers_total", Help: "TFTP read requests, by what became of them.",
		}, []string{"outcome"}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "slipway_tftp_sent_bytes_total", Help: "Bytes of files sent over TFTP.",
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

func (s *Server) close() {
	for _, c := range s.conns {
		c.Close()
	}
}

// Run answers until ctx ends; transfers under way are broken off then.
func (s *Server) Run(ctx context.Context) error {
	defer s.close()
	group, ctx := errgroup.WithContext(ctx)
	for _, conn := range s.conns {
		server := tftp.NewServer(func(name string, to io.ReaderFrom) error { return s.read(ctx, name, to) }, nil)
		server.SetTimeout(retransmitAfter)
		server.SetRetries(retransmissions)
		server.SetBackoff(func(int) time.Duration { return 0 })
		group.Go(func() error {
			if err := server.Serve(conn); err != nil {
				return fmt.Errorf("tftp on %s: %w", conn.LocalAddr(), err)
			}
			return nil
		})
		group.Go(func() error {
			<-ctx.Done()
			server.Shutdown()
			return nil
		})
	}
	s.log.Info("answering", "addresses", fmt.Sprint(s.Addresses()))
	return group.Wait()
}

// read serves one request. The error that it returns is what the client sees.
func (s *Server) read(ctx context.Context, name string, to io.ReaderFrom) error {
	client := ""
	if out, ok := to.(tftp.OutgoingTransfer); ok {
		addr := out.RemoteAddr()
		client = addr.IP.String()
	}
	log := s.log.With("ip", client, "file", printable(name))
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		s.metrics.transfers.WithLabelValues("busy").Inc()
		log.Warn("too many transfers at a time")
		return errBusy
	}
	clean, ok := cleanName(name)
	if !ok {
		s.metrics.transfers.WithLabelValues("refused").Inc()
		log.Info("name refused")
		return errRefused
	}
	file, size, err := s.files.Open(clean)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.metrics.transfers.WithLabelValues("missing").Inc()
		log.Info("no such file")
		return errNotFound
	case err != nil:
		s.metrics.transfers.WithLabelValues("refused").Inc()
		log.Warn("file was not opened", "err", err)
		return errRefused
	}
	defer file.Close()
	if out, ok := to.(tftp.OutgoingTransfer); ok {
		out.SetSize(size)
	}
	start := time.Now()
	n, err := to.ReadFrom(&stoppable{ctx, file})
	s.metrics.bytes.Add(float64(n))
	if err != nil {
		s.metrics.transfers.WithLabelValues("broken").Inc()
		level := slog.LevelInfo
		if n == 0 {
			level = slog.LevelDebug // UEFI asks for the size with a transfer that it breaks off at once
		}
		log.Log(ctx, level, "transfer ended early", "bytes", n, "err", err)
		return errRefused
	}
	s.metrics.transfers.WithLabelValues("done").Inc()
	log.Info("file sent", "bytes", n, "duration", time.Since(start).Round(time.Millisecond))
	return nil
}

// stoppable ends a transfer at its next block once ctx has ended.
type stoppable struct {
	ctx  context.Context
	from io.Reader
}

func (r *stoppable) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, errStopping
	}
	return r.from.Read(p)
}

// cleanName roots a name. Backslashes are what some firmware puts between path elements.
func cleanName(name string) (string, bool) {
	if len(name) > 512 || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", false
	}
	name = strings.TrimLeft(strings.ReplaceAll(name, `\`, "/"), "/")
	for _, element := range strings.Split(name, "/") {
		if element == ".." {
			return "", false
		}
	}
	name = path.Clean(name)
	return name, name != "." && fs.ValidPath(name)
}

func printable(name string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '.'
		}
		return r
	}, name[:min(len(name), 128)])
}

// Directory serves the regular files of a directory and below; nothing leads out of it, symbolic links neither.
type Directory struct{ root *os.Root }

// OpenDirectory opens the directory once; Close it after the server's end.
func OpenDirectory(dir string) (*Directory, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open TFTP directory: %w", err)
	}
	return &Directory{root}, nil
}

// Close releases the directory.
func (d *Directory) Close() error { return d.root.Close() }

// Open opens a regular file.
func (d *Directory) Open(name string) (io.ReadCloser, int64, error) {
	info, err := d.root.Stat(name)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("open %s: is not a regular file", name)
	}
	file, err := d.root.Open(name)
	if err != nil {
		return nil, 0, err
	}
	return file, info.Size(), nil
}
