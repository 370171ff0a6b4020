// Command http measures the web front beside nginx: the speed of a 1 GB file over loopback, and what 100 downloads at once cost in memory.
package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/slipway-io/slipway/services/web"
	"github.com/slipway-io/slipway/test/bench/peers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

const (
	fileName  = "image"
	fileSize  = 1 << 30
	downloads = 100
	watched   = 8 * time.Second // how long the downloads run at once
)

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 3 && args[0] == "serve" {
		return serve(ctx, args[1], args[2])
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	rounds := flags.Int("rounds", 7, "rounds to take the median of; the servers take turns in each")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "slipway-bench-http-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	sum, err := content(dir)
	if err != nil {
		return err
	}
	servers, err := start(ctx, dir)
	if err == nil {
		err = compare(ctx, servers, sum, *rounds, out)
	}
	for _, s := range servers {
		err = errors.Join(err, s.process.Stop())
	}
	return err
}

// serve is ours, as a process of its own so that its processor time and memory are its own.
func serve(ctx context.Context, dir, address string) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	server, err := web.New(web.Config{HTTP: []netip.AddrPort{a}, Log: slog.New(slog.DiscardHandler)},
		[]web.Route{{Pattern: "GET /", Handler: web.NewFiles(root), Plain: true}})
	if err != nil {
		return err
	}
	if err := server.Listen(ctx); err != nil {
		return err
	}
	return server.Run(ctx)
}

// content writes a file without holes, each block another.
func content(dir string) (sum [32]byte, err error) {
	if err := os.Chmod(dir, 0o755); err != nil {
		return sum, err
	}
	f, err := os.OpenFile(filepath.Join(dir, fileName), os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return sum, err
	}
	block := make([]byte, 1<<20)
	rand.Read(block)
	hash := sha256.New()
	for i := range uint64(fileSize / len(block)) {
		binary.BigEndian.PutUint64(block, i)
		if _, err := io.MultiWriter(f, hash).Write(block); err != nil {
			return sum, errors.Join(err, f.Close())
		}
	}
	return [32]byte(hash.Sum(nil)), f.Close()
}

// server is one of the two; the first is ours.
type server struct {
	name    string
	url     string
	process *peers.Process

	rates []float64 // MB/s
	cpu   []float64 // seconds for the file
}

const nginxConfig = `
daemon off; worker_processes auto; error_log stderr; pid %[1]s/nginx.pid;
events { worker_connections 512; }
http {
  access_log off; sendfile on; tcp_nopush on;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
  server { listen %[2]s; root %[1]s; }
}
`

func start(ctx context.Context, dir string) ([]*server, error) {
	root, err := peers.Unpack(ctx, "nginx")
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var servers []*server
	for _, name := range []string{"slipway", "nginx"} {
		address, err := peers.FreePort("tcp", "127.0.0.1")
		if err != nil {
			return servers, err
		}
		command := []string{self, "serve", dir, address.String()}
		if name == "nginx" {
			config := filepath.Join(dir, "nginx.conf")
			if err := os.WriteFile(config, fmt.Appendf(nil, nginxConfig, dir, address), 0o600); err != nil {
				return servers, err
			}
			command = []string{filepath.Join(root, "usr/sbin/nginx"), "-e", "stderr", "-p", dir, "-c", config}
		}
		process, err := peers.Start(command, peers.Libraries(root))
		if err != nil {
			return servers, err
		}
		servers = append(servers, &server{name: name, url: "http://" + address.String() + "/" + fileName, process: process})
	}
	return servers, nil
}

func compare(ctx context.Context, servers []*server, sum [32]byte, rounds int, out io.Writer) error {
	for _, s := range servers {
		if err := s.check(ctx, sum); err != nil {
			return err
		}
	}
	for range rounds {
		for _, s := range servers {
			if err := s.measure(ctx); err != nil {
				return err
			}
		}
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "1 GB over loopback\tMB/s\tmin..max\tours to it\tCPU s per GB")
	for _, s := range servers {
		goal := ""
		if s.name == "nginx" {
			goal = " (goal 0.9)"
		}
		fmt.Fprintf(table, "%s\t%.0f\t%.0f..%.0f\t%.2f%s\t%.3f\n", s.name, middle(s.rates), slices.Min(s.rates), slices.Max(s.rates),
			middle(servers[0].rates)/middle(s.rates), goal, middle(s.cpu))
	}
	fmt.Fprintf(table, "%d downloads at once\tMiB before\tmost\tgrowth\t\n", downloads)
	for _, s := range servers {
		before, most, err := s.crowd(ctx)
		if err != nil {
			return err
		}
		goal := ""
		if s == servers[0] {
			goal = " (goal 64)"
		}
		fmt.Fprintf(table, "%s\t%.1f\t%.1f\t%.1f%s\t\n", s.name, before, most, most-before, goal)
	}
	return table.Flush()
}

// check waits for the server and compares what it gives.
func (s *server) check(ctx context.Context, sum [32]byte) error {
	for {
		hash := sha256.New()
		err := s.fetch(ctx, hash)
		if err == nil {
			if [32]byte(hash.Sum(nil)) != sum {
				return fmt.Errorf("%s gives another file", s.name)
			}
			return nil
		}
		var refused *net.OpError
		if !errors.As(err, &refused) || ctx.Err() != nil {
			return err
		}
		if err := s.process.Ended(); err != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (s *server) fetch(ctx context.Context, to io.Writer) error {
	transport := &http.Transport{DisableKeepAlives: true, ReadBufferSize: 256 << 10}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.ContentLength != fileSize {
		return fmt.Errorf("%s answers %s with %d bytes", s.name, resp.Status, resp.ContentLength)
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{resp.Body}, make([]byte, 256<<10))
	if err == nil && n != fileSize {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func (s *server) measure(ctx context.Context) error {
	before, err := s.process.Usage()
	if err != nil {
		return err
	}
	start := time.Now()
	if err := s.fetch(ctx, io.Discard); err != nil {
		return err
	}
	took := time.Since(start)
	after, err := s.process.Usage()
	if err != nil {
		return err
	}
	s.rates = append(s.rates, fileSize/1e6/took.Seconds())
	s.cpu = append(s.cpu, (after.CPU - before.CPU).Seconds())
	return nil
}

// crowd starts many downloads, which all run for a while, and gives the memory in MiB before and at its most.
func (s *server) crowd(ctx context.Context) (before, most float64, err error) {
	usage, err := s.process.Usage()
	if err != nil {
		return 0, 0, err
	}
	before = float64(usage.RSS) / (1 << 20)
	ctx, cancel := context.WithTimeout(ctx, watched)
	defer cancel()
	var group sync.WaitGroup
	defer group.Wait()
	failed := make(chan error, downloads)
	for range downloads {
		group.Go(func() {
			if err := s.fetch(ctx, slow{ctx}); err != nil && ctx.Err() == nil {
				failed <- err
			}
		})
	}
	for {
		select {
		case <-ctx.Done():
			return before, most, nil
		case err := <-failed:
			cancel()
			return 0, 0, err
		case <-time.After(50 * time.Millisecond):
		}
		if usage, err = s.process.Usage(); err != nil {
			return 0, 0, err
		}
		most = max(most, float64(usage.RSS)/(1<<20))
	}
}

// slow takes at most 10 MB/s, so that all downloads are under way at the same time.
type slow struct{ ctx context.Context }

func (s slow) Write(p []byte) (int, error) {
	select {
	case <-s.ctx.Done():
		return 0, s.ctx.Err()
	case <-time.After(time.Duration(len(p)) * time.Second / 10e6):
		return len(p), nil
	}
}

func middle(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
