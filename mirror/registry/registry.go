// Package registry is the site's embedded OCI registry: distribution-spec over HTTP and a Go API, on one store of content that all repositories share.
package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	defaultMinFree = 256 << 20
	defaultGrace   = 2 * time.Hour
	// unnamed content that was uploaded waits for its manifest longer: it may come to a site with the next load of a disk.
	unnamed       = 24 * time.Hour
	defaultExpiry = 24 * time.Hour
	collectEvery  = 15 * time.Minute

	// maxRequests and maxPushes bound the requests that are answered at once, and those of them that bring content;
	// a client that is turned away comes back.
	maxRequests = 1024
	maxPushes   = 128
	// maxPath is far above what repository names (255) and digests need.
	maxPath = 1024
)

// Config says where the registry keeps its content, and how long what nobody asked to keep.
type Config struct {
	Dir string
	// MinFree bytes of the disk are left to others: pushes end before. 256 MiB when 0.
	MinFree int64
	// Grace is how long a blob outlives the last step of the push that named it; 2 h when 0. What was uploaded and never was named by a manifest has a day.
	Grace time.Duration
	// UploadExpiry is how long an upload may wait for its next part; 24 h when 0.
	UploadExpiry time.Duration
	Log          *slog.Logger
}

// Registry stores and serves OCI images. One process at a time has a directory open.
type Registry struct {
	disk      *disk
	index     *index
	transfers transfers
	log       *slog.Logger
	grace     time.Duration
	expiry    time.Duration
	started   time.Time
	now       func() time.Time
	pieces    sync.Pool

	access   atomic.Pointer[access]
	resolve  atomic.Pointer[Resolve]
	key      []byte // of tokens: they end with the process
	requests chan struct{}
	pushes   chan struct{}
	checks   chan struct{} // of passwords
}

// Open reads what the directory holds, and makes it when it is not there. Nobody may push and everybody may pull until Allow says otherwise.
func Open(c Config) (*Registry, error) {
	return open(c, time.Now)
}

func open(c Config, now func() time.Time) (*Registry, error) {
	d, err := openDisk(c.Dir, orElse(c.MinFree, defaultMinFree))
	if err != nil {
		return nil, err
	}
	r := &Registry{
		disk: d, index: newIndex(), transfers: transfers{byID: map[string]*transfer{}},
		log: c.Log, grace: orElse(c.Grace, defaultGrace), expiry: orElse(c.UploadExpiry, defaultExpiry), now: now, started: now(),
		requests: make(chan struct{}, maxRequests), pushes: make(chan struct{}, maxPushes), checks: make(chan struct{}, maxChecks),
		key: make([]byte, 32),
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.pieces.New = func() any { piece := make([]byte, pieceSize); return &piece }
	rand.Read(r.key)
	r.Allow(Access{Anonymous: true})
	if err := r.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("open registry %s: %w", c.Dir, err), d.close())
	}
	return r, nil
}

// orElse is value, or other when value is 0.
func orElse[T int64 | time.Duration](value, other T) T {
	if value == 0 {
		return other
	}
	return value
}

// Run collects what nobody needs any more, and ends uploads that nobody continues, until ctx ends.
func (r *Registry) Run(ctx context.Context) error {
	ticker := time.NewTicker(collectEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := r.expire(); err != nil {
			r.log.Warn("expired uploads are not removed", "err", err)
		}
		if _, err := r.Collect(ctx); err != nil && ctx.Err() == nil {
			r.log.Warn("garbage is not collected", "err", err)
		}
	}
}

// Close ends the registry, once those who use it have stopped.
func (r *Registry) Close() error {
	if err := r.disk.close(); err != nil {
		return fmt.Errorf("close registry: %w", err)
	}
	return nil
}
