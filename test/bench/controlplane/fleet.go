package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/slipway-io/slipway/services/controlplane"
	"github.com/slipway-io/slipway/services/controlplane/driver/process"
	"github.com/slipway-io/slipway/services/controlplane/pki"
)

// fleet is control planes run by the process driver.
type fleet struct {
	driver *process.Driver
	dir    string
	mu     sync.Mutex
	names  []string
}

// unpacked is a release whose images are directories already.
type unpacked string

func (u unpacked) Unpack(_ context.Context, ref string) (string, error) {
	return filepath.Join(string(u), ref), nil
}

func newFleet(o options, dir string) (*fleet, error) {
	program := o.shim
	if program == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		program = self
	}
	return &fleet{dir: dir, driver: process.New(process.Config{
		StateDir: dir, Images: unpacked(o.release), Shim: []string{program, "shim"}, Log: slog.New(slog.DiscardHandler),
	})}, nil
}

func shimMain(ctx context.Context, dir string, log *slog.Logger) error {
	return process.RunShim(ctx, dir, log)
}

func (f *fleet) name(i int) string { return fmt.Sprintf("bench-%d", i) }

// startTimes are counted from before the PKI is made.
type startTimes struct {
	api, all time.Duration
	// cpu is what the start cost in processor seconds, shim included.
	cpu float64
}

func (f *fleet) start(ctx context.Context, i int) (startTimes, error) {
	begin := time.Now()
	name := f.name(i)
	f.mu.Lock()
	f.names = append(f.names, name)
	f.mu.Unlock()
	ports, err := freePorts(1)
	if err != nil {
		return startTimes{}, err
	}
	spec := controlplane.Spec{
		Name: name, ClusterName: name, BaseDomain: "site.example", APIPort: ports[0],
		AdvertiseAddress: netip.MustParseAddr("192.0.2.10"),
		ServiceCIDRs:     []netip.Prefix{netip.MustParsePrefix("172.31.0.0/16")},
		ClusterCIDRs:     []netip.Prefix{netip.MustParsePrefix("10.132.0.0/14")},
	}.Defaulted()
	secrets, _, err := pki.Desired(spec.PKI(), nil, begin)
	if err != nil {
		return startTimes{}, err
	}
	if err := f.driver.Apply(ctx, controlplane.ControlPlane{
		Name: name, Components: controlplane.Hosted(spec), Secrets: secrets,
		Images: map[string]string{controlplane.ImageEtcd: controlplane.ImageEtcd, controlplane.ImageKubernetes: controlplane.ImageKubernetes},
	}); err != nil {
		return startTimes{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	var took startTimes
	err = f.driver.Wait(ctx, name, func(s controlplane.Status) {
		if s.Component(controlplane.KubeAPIServer).Ready && took.api == 0 {
			took.api = time.Since(begin)
		}
	})
	took.all = time.Since(begin)
	if err != nil {
		return took, err
	}
	kinds, err := f.processes(ctx, name)
	if err != nil {
		return took, err
	}
	ticks, err := cpuTicks(slices.Collect(maps.Keys(kinds)))
	took.cpu = float64(ticks) / ticksPerSecond
	return took, err
}

// processes maps the control plane's process numbers to what they are.
func (f *fleet) processes(ctx context.Context, name string) (map[int]string, error) {
	status, err := f.driver.Status(ctx, name)
	if err != nil {
		return nil, err
	}
	kinds := map[int]string{}
	for _, c := range status.Components {
		kinds[c.PID] = c.Name
	}
	shim, err := parent(status.Components[0].PID)
	kinds[shim] = "shim"
	return kinds, err
}

// startMany starts n control planes at once and returns how long each took.
func (f *fleet) startMany(ctx context.Context, n int) ([]startTimes, error) {
	times := make([]startTimes, n)
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			times[i], errs[i] = f.start(ctx, i)
		})
	}
	all.Wait()
	return times, errors.Join(errs...)
}

// report tells what the running control planes cost, on average, shims included.
func (f *fleet) report(ctx context.Context, idle time.Duration, out io.Writer) error {
	names, err := f.driver.List(ctx)
	if err != nil {
		return err
	}
	kinds := map[int]string{}
	for _, name := range names {
		one, err := f.processes(ctx, name)
		if err != nil {
			return err
		}
		maps.Copy(kinds, one)
	}
	u, err := watchIdle(ctx, slices.Collect(maps.Keys(kinds)), idle)
	if err != nil {
		return err
	}
	sums := map[string]float64{}
	total := 0.0
	for pid, mib := range u.pss {
		sums[kinds[pid]] += mib
		total += mib
	}
	n := float64(len(names))
	var parts []string
	for _, kind := range []string{controlplane.Etcd, controlplane.KubeAPIServer, controlplane.KubeControllerManager, controlplane.KubeScheduler, "shim"} {
		parts = append(parts, fmt.Sprintf("%s %.0f", kind, sums[kind]/n))
	}
	fmt.Fprintf(out, "PSS of one of %d idle control planes\t%.0f MiB\tgoal 350; %s\n", len(names), total/n, strings.Join(parts, ", "))
	fmt.Fprintf(out, "CPU of an idle control plane\t%.3f cores\tgoal 0.05\n", u.cores/n)
	return nil
}

// deleteAll leaves nothing behind.
func (f *fleet) deleteAll(ctx context.Context) {
	var all sync.WaitGroup
	for _, name := range f.names {
		all.Go(func() {
			if err := f.driver.Delete(ctx, name); err != nil {
				fmt.Fprintln(os.Stderr, "bench:", err)
			}
		})
	}
	all.Wait()
}

func parent(pid int) (int, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, "PPid:"); ok {
			return strconv.Atoi(strings.TrimSpace(value))
		}
	}
	return 0, fmt.Errorf("process %d has no parent", pid)
}
