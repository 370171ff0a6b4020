package registry

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Collected is what a collection freed.
type Collected struct {
	Blobs int
	Bytes int64
}

// Collect removes content that no manifest names and no push holds. Nothing stops while it runs: it looks at one blob at a time.
func (r *Registry) Collect(ctx context.Context) (Collected, error) {
	var done Collected
	var faults []error
	for _, d := range r.index.digests() {
		if ctx.Err() != nil {
			return done, ctx.Err()
		}
		freed, err := r.collect(d)
		if err != nil {
			faults = append(faults, fmt.Errorf("collect %s: %w", d, err))
			continue
		}
		if freed >= 0 {
			done.Blobs++
			done.Bytes += freed
		}
	}
	if done.Blobs > 0 {
		r.log.Info("garbage is collected", "blobs", done.Blobs, "bytes", done.Bytes)
	}
	return done, errors.Join(faults...)
}

// collect removes one blob when nobody needs it, and returns its size, else -1.
func (r *Registry) collect(d digest) (int64, error) {
	if !r.index.tryAcquire(d) {
		return -1, nil
	}
	defer r.index.release(d)
	ended, size := r.index.expire(d, r.now(), r.grace, r.started)
	var faults []error
	for _, name := range ended {
		faults = append(faults, r.disk.remove(leasePath(name, d)))
	}
	if size >= 0 {
		faults = append(faults, r.disk.remove(blobPath(d)))
	}
	return size, errors.Join(faults...)
}

func (x *index) digests() []digest {
	x.mu.RLock()
	defer x.mu.RUnlock()
	list := make([]digest, 0, len(x.blobs))
	for d := range x.blobs {
		list = append(list, d)
	}
	return list
}

// expire ends the leases of pushes that are over, and forgets the blob when that was all that held it.
// It returns whose lease files go, and the blob's size when its file goes too, else -1.
func (x *index) expire(d digest, now time.Time, grace time.Duration, started time.Time) (ended []string, size int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	b := x.blobs[d]
	if b == nil {
		return nil, -1
	}
	for r, h := range b.holders {
		limit := grace
		if h.file && h.manifests == 0 {
			limit = max(limit, unnamed)
		}
		last := h.leased
		if last.Before(r.active) { // the push that this belongs to may be a long one
			last = r.active
		}
		if h.leased.IsZero() || now.Sub(last) < limit || (h.file && h.withheld > 0) { // the last: that it was brought is all that opens it
			continue
		}
		if h.file {
			ended = append(ended, r.name)
		}
		h.leased, h.file = time.Time{}, false
		x.drop(b, r)
	}
	// Leases of those who only looked ended with the process before.
	if len(b.holders) > 0 || !b.there || (b.adopted && now.Sub(started) < grace) {
		return ended, -1
	}
	delete(x.blobs, d)
	for _, r := range x.repositories {
		delete(r.hidden, d)
	}
	return ended, b.size
}
