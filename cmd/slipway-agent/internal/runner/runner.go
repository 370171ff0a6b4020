// Package runner is the agent's life: register, ask for instructions, carry out each one beside the others.
package runner

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/slipway-io/slipway/cmd/slipway-agent/internal/machine"
	"github.com/slipway-io/slipway/cmd/slipway-agent/internal/protocol"
	"github.com/slipway-io/slipway/services/agentapi/wire"
)

// Pauses between tries.
const (
	shortPause = time.Second
	longPause  = 5 * time.Second
	// refusedPause follows an answer that a second try at once would not change.
	refusedPause = 30 * time.Second
	// breath keeps a service that answers without waiting from being asked without end.
	breath = 200 * time.Millisecond
)

// Runner is an agent on one machine.
type Runner struct {
	Client  *protocol.Client
	Root    machine.Root
	Version string
	// Marker is a file that says, until the reboot, that the disk is complete.
	Marker string
	// Print gets lines for people.
	Print func(format string, args ...any)
	// Reboot restarts the machine at once.
	Reboot func() error

	mu   sync.Mutex
	jobs map[string]*job
	last string
}

// job is a step that is being carried out.
type job struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// Discover is the life in the live system.
func (r *Runner) Discover(ctx context.Context) error {
	r.jobs = map[string]*job{}
	var running sync.WaitGroup
	defer running.Wait()
	if r.finished() {
		return r.leave(ctx)
	}
	for ctx.Err() == nil {
		response, err := r.Client.Register(ctx, r.Version, r.Root.MACs())
		if err != nil {
			r.pause(ctx, err)
			continue
		}
		r.say("registered as host %s: %s", response.ID, response.Status)
		r.follow(ctx, &running)
		r.stop(stepInstall)
		r.stop(stepClean)
	}
	return nil
}

// Installed is the life beside a kubelet: it waits to be called back.
func (r *Runner) Installed(ctx context.Context) error {
	r.jobs = map[string]*job{}
	var running sync.WaitGroup
	defer running.Wait()
	for ctx.Err() == nil {
		started := time.Now()
		steps, err := r.Client.Poll(ctx, started)
		if err != nil {
			r.pause(ctx, err)
			continue
		}
		for _, step := range steps.Instructions {
			if step.Type == stepReclaim {
				r.start(ctx, &running, step)
			}
		}
		r.wait(ctx, started, steps)
	}
	return nil
}

// follow carries out instructions until the host has to register again.
func (r *Runner) follow(ctx context.Context, running *sync.WaitGroup) {
	for ctx.Err() == nil {
		started := time.Now()
		steps, err := r.Client.Poll(ctx, started)
		if err != nil {
			r.pause(ctx, err)
			if protocol.Status(err) == http.StatusNotFound {
				return
			}
			continue
		}
		for _, step := range steps.Instructions {
			r.start(ctx, running, step)
		}
		if steps.PostStep == wire.PostStepExit {
			return
		}
		r.wait(ctx, started, steps)
	}
}

func (r *Runner) wait(ctx context.Context, started time.Time, steps wire.Steps) {
	pause := time.Duration(steps.Next) * time.Second
	sleep(ctx, max(pause, breath-time.Since(started)))
}

// pause says what is wrong and waits as long as that is worth.
func (r *Runner) pause(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	r.say("%v", err)
	switch status := protocol.Status(err); {
	case status == 0 || status >= http.StatusInternalServerError:
		sleep(ctx, shortPause)
	case status == http.StatusConflict || status == http.StatusNotFound:
		sleep(ctx, longPause)
	default:
		sleep(ctx, refusedPause)
	}
}

// say prints a line unless it is the one before.
func (r *Runner) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	r.mu.Lock()
	same := line == r.last
	r.last = line
	r.mu.Unlock()
	if !same {
		r.Print("%s", line)
	}
}

// start carries out a step beside the others; one of a type at a time.
func (r *Runner) start(ctx context.Context, running *sync.WaitGroup, step wire.Step) {
	if step.Type == stepReclaim {
		r.stop(stepInstall)
	}
	stepCtx, cancel := context.WithCancel(ctx)
	one := &job{cancel: cancel, done: make(chan struct{})}
	r.mu.Lock()
	_, busy := r.jobs[step.Type]
	if !busy {
		r.jobs[step.Type] = one
	}
	r.mu.Unlock()
	if busy {
		cancel()
		return
	}
	running.Go(func() {
		defer cancel()
		after := r.carryOut(stepCtx, step)
		r.mu.Lock()
		delete(r.jobs, step.Type)
		r.mu.Unlock()
		close(one.done)
		if after != nil {
			if err := after(ctx); err != nil {
				r.say("%v", err)
			}
		}
	})
}

// stop ends a step and waits for its end.
func (r *Runner) stop(step string) {
	r.mu.Lock()
	one, is := r.jobs[step]
	r.mu.Unlock()
	if is {
		one.cancel()
		<-one.done
	}
}

// send tries to deliver a reply for as long as it can matter.
func (r *Runner) send(ctx context.Context, reply wire.StepReply, tries int) {
	for range tries {
		err := r.Client.Reply(ctx, reply)
		if err == nil || ctx.Err() != nil {
			return
		}
		r.say("%v", err)
		if status := protocol.Status(err); status != 0 && status < http.StatusInternalServerError {
			return
		}
		sleep(ctx, shortPause)
	}
}

func sleep(ctx context.Context, pause time.Duration) {
	if pause <= 0 {
		return
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// errNoDisk says that there is nothing to wipe.
var errNoDisk = errors.New("no disk was named to wipe, and the running system is on none")
