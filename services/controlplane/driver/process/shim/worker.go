package shim

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"
)

// Times of the restarts' back-off: they double from the first to the last, and start anew after a
// component ran for long.
const (
	firstDelay   = 100 * time.Millisecond
	lastDelay    = 30 * time.Second
	ranForLong   = time.Minute
	defaultGrace = 20 * time.Second
)

// worker keeps one component running.
type worker struct {
	sup  *supervisor
	log  *slog.Logger
	ctx  context.Context
	stop context.CancelFunc
	done chan struct{}

	// Guarded by the supervisor's lock.
	desired     Component
	runningHash string
	state       ComponentStatus

	// The worker's own.
	proc    *process
	delay   time.Duration
	retryAt time.Time
	starts  int
}

// startWorker is called with the supervisor's lock held.
func (s *supervisor) startWorker(c Component) *worker {
	ctx, stop := context.WithCancel(s.ctx)
	w := &worker{
		sup: s, log: s.log.With("component", c.Name), ctx: ctx, stop: stop, done: make(chan struct{}),
		desired: c, state: ComponentStatus{Name: c.Name, Message: "waiting to be started"}, delay: firstDelay,
	}
	s.leaving.Go(w.run)
	return w
}

// run acts on whatever the situation asks for, then waits for the next change of it.
func (w *worker) run() {
	defer close(w.done)
	for w.ctx.Err() == nil {
		w.sup.mu.Lock()
		desired, free, changed := w.desired, w.sup.settled(w.desired.After), w.sup.changed
		w.sup.mu.Unlock()
		switch {
		case w.proc == nil && (free || w.starts > 0) && !time.Now().Before(w.retryAt):
			w.start(desired)
		case w.proc != nil && w.proc.component.Hash != desired.Hash && free:
			w.log.Info("component changed")
			w.end()
			w.starts, w.retryAt, w.delay = 0, time.Time{}, firstDelay
		default:
			w.wait(changed)
		}
	}
	if w.proc != nil {
		w.end()
	}
}

// wait returns when there may be something to do.
func (w *worker) wait(changed <-chan struct{}) {
	var retry <-chan time.Time
	var exited <-chan struct{}
	if w.proc != nil {
		exited = w.proc.ctx.Done()
	} else if !w.retryAt.IsZero() {
		retry = time.After(time.Until(w.retryAt))
	}
	select {
	case <-w.ctx.Done():
	case <-changed:
	case <-retry:
	case <-exited:
		w.died()
	}
}

func (w *worker) start(c Component) {
	var slot *os.File
	if c.HeavyStart {
		var err error
		if slot, err = w.sup.slots.take(w.ctx); err != nil {
			return // told to stop while it waited
		}
	}
	proc, err := w.sup.startProcess(c, w.log)
	if err != nil {
		slot.Close()
		w.retryAt = time.Now().Add(w.nextDelay())
		w.sup.update(func() { w.state.Message = err.Error() })
		return
	}
	w.proc = proc
	w.starts++
	w.sup.update(func() {
		w.runningHash = c.Hash
		w.state = ComponentStatus{
			Name: c.Name, PID: proc.pid, Started: proc.started, Restarts: w.starts - 1,
			Ready: c.Ready == nil, Message: "started",
		}
	})
	proc.watch.Go(func() { w.probe(proc) })
	if slot != nil {
		proc.watch.Go(func() { w.release(slot, proc) })
	}
}

// died is called when the process ended by itself.
func (w *worker) died() {
	proc := w.proc
	w.proc = nil
	proc.close()
	if time.Since(proc.started) > ranForLong {
		w.delay = firstDelay
	}
	delay := w.nextDelay()
	w.retryAt = time.Now().Add(delay)
	message := fmt.Sprintf("%s after %s, next start in %s", proc.outcome, time.Since(proc.started).Round(time.Millisecond), delay)
	if last := proc.output.lastLine(); last != "" {
		message += ": " + last
	}
	w.log.Warn("component ended", "outcome", proc.outcome, "retry", delay)
	w.sup.update(func() {
		w.runningHash = ""
		w.state.PID, w.state.Ready, w.state.Message = 0, false, message
	})
}

// end stops the process: it is asked first, then killed.
func (w *worker) end() {
	proc := w.proc
	w.proc = nil
	w.sup.update(func() { w.state.Ready, w.state.Message = false, "stopping" })
	proc.terminate()
	proc.close()
	w.sup.update(func() { w.runningHash, w.state.PID, w.state.Message = "", 0, "stopped" })
}

func (w *worker) nextDelay() time.Duration {
	delay := w.delay
	w.delay = min(2*w.delay, lastDelay)
	return delay
}
