// Command dhcp measures the DHCP server beside Kea: CPU for each four-way exchange at two rates, at a hundred and at ten
// thousand leases, and what either leaves unanswered. perfdhcp asks as a relay agent, from a network namespace of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 2 && args[0] == "serve" {
		return serve(ctx, args[1])
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	rounds := flags.Int("rounds", 3, "rounds to take the median of; the servers take turns in each")
	seconds := flags.Int("seconds", 8, "length of one measurement")
	profile := flags.String("profile", "", "file for a CPU profile of our server; the last run's stays")
	brief := flags.Bool("brief", false, "only CPU for each exchange, not what ten thousand leases do to it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	for _, tool := range []string{"kea-dhcp4", "perfdhcp", "ip", "nsenter", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is missing: apt-get install kea-dhcp4-server kea-admin iproute2 util-linux", tool)
		}
	}
	dir, err := os.MkdirTemp("", "slipway-bench-dhcp-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	link, err := newLink(ctx)
	if err != nil {
		return err
	}
	defer link.close()
	b := &bench{link: link, dir: dir, seconds: *seconds, profile: *profile}
	if err := b.rates(ctx, *rounds, out); err != nil {
		return err
	}
	if *brief {
		return nil
	}
	return b.leases(ctx, *rounds, out)
}

// bench runs measurements, each against a fresh server with an empty lease store.
type bench struct {
	link    *link
	dir     string
	seconds int
	profile string
	count   int
}

// peers are asked in this order; ratios are to the first.
func peers() []peer { return []peer{kea{}, slipway{}} }

// rates compares at 300 and 1,500 exchanges each second, each from a client that was never seen.
func (b *bench) rates(ctx context.Context, rounds int, out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "offered/s\tserver\tCPU us/exchange\tratio\tdone/s\tDISCOVER drops %\tREQUEST drops %\tRSS MiB")
	for _, rate := range []int{300, 1500} {
		results := map[string][]result{}
		for range rounds {
			for _, p := range peers() {
				r, err := b.one(ctx, p, rate)
				if err != nil {
					return err
				}
				results[p.name()] = append(results[p.name()], r)
			}
		}
		base := median(results[peers()[0].name()])
		for _, p := range peers() {
			m := median(results[p.name()])
			fmt.Fprintf(table, "%d\t%s\t%.0f\t%.2f\t%.0f\t%.2f\t%.2f\t%.0f\n", rate, p.name(), m.cpu, m.cpu/base.cpu, m.done, m.discover, m.request, m.rss)
		}
	}
	return table.Flush()
}

func (b *bench) one(ctx context.Context, p peer, rate int) (result, error) {
	server, err := b.start(ctx, p)
	if err != nil {
		return result{}, err
	}
	defer server.stop()
	if _, err := b.link.load(ctx, server, 20, 50, 2*time.Second); err != nil { // threads started, files open
		return result{}, err
	}
	return b.link.load(ctx, server, rate, 40000, time.Duration(b.seconds)*time.Second)
}

// leases compares a hundred leases with ten thousand in the same server, at 300 exchanges each second.
func (b *bench) leases(ctx context.Context, rounds int, out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nserver\tCPU us/exchange at 100 leases\tat 10000\tratio\tdrops %")
	for _, p := range peers() {
		var few, many []result
		for range rounds {
			f, m, err := b.fewAndMany(ctx, p)
			if err != nil {
				return err
			}
			few, many = append(few, f), append(many, m)
		}
		f, m := median(few), median(many)
		fmt.Fprintf(table, "%s\t%.0f\t%.0f\t%.2f\t%.2f\n", p.name(), f.cpu, m.cpu, m.cpu/f.cpu, max(f.discover, f.request, m.discover, m.request))
	}
	return table.Flush()
}

func (b *bench) fewAndMany(ctx context.Context, p peer) (few, many result, err error) {
	server, err := b.start(ctx, p)
	if err != nil {
		return few, many, err
	}
	defer server.stop()
	window := time.Duration(b.seconds) * time.Second
	if _, err = b.link.load(ctx, server, 300, 100, 2*time.Second); err != nil {
		return few, many, err
	}
	if few, err = b.link.load(ctx, server, 300, 100, window); err != nil {
		return few, many, err
	}
	// Clients are drawn at random: 25,000 draws leave out 8 in 100.
	if _, err = b.link.load(ctx, server, 1250, 10900, 20*time.Second); err != nil {
		return few, many, err
	}
	many, err = b.link.load(ctx, server, 300, 10900, window)
	return few, many, err
}

func (b *bench) start(ctx context.Context, p peer) (*server, error) {
	b.count++
	dir := filepath.Join(b.dir, fmt.Sprintf("%s-%d", p.name(), b.count))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	cmd, err := p.command(dir, b.profile)
	if err != nil {
		return nil, err
	}
	return b.link.start(ctx, cmd)
}

// median by CPU.
func median(list []result) result {
	sorted := slices.SortedFunc(slices.Values(list), func(a, b result) int {
		switch {
		case a.cpu < b.cpu:
			return -1
		case a.cpu > b.cpu:
			return 1
		}
		return 0
	})
	return sorted[len(sorted)/2]
}
