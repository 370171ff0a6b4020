// Command bmc measures the inspection of many BMCs through the pool of sessions, and what a power poll of all of them costs
// afterwards, beside gofish as it comes. The BMCs are scripted, of all vendors' profiles, in a process of their own, each with
// an address of loopback, slow, and some answers are faults. With the binaries of a release, the same BMCs are then declared as
// BareMetalHosts to the controllers and a management API of that release. With the slipway binary it is a whole appliance instead that
// they are declared to, and every process of it is told apart.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/slipway-io/slipway/test/site"
)

// published is the mark to beat: hosts a minute with 100 workers, BMO PR #3489.
const published = 146

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// load is what is put on.
type load struct {
	bmcs, workers int
	min, max      time.Duration
	faults        float64
	steady        time.Duration
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	var l load
	flags.IntVar(&l.bmcs, "bmcs", 2000, "scripted BMCs")
	flags.IntVar(&l.workers, "workers", 100, "inspections at a time")
	flags.DurationVar(&l.min, "min", 20*time.Millisecond, "shortest latency of an answer")
	flags.DurationVar(&l.max, "max", 200*time.Millisecond, "longest latency of an answer")
	flags.Float64Var(&l.faults, "faults", 0.02, "share of answers that are 503, and of BMCs that are down for the first 20 s")
	flags.DurationVar(&l.steady, "steady", 2*time.Minute, "how long to poll power afterwards, each BMC once a minute")
	binaries := flags.String("binaries", "", "directory with etcd and kube-apiserver of our release, for the part with the controllers")
	appliance := site.Config{}
	flags.StringVar(&appliance.Slipway, "slipway", "", "the binary, for the part with a whole appliance alone, in namespaces of its own; slipway-agent lies beside it")
	flags.StringVar(&appliance.Release, "release", "", "directory of the release's OCI layout, for the part with a whole appliance")
	flags.StringVar(&appliance.OS, "os", "", "directory of the machine OS, for the part with a whole appliance")
	only := flags.Bool("controllers", false, "nothing but the part with the controllers")
	kubeconfig := flags.String("kubeconfig", "", "of the management API, for a child process")
	side := flags.String("side", "", "what a child process does: serve, slipway, gofish or controllers")
	address := flags.String("address", "", "port and certificate of the BMCs, for a child process")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if l.bmcs < 1 || l.bmcs > 60000 || l.workers < 1 {
		return errors.New("between 1 and 60000 BMCs, and a worker at least")
	}
	switch *side {
	case "serve":
		return serve(ctx, l, os.Stdin, out)
	case "slipway", "gofish":
		return measure(ctx, l, *side, *address, out)
	case "controllers":
		return control(ctx, l, *kubeconfig, out)
	}
	if appliance.Slipway != "" {
		return inspectByAppliance(ctx, l, appliance, args, out)
	}
	if !*only {
		if err := compare(ctx, l, args, out); err != nil {
			return err
		}
	}
	if *binaries == "" {
		return nil
	}
	return inspectByControllers(ctx, l, *binaries, args, out)
}

// figures of one side.
type figures struct {
	Inspected      int
	Seconds        float64
	CPUSeconds     float64
	RSS, BaseRSS   int // MiB
	Tries          int
	SteadyCores    float64
	SteadyPolls    int
	SteadyFailures int
	SteadyRSS      int
}

func compare(ctx context.Context, l load, args []string, out io.Writer) error {
	fmt.Fprintf(out, "%d scripted BMCs of 7 profiles, %s to %s an answer, %.0f %% of answers 503 and of BMCs down at first, %d workers, TLS verified\n",
		l.bmcs, l.min, l.max, l.faults*100, l.workers)
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "\tinspected\tseconds\ta minute\tCPU s\tpeak RSS MiB\tof which before\ttries\trequests\tat once, each BMC\tsessions, each BMC\tsessions left\tsteady cores\tsteady RSS MiB\tpolls not answered")
	rates := map[string]float64{}
	for _, side := range []string{"slipway", "gofish"} {
		seen, counted, err := oneSide(ctx, side, args)
		if err != nil {
			return fmt.Errorf("%s: %w", side, err)
		}
		rates[side] = float64(seen.Inspected) / seen.Seconds * 60
		steady := "-\t-\t-"
		if seen.SteadyPolls > 0 {
			steady = fmt.Sprintf("%.2f\t%d\t%d of %d", seen.SteadyCores, seen.SteadyRSS, seen.SteadyFailures, seen.SteadyPolls)
		}
		fmt.Fprintf(w, "%s\t%d\t%.1f\t%.0f\t%.1f\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", side, seen.Inspected, seen.Seconds, rates[side], seen.CPUSeconds,
			seen.RSS, seen.BaseRSS, seen.Tries, counted.Requests, counted.AtOnce, counted.Sessions, counted.Open, steady)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	fmt.Fprintf(out, "ratio to gofish as it comes: %.2f; to the published mark of %d hosts a minute: %.1f\n",
		rates["slipway"]/rates["gofish"], published, rates["slipway"]/published)
	return nil
}

// oneSide starts BMCs anew, so that neither side finds sessions of the other.
func oneSide(ctx context.Context, side string, args []string) (figures, counts, error) {
	bmcs, err := start(ctx, append(args, "-side", "serve"))
	if err != nil {
		return figures{}, counts{}, err
	}
	defer bmcs.stop()
	var at endpoint
	if err := bmcs.read(&at); err != nil {
		return figures{}, counts{}, err
	}
	client, err := start(ctx, append(args, "-side", side, "-address", at.String()))
	if err != nil {
		return figures{}, counts{}, err
	}
	defer client.stop()
	var seen figures
	if err := client.read(&seen); err != nil {
		return figures{}, counts{}, err
	}
	var counted counts
	if err := bmcs.ask("counts", &counted); err != nil {
		return figures{}, counts{}, err
	}
	return seen, counted, nil
}

// resident memory of this process in MiB, now or at its peak.
func resident(field string) (int, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("read memory: %w", err)
	}
	return memory(status, field)
}

// cpu seconds of this process.
func cpu() (float64, error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0, fmt.Errorf("read CPU time: %w", err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds(), nil
}
