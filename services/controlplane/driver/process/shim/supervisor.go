package shim

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"
)

// supervisor has one worker per component and what they know of one another.
type supervisor struct {
	ctx     context.Context // does not end with the shim's: the workers are stopped one by one
	dir     string
	log     *slog.Logger
	spawner *spawner
	bounds  bounds
	slots   slots

	mu       sync.Mutex
	plan     string
	order    []string
	workers  map[string]*worker
	leaving  sync.WaitGroup
	revision uint64
	changed  chan struct{} // closed at the next change
}

func newSupervisor(ctx context.Context, dir string, log *slog.Logger) *supervisor {
	return &supervisor{
		ctx: context.WithoutCancel(ctx), dir: dir, log: log, spawner: newSpawner(), bounds: findBounds(dir), slots: openSlots(dir),
		workers: map[string]*worker{}, changed: make(chan struct{}),
	}
}

// run waits for the end of ctx and then stops the components, those that others need last.
func (s *supervisor) run(ctx context.Context) {
	<-ctx.Done()
	s.mu.Lock()
	order := slices.Clone(s.order)
	s.mu.Unlock()
	for _, name := range slices.Backward(order) {
		s.mu.Lock()
		w := s.workers[name]
		s.mu.Unlock()
		w.stop()
		<-w.done
	}
	s.leaving.Wait()
	s.bounds.remove()
	s.spawner.close()
}

// reload takes over the plan in the directory. Components that did not change go on.
func (s *supervisor) reload() error {
	plan, digest, err := readPlan(s.dir)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	wanted := map[string]bool{}
	s.order = nil
	for _, c := range plan.Components {
		wanted[c.Name] = true
		s.order = append(s.order, c.Name)
		if w := s.workers[c.Name]; w != nil {
			w.desired = c
		} else {
			s.workers[c.Name] = s.startWorker(c)
		}
	}
	for name, w := range s.workers {
		if !wanted[name] {
			delete(s.workers, name)
			w.stop()
		}
	}
	s.plan = digest
	s.touch()
	return nil
}

// touch tells everybody who waits that something changed. The caller holds mu.
func (s *supervisor) touch() {
	s.revision++
	close(s.changed)
	s.changed = make(chan struct{})
}

// update changes a worker's state under the lock and tells everybody.
func (s *supervisor) update(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	s.touch()
}

// settled tells whether all of names are ready and run what the plan says. The caller holds mu.
func (s *supervisor) settled(names []string) bool {
	for _, name := range names {
		w := s.workers[name]
		if w == nil || !w.state.Ready || w.runningHash != w.desired.Hash {
			return false
		}
	}
	return true
}

func (s *supervisor) status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := Status{Revision: s.revision, Plan: s.plan, Bounds: s.bounds.String()}
	for _, name := range s.order {
		status.Components = append(status.Components, s.workers[name].state)
	}
	return status
}

// await returns the status as soon as its revision is above after, at the latest after wait.
func (s *supervisor) await(ctx context.Context, after uint64, wait time.Duration) Status {
	timeout := time.After(wait)
	for {
		s.mu.Lock()
		revision, changed := s.revision, s.changed
		s.mu.Unlock()
		if revision != after {
			return s.status()
		}
		select {
		case <-changed:
		case <-timeout:
			return s.status()
		case <-ctx.Done():
			return s.status()
		}
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(data)
}
