// Command mirror measures mirroring beside skopeo, crane and regsync: the same set of images with much in common, from one registry to another,
// in a network of its own whose loopback is as fast as a good line. Bytes come from the interface, requests from the registries' logs.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

const insideEnv = "SLIPWAY_BENCH_MIRROR_DIR"

// options are the command line.
type options struct {
	slipway, tools, store string
	names                 string
	scale                 float64
	rate                  int
	dir                   string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	if what := os.Getenv(serveEnv); what != "" {
		return serveOwn(ctx, what)
	}
	var o options
	flag.StringVar(&o.slipway, "slipway", "bin/slipway", "slipway binary")
	flag.StringVar(&o.tools, "tools", "bin", "directory with registry (distribution), crane and regsync")
	flag.StringVar(&o.store, "registry", "distribution", "the target: distribution, or slipway, our own; the source is distribution")
	flag.StringVar(&o.names, "peers", "slipway,skopeo,crane,regsync", "who runs")
	flag.Float64Var(&o.scale, "scale", 1, "size of the set; 1 is 653 MB of unique bytes")
	flag.IntVar(&o.rate, "rate", 800, "speed of the loopback in Mbit/s; 0 leaves it as it is")
	flag.Parse()
	for _, path := range []*string{&o.slipway, &o.tools} {
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = absolute
	}
	o.dir = os.Getenv(insideEnv)
	if o.dir == "" {
		return outside(ctx)
	}
	if err := prepareNetwork(ctx, o); err != nil {
		return err
	}
	return measure(ctx, o)
}

// outside starts this program again in namespaces of its own: nothing but 127.0.0.1 can be reached, and nothing stays behind.
func outside(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "slipway-bench-mirror-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideEnv+"="+dir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	return cmd.Run()
}

func prepareNetwork(ctx context.Context, o options) error {
	steps := [][]string{
		{"mount", "--make-rprivate", "/"},
		{"mount", "-t", "tmpfs", "-o", "size=16g", "bench", o.dir},
		{"mkdir", "-p", "/var/lib/containers"},
		{"mount", "-t", "tmpfs", "bench", "/var/lib/containers"}, // skopeo's memory of where blobs are: it begins with none
		{"ip", "link", "set", "lo", "up"},
	}
	if o.rate > 0 {
		steps = append(steps, []string{"tc", "qdisc", "add", "dev", "lo", "root", "handle", "1:", "tbf", "rate", fmt.Sprintf("%dmbit", o.rate), "burst", "1mb", "latency", "1s"})
	}
	for _, step := range steps {
		if out, err := exec.CommandContext(ctx, step[0], step[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(step, " "), err, out)
		}
	}
	return nil
}

// measure runs every peer through the same phases.
func measure(ctx context.Context, o options) (err error) {
	source, err := startRegistry(ctx, o, "source", sourceHost, "distribution")
	if err != nil {
		return err
	}
	defer source.stop()
	set, err := pushSet(ctx, o.scale)
	if err != nil {
		return err
	}
	fmt.Printf("set: %d repositories, U = %d unique bytes in %d blobs, sum over repositories %.2f U; one image changed: D = %d bytes; loopback at %d Mbit/s; target %s\n",
		len(set.names), set.unique, set.blobs, float64(set.sum)/float64(set.unique), set.delta, o.rate, o.store)
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "peer\tphase\trc\twall\tCPU\tlo bytes\tof the ideal\tresent\tsource requests\ttarget requests")
	all := map[string]map[string]sample{}
	for _, name := range strings.Split(o.names, ",") {
		all[name], err = phases(ctx, o, set, source, name, table)
		if err != nil {
			return err
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if err := cutDownloads(ctx, o, set); err != nil {
		return err
	}
	if err := killed(ctx, o, set, source); err != nil {
		return err
	}
	if err := archived(ctx, o, set); err != nil {
		return err
	}
	verdict(o, all)
	return nil
}

// phases of one peer: nothing there, nothing changed, one image changed.
func phases(ctx context.Context, o options, set *imageSet, source *registry, name string, table *tabwriter.Writer) (map[string]sample, error) {
	target, err := startRegistry(ctx, o, "target-"+name, targetHost, o.store)
	if err != nil {
		return nil, err
	}
	defer target.stop()
	p, err := newPeer(o, set, name)
	if err != nil {
		return nil, err
	}
	samples := map[string]sample{}
	for _, phase := range []string{"cold", "warm", "one changed"} {
		if err := set.tag(ctx, phase == "one changed"); err != nil {
			return nil, err
		}
		s, err := p.sample(ctx, source, target)
		if err != nil {
			return nil, err
		}
		ideal := map[string]int64{"cold": 2 * set.unique, "one changed": 2 * set.delta}[phase]
		ratio := "-"
		if ideal > 0 {
			s.ratio = float64(s.bytes) / float64(ideal)
			ratio = fmt.Sprintf("%.3fx", s.ratio)
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%.2fs\t%.2fs\t%.1f MB\t%s\t%d\t%s\t%s\n", name, phase, s.code, s.wall.Seconds(), s.cpu.Seconds(), float64(s.bytes)/1e6, ratio, s.resent, s.source, s.target)
		samples[phase] = s
	}
	return samples, nil
}

// verdict holds our figures against what was promised.
func verdict(o options, all map[string]map[string]sample) {
	ours, ok := all["slipway"]
	if !ok {
		return
	}
	check := func(fine bool, format string, args ...any) {
		word := "met"
		if !fine {
			word = "MISSED"
		}
		fmt.Printf("%-7s %s\n", word, fmt.Sprintf(format, args...))
	}
	cold, warm, changed := ours["cold"], ours["warm"], ours["one changed"]
	check(cold.ratio <= 1.01 && cold.code == 0, "cold: %.3fx of the ideal bytes, goal 1.01x", cold.ratio)
	check(cold.target.total() <= 400, "cold: %d requests to the target, goal 400", cold.target.total())
	if skopeo, ok := all["skopeo"]; ok {
		ratio := cold.wall.Seconds() / skopeo["cold"].wall.Seconds()
		floor := float64(cold.bytes) / cold.ratio * 8 / float64(o.rate) / 1e6 // of the ideal bytes at the line's rate; infinite without one
		check(ratio <= 0.75, "cold: %.2fs, skopeo %.2fs: %.2fx, goal 0.75x; the line alone takes %.2fs", cold.wall.Seconds(), skopeo["cold"].wall.Seconds(), ratio, floor)
	}
	requests := warm.source.total() + warm.target.total()
	check(requests <= 40 && warm.target["PUT"] == 0, "warm: %d requests, %d PUT, goal 40 and 0", requests, warm.target["PUT"])
	check(changed.ratio <= 1.01, "one changed: %.3fx of the ideal bytes, goal 1.01x", changed.ratio)
}
