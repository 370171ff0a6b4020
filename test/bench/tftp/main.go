// Command tftp measures the TFTP server beside tftpd-hpa, dnsmasq and atftpd: processor time and speed of 50 MB over loopback, all in one run.
package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/slipway-io/slipway/services/tftp"
	"github.com/slipway-io/slipway/services/tftp/tftptest"
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
	fileName = "blob"
	fileSize = 50_000_000
)

// rest lets servers end what a transfer leaves.
const rest = 100 * time.Millisecond

// load is one way to fetch the file.
type load struct {
	name    string
	options tftptest.Options
	clients int
}

var loads = []load{
	{"1468, lock-step", tftptest.Options{Block: 1468}, 1},
	{"1468, windowsize 16", tftptest.Options{Block: 1468, Window: 16}, 1},
	{"1468, 4 clients", tftptest.Options{Block: 1468}, 4},
	{"512, lock-step", tftptest.Options{Block: 512}, 1},
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 3 && args[0] == "serve" {
		return serve(ctx, args[1], args[2])
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	rounds := flags.Int("rounds", 3, "rounds to take the median of; servers take turns in each")
	limit := flags.Duration("limit", 4*time.Minute, "when to stop taking new measurements")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "slipway-bench-tftp-")
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
		err = compare(ctx, servers, sum, *rounds, time.Now().Add(*limit), out)
	}
	for _, s := range servers {
		err = errors.Join(err, s.process.Stop())
	}
	return err
}

func compare(ctx context.Context, servers []*server, sum [32]byte, rounds int, end time.Time, out io.Writer) error {
	for _, l := range loads {
		results, err := measure(ctx, l, rounds, servers, sum, end)
		if err != nil {
			return err
		}
		if err := report(out, l, servers, results); err != nil {
			return err
		}
	}
	return nil
}

// serve is ours, as a process of its own so that its processor time is its own.
func serve(ctx context.Context, dir, address string) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	files, err := tftp.OpenDirectory(dir)
	if err != nil {
		return err
	}
	defer files.Close()
	server, err := tftp.Listen(tftp.Config{Addresses: []netip.AddrPort{a}}, files, nil, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		return err
	}
	return server.Run(ctx)
}

// content is a file that all users may read, some servers give up their rights.
func content(dir string) (sum [32]byte, err error) {
	if err := os.Chmod(dir, 0o755); err != nil {
		return sum, err
	}
	data := make([]byte, fileSize)
	rand.Read(data)
	return sha256.Sum256(data), os.WriteFile(filepath.Join(dir, fileName), data, 0o644)
}

// result is one measurement.
type result struct {
	cpu  time.Duration // per file
	rate float64       // MB/s of all clients
}

func measure(ctx context.Context, l load, rounds int, servers []*server, sum [32]byte, end time.Time) (map[*server][]result, error) {
	results := map[*server][]result{}
	for range rounds {
		for _, s := range servers {
			if ctx.Err() != nil || time.Now().After(end) {
				return results, ctx.Err()
			}
			r, err := fetch(l, s, sum)
			if err != nil {
				return nil, fmt.Errorf("%s from %s: %w", l.name, s.name, err)
			}
			results[s] = append(results[s], r)
		}
	}
	return results, nil
}

func fetch(l load, s *server, sum [32]byte) (result, error) {
	before, err := s.process.Usage()
	if err != nil {
		return result{}, err
	}
	start := time.Now()
	var group sync.WaitGroup
	errs := make([]error, l.clients)
	for i := range l.clients {
		group.Go(func() {
			hash := sha256.New()
			_, err := tftptest.Get(s.address, fileName, l.options, hash)
			if err == nil && [32]byte(hash.Sum(nil)) != sum {
				err = errors.New("what came is not what is there")
			}
			errs[i] = err
		})
	}
	group.Wait()
	took := time.Since(start)
	if err := errors.Join(append(errs, s.process.Ended())...); err != nil {
		return result{}, err
	}
	time.Sleep(rest)
	after, err := s.process.Usage()
	if err != nil {
		return result{}, err
	}
	return result{(after.CPU - before.CPU) / time.Duration(l.clients), fileSize / 1e6 * float64(l.clients) / took.Seconds()}, nil
}

func report(out io.Writer, l load, servers []*server, results map[*server][]result) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "%s\tCPU ms per 50 MB\tmin..max\tMB/s\tours to it\n", l.name)
	cpu := func(s *server) float64 {
		return middle(results[s], func(r result) float64 { return float64(r.cpu) / float64(time.Millisecond) })
	}
	for _, s := range servers {
		if len(results[s]) == 0 {
			continue
		}
		byCPU := slices.SortedFunc(slices.Values(results[s]), func(a, b result) int { return int(a.cpu - b.cpu) })
		fmt.Fprintf(table, "%s\t%.0f\t%d..%d\t%.1f\t%.2f%s\n", s.name, cpu(s), byCPU[0].cpu.Milliseconds(), byCPU[len(byCPU)-1].cpu.Milliseconds(),
			middle(results[s], func(r result) float64 { return r.rate }), cpu(servers[0])/cpu(s), goal(l, s))
	}
	return table.Flush()
}

func goal(l load, s *server) string {
	switch {
	case l.name == loads[0].name && s.name == "dnsmasq":
		return " (goal 1.3)"
	case l.name == loads[1].name && s.name == "atftpd":
		return " (goal 1.0)"
	}
	return ""
}

func middle(results []result, of func(result) float64) float64 {
	if len(results) == 0 {
		return 0
	}
	values := make([]float64, len(results))
	for i, r := range results {
		values[i] = of(r)
	}
	slices.Sort(values)
	return values[len(values)/2]
}
