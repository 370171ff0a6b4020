// Package process runs control planes as supervised processes, one shim process per control plane
// that outlives the appliance.
//
// A control plane has one directory:
//
//	lock, shim.sock   by these a shim is found again; there are no PID files
//	plan.json         what the shim runs
//	ports.json        loopback ports, chosen once
//	mounts/           Secrets and ConfigMaps as files
//	data/             the components' persistent directories
//	logs/, run/       the shim's
package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/slipway-io/slipway/services/atomicfile"
	"github.com/slipway-io/slipway/services/controlplane"
	"github.com/slipway-io/slipway/services/controlplane/driver/process/shim"
)

// Images makes the content of images available as directories.
type Images interface {
	Unpack(ctx context.Context, ref string) (dir string, err error)
}

// Config is what a Driver needs.
type Config struct {
	// StateDir is the appliance's state directory; control planes live in its "controlplanes".
	StateDir string
	Images   Images
	// Shim is the command that runs a shim; "--dir <directory>" is appended.
	Shim []string
	// OnChange is called by Run with the name of a control plane whose status changed; it must not block.
	OnChange func(name string)
	Log      *slog.Logger
}

// Driver runs control planes as processes of this machine.
type Driver struct {
	cfg   Config
	root  string
	ports sync.Mutex // one allocation at a time

	mu      sync.Mutex
	locks   map[string]*sync.Mutex
	stopped map[string]bool // by Stop: not to be started by anything but Apply
	wake    chan struct{}   // tells Run to look at the list again
}

// New returns a driver; it does nothing yet.
func New(cfg Config) *Driver {
	return &Driver{
		cfg: cfg, root: filepath.Join(cfg.StateDir, "controlplanes"),
		locks: map[string]*sync.Mutex{}, stopped: map[string]bool{}, wake: make(chan struct{}, 1),
	}
}

// Apply makes the control plane run as described and returns once that is under way.
// It restarts only the components that changed.
func (d *Driver) Apply(ctx context.Context, cp controlplane.ControlPlane) error {
	if len(validation.IsDNS1123Subdomain(cp.Name)) > 0 {
		return fmt.Errorf("apply control plane %q: not a DNS name", cp.Name)
	}
	defer d.lock(cp.Name)()
	d.setStopped(cp.Name, false)
	if err := d.apply(ctx, cp); err != nil {
		return fmt.Errorf("apply control plane %s: %w", cp.Name, err)
	}
	d.wakeRun()
	return nil
}

func (d *Driver) apply(ctx context.Context, cp controlplane.ControlPlane) error {
	dir := d.dir(cp.Name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	plan, err := d.render(ctx, dir, cp)
	if err != nil {
		return err
	}
	data, err := plan.Encode()
	if err != nil {
		return err
	}
	path := filepath.Join(dir, shim.PlanFile)
	if old, err := os.ReadFile(path); err != nil || string(old) != string(data) {
		if err := atomicfile.Write(path, data); err != nil {
			return err
		}
	}
	status, err := d.ensure(ctx, cp.Name)
	if err != nil {
		return err
	}
	if status.Plan == shim.Digest(data) {
		return nil
	}
	return reload(ctx, dir)
}

// Status tells how a control plane is; controlplane.ErrNotFound if there is none. It starts a shim
// that died.
func (d *Driver) Status(ctx context.Context, name string) (controlplane.Status, error) {
	status, err := ask(ctx, d.dir(name), 0, 0)
	if err != nil {
		status, err = d.restore(ctx, name)
	}
	if err != nil {
		return controlplane.Status{}, fmt.Errorf("read status of control plane %s: %w", name, err)
	}
	out := controlplane.Status{Bounds: status.Bounds}
	for _, c := range status.Components {
		out.Components = append(out.Components, controlplane.ComponentStatus{
			Name: c.Name, Ready: c.Ready, Running: c.PID != 0, PID: c.PID,
			Restarts: c.Restarts, Started: c.Started, Message: c.Message,
		})
	}
	return out, nil
}

// Delete stops a control plane and removes everything of it, its data included. It may be called again.
func (d *Driver) Delete(ctx context.Context, name string) error {
	defer d.lock(name)()
	dir := d.dir(name)
	// Without a plan nobody starts the shim again, whatever happens to us from here on.
	if err := os.Remove(filepath.Join(dir, shim.PlanFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete control plane %s: %w", name, err)
	}
	if err := stopShim(ctx, dir); err != nil {
		return fmt.Errorf("delete control plane %s: %w", name, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("delete control plane %s: %w", name, err)
	}
	return nil
}

// Stop ends a control plane's processes and its shim and keeps its data; Apply starts it again.
func (d *Driver) Stop(ctx context.Context, name string) error {
	defer d.lock(name)()
	d.setStopped(name, true)
	if err := stopShim(ctx, d.dir(name)); err != nil {
		return fmt.Errorf("stop control plane %s: %w", name, err)
	}
	return nil
}

// List returns the names of the control planes on this machine, sorted.
func (d *Driver) List(context.Context) ([]string, error) {
	plans, err := filepath.Glob(filepath.Join(d.root, "*", shim.PlanFile))
	if err != nil {
		return nil, fmt.Errorf("list control planes: %w", err)
	}
	var names []string
	for _, plan := range plans {
		names = append(names, filepath.Base(filepath.Dir(plan)))
	}
	slices.Sort(names)
	return names, nil
}

// RunShim is what the shim command does: it runs the control plane in dir until ctx ends or it is told
// to stop.
func RunShim(ctx context.Context, dir string, log *slog.Logger) error {
	return shim.Run(ctx, dir, log)
}

func (d *Driver) dir(name string) string { return filepath.Join(d.root, name) }

// lock lets one goroutine at a time change a control plane; the result unlocks.
func (d *Driver) lock(name string) func() {
	d.mu.Lock()
	l := d.locks[name]
	if l == nil {
		l = &sync.Mutex{}
		d.locks[name] = l
	}
	d.mu.Unlock()
	l.Lock()
	return l.Unlock
}

// Wait blocks until every component of the control plane is ready, and tells progress on the way.
func (d *Driver) Wait(ctx context.Context, name string, progress func(controlplane.Status)) error {
	var revision uint64
	for {
		raw, err := ask(ctx, d.dir(name), revision, 5*time.Second)
		if err == nil {
			revision = raw.Revision
		}
		status, err := d.Status(ctx, name)
		if err != nil {
			return err
		}
		progress(status)
		if status.Ready() {
			return nil
		}
	}
}
