package remote

import (
	"context"
	"sync"
	"time"
)

// gate bounds the requests to one registry that are under way. Its bound halves when the registry says that it is too much,
// and grows again by one for each bound's worth of answers.
type gate struct {
	mu       sync.Mutex
	bound    float64
	most     float64
	inflight int
	until    time.Time // the registry asked for silence until then
	changed  chan struct{}
}

func newGate(most int) *gate {
	return &gate{bound: float64(most), most: float64(most), changed: make(chan struct{})}
}

// enter waits for a place. wait is how to let time pass.
func (g *gate) enter(ctx context.Context, wait func(context.Context, time.Duration) error) error {
	waited := false
	for {
		g.mu.Lock()
		silence := time.Until(g.until)
		changed := g.changed
		if silence > 0 && !waited {
			g.mu.Unlock()
			if err := wait(ctx, silence); err != nil {
				return err
			}
			waited = true
			continue
		}
		if float64(g.inflight) < max(g.bound, 1) {
			g.inflight++
			g.mu.Unlock()
			return nil
		}
		g.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// leave gives the place back; fine tells that the registry answered.
func (g *gate) leave(fine bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inflight--
	if fine {
		g.bound = min(g.bound+1/max(g.bound, 1), g.most)
	}
	close(g.changed)
	g.changed = make(chan struct{})
}

// slow halves the bound and keeps everybody quiet for the time that the registry asked for.
func (g *gate) slow(quiet time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.bound = max(g.bound/2, 1)
	if until := time.Now().Add(quiet); until.After(g.until) {
		g.until = until
	}
}
