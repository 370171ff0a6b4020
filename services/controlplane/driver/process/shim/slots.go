package shim

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

const (
	slotsDir = ".slots"
	// slotLimit frees a slot whose component does not get ready.
	slotLimit = 20 * time.Second
	slotRetry = 20 * time.Millisecond
)

// slots are locks that the shims of a site share: who starts something heavy holds one meanwhile. So a
// machine that comes up with a hundred control planes has the first ones soon, and all of them sooner.
type slots struct{ dir string }

// slotCount is more than the processors: half of a start is waiting.
func slotCount() int { return 2 * runtime.NumCPU() }

// take waits for a slot. Without a directory to put locks in there is no limit.
func (s slots) take(ctx context.Context) (*os.File, error) {
	for {
		for i := range slotCount() {
			f, err := os.OpenFile(filepath.Join(s.dir, fmt.Sprint(i)), os.O_RDWR|os.O_CREATE, 0o600)
			if err != nil {
				return nil, nil
			}
			if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
				return f, nil
			}
			f.Close()
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(slotRetry):
		}
	}
}

// openSlots returns the slots beside the control plane's directory.
func openSlots(dir string) slots {
	s := slots{dir: filepath.Join(filepath.Dir(dir), slotsDir)}
	_ = os.Mkdir(s.dir, 0o700) // take does without
	return s
}

// release gives a slot back when the component is ready, ends, or takes too long.
func (w *worker) release(slot *os.File, p *process) {
	defer slot.Close()
	limit := time.After(slotLimit)
	for {
		w.sup.mu.Lock()
		ready, changed := w.state.Ready, w.sup.changed
		w.sup.mu.Unlock()
		if ready {
			return
		}
		select {
		case <-changed:
		case <-p.ctx.Done():
			return
		case <-limit:
			return
		}
	}
}
