package sync

import (
	"context"
	"sync"
	"time"
)

// joinAfter is how much later each further worker joins, where no step is done before.
const joinAfter = 250 * time.Millisecond

// all takes the steps, several at a time. All at once would fill the line's queues in one burst, and the kernel takes the wait for loss and
// sends again: so two begin, and another joins with each step that is done, or after a while.
func (r *run) all(ctx context.Context, steps []func()) {
	queue, joins := make(chan func(), len(steps)), make(chan struct{}, len(steps))
	for _, step := range steps {
		queue <- step
	}
	close(queue)
	var group sync.WaitGroup
	for n := range min(r.Workers, len(steps)) {
		group.Go(func() {
			if n > 1 && !join(ctx, joins, time.Duration(n)*joinAfter) {
				return
			}
			for do := range queue {
				if ctx.Err() != nil {
					return
				}
				do()
				joins <- struct{}{}
			}
		})
	}
	group.Wait()
}

// join waits for a place in the work; it returns false where there is none any more.
func join(ctx context.Context, joins <-chan struct{}, after time.Duration) bool {
	timer := time.NewTimer(after)
	defer timer.Stop()
	select {
	case <-joins:
	case <-timer.C:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}
