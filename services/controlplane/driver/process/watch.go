package process

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/slipway-io/slipway/services/controlplane"
	"github.com/slipway-io/slipway/services/controlplane/driver/process/shim"
)

var errStopped = errors.New("stopped")

// Times of watching shims.
const (
	watchWait  = 30 * time.Second
	watchRetry = time.Second
)

// Run watches the shims, starts those again that died, and reports changes, until ctx ends.
// The control planes go on when it returns.
func (d *Driver) Run(ctx context.Context) error {
	var watchers sync.WaitGroup
	defer watchers.Wait()
	watched := watchedNames{names: map[string]bool{}}
	for {
		names, err := d.List(ctx)
		if err != nil {
			return err
		}
		for _, name := range names {
			if !d.isStopped(name) && watched.add(name) {
				watchers.Go(func() {
					d.watch(ctx, name)
					watched.remove(name)
					d.wakeRun() // it may have been applied anew meanwhile
				})
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-d.wake:
		}
	}
}

// watch follows one control plane until it is deleted.
func (d *Driver) watch(ctx context.Context, name string) {
	var seen shim.Status
	for ctx.Err() == nil {
		status, err := ask(ctx, d.dir(name), seen.Revision, watchWait)
		if err != nil && ctx.Err() == nil {
			seen = shim.Status{}
			status, err = d.restore(ctx, name)
		}
		switch {
		case errors.Is(err, controlplane.ErrNotFound), errors.Is(err, errStopped):
			d.notify(name)
			return
		case ctx.Err() != nil:
			return
		case err != nil:
			d.cfg.Log.Warn("control plane cannot be watched", "controlplane", name, "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(watchRetry):
			}
		case status.Revision != seen.Revision || status.Plan != seen.Plan:
			seen = status
			d.notify(name)
		}
	}
}

// restore starts the shim again if it died.
func (d *Driver) restore(ctx context.Context, name string) (shim.Status, error) {
	defer d.lock(name)()
	if d.isStopped(name) {
		return shim.Status{}, errStopped
	}
	return d.ensure(ctx, name)
}

func (d *Driver) setStopped(name string, stopped bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if stopped {
		d.stopped[name] = true
	} else {
		delete(d.stopped, name)
	}
}

func (d *Driver) isStopped(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stopped[name]
}

func (d *Driver) wakeRun() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (d *Driver) notify(name string) {
	if d.cfg.OnChange != nil {
		d.cfg.OnChange(name)
	}
}

// watchedNames is the set of control planes that have a watcher.
type watchedNames struct {
	mu    sync.Mutex
	names map[string]bool
}

func (w *watchedNames) add(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.names[name] {
		return false
	}
	w.names[name] = true
	return true
}

func (w *watchedNames) remove(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.names, name)
}
