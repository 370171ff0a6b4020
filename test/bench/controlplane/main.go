// Command controlplane measures control planes: how long one takes to start compared with the bare
// programs, ten at once, and what ten cost in memory and CPU when they idle.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
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

// options are the command line.
type options struct {
	release string
	shim    string
	runs    int
	count   int
	idle    time.Duration
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 3 && args[0] == "shim" {
		return runShim(ctx, args[2])
	}
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&o.release, "release", "", "directory with the release's images, unpacked: kubernetes/, etcd/")
	flags.StringVar(&o.shim, "slipway", "", "slipway binary to take the shim from; this program has one as well")
	flags.IntVar(&o.runs, "runs", 3, "starts to take the median of")
	flags.IntVar(&o.count, "count", 10, "control planes started at once")
	flags.DurationVar(&o.idle, "idle", 30*time.Second, "how long to watch idle control planes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.release == "" {
		return errors.New("-release is needed")
	}
	dir, err := os.MkdirTemp("", "slipway-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	release, err := filepath.Abs(o.release)
	if err != nil {
		return err
	}
	o.release = release
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	defer table.Flush()
	bare, err := measureBare(ctx, o, dir, table)
	if err != nil {
		return err
	}
	return measureDriver(ctx, o, dir, bare, table)
}

// measureBare starts etcd and kube-apiserver with plain flags.
func measureBare(ctx context.Context, o options, dir string, out io.Writer) (time.Duration, error) {
	var times []time.Duration
	for i := range o.runs {
		b := &bare{release: o.release, dir: filepath.Join(dir, fmt.Sprintf("bare-%d", i))}
		took, err := b.start(ctx)
		if err == nil && i == o.runs-1 {
			err = b.report(ctx, o.idle, out)
		}
		b.stop()
		if err != nil {
			return 0, err
		}
		times = append(times, took)
	}
	middle := median(times)
	fmt.Fprintf(out, "bare etcd + kube-apiserver to /readyz\t%.2f s\tmedian of %v\n", middle.Seconds(), rounded(times))
	return middle, nil
}

// measureDriver starts single control planes, then many at once, and leaves those idle for a while.
func measureDriver(ctx context.Context, o options, dir string, bare time.Duration, out io.Writer) error {
	f, err := newFleet(o, filepath.Join(dir, "state"))
	if err != nil {
		return err
	}
	defer f.deleteAll(context.WithoutCancel(ctx))
	var api, all []time.Duration
	var cpu float64
	for i := range o.runs {
		took, err := f.start(ctx, 1000+i)
		if err == nil {
			err = f.driver.Delete(ctx, f.name(1000+i))
		}
		if err != nil {
			return err
		}
		api, all = append(api, took.api), append(all, took.all)
		cpu += took.cpu / float64(o.runs)
	}
	fmt.Fprintf(out, "control plane to kube-apiserver ready, PKI included\t%.2f s\t%.2f × bare, of %v\n", median(api).Seconds(), ratio(median(api), bare), rounded(api))
	fmt.Fprintf(out, "control plane to all components ready\t%.2f s\t%.2f × bare (goal 1.5), of %v\n", median(all).Seconds(), ratio(median(all), bare), rounded(all))
	fmt.Fprintf(out, "processor time of such a start\t%.2f s\n", cpu)
	times, err := f.startMany(ctx, o.count)
	if err != nil {
		return err
	}
	var slowAPI, slowAll time.Duration
	var sum float64
	for _, took := range times {
		slowAPI, slowAll = max(slowAPI, took.api), max(slowAll, took.all)
		sum += took.cpu
	}
	fmt.Fprintf(out, "%d control planes at once, slowest to kube-apiserver ready\t%.2f s\t%.2f × bare (goal 6)\n", o.count, slowAPI.Seconds(), ratio(slowAPI, bare))
	fmt.Fprintf(out, "%d control planes at once, slowest to all components ready\t%.2f s\t%.2f × bare\n", o.count, slowAll.Seconds(), ratio(slowAll, bare))
	fmt.Fprintf(out, "processor time of such a start\t%.2f s\n", sum/float64(o.count))
	return f.report(ctx, o.idle, out)
}

func runShim(ctx context.Context, dir string) error {
	return shimMain(ctx, dir, slog.New(slog.NewTextHandler(os.Stderr, nil)))
}

func median(times []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	return sorted[len(sorted)/2]
}

func rounded(times []time.Duration) []string {
	var out []string
	for _, t := range times {
		out = append(out, fmt.Sprintf("%.2f", t.Seconds()))
	}
	return out
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }
