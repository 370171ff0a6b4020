package dhcp

import (
	"sync"
	"time"
)

// commitEvery is how far apart syncs are at least. A lone REQUEST is answered after one sync; under load those of this time
// share one, and nobody waits longer than for it and the one before.
const commitEvery = 10 * time.Millisecond

// commits are decisions whose records have to be on disk before their answers leave.
type commits struct {
	mu        sync.Mutex
	packets   []arrival
	decisions []Decision
	limit     int
	ready     chan struct{}
	done      chan struct{}
}

func newCommits(limit int) *commits {
	return &commits{limit: limit, ready: make(chan struct{}, 1), done: make(chan struct{})}
}

// push tells whether there was room: while the disk stands still clients are left to ask again.
func (c *commits) push(p arrival, d Decision) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.packets) >= c.limit {
		return false
	}
	c.packets, c.decisions = append(c.packets, p), append(c.decisions, d)
	select {
	case c.ready <- struct{}{}:
	default:
	}
	return true
}

func (c *commits) take() ([]arrival, []Decision) {
	c.mu.Lock()
	defer c.mu.Unlock()
	packets, decisions := c.packets, c.decisions
	c.packets, c.decisions = nil, nil
	return packets, decisions
}

// end says that nothing more comes.
func (c *commits) end() { close(c.done) }

// commit puts the leases of decisions on disk, many with one sync, and only then sends. The error is that of a log that
// takes nothing more.
func (s *Server) commit(decided *commits) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-decided.ready:
		case <-decided.done:
			return s.record(decided.take())
		}
		select {
		case <-pause.C:
		case <-decided.done:
		}
		pause.Reset(commitEvery)
		if err := s.record(decided.take()); err != nil {
			return err
		}
	}
}

// record leaves unanswered what cannot be recorded: the client asks again.
func (s *Server) record(packets []arrival, decisions []Decision) error {
	if len(packets) == 0 {
		return nil
	}
	var records []Lease
	for _, d := range decisions {
		records = append(records, d.Records...)
	}
	if err := s.leases.Append(records); err != nil {
		s.metrics.failed.Add(float64(len(packets)))
		if broken := s.leases.Broken(); broken != nil {
			return broken
		}
		s.log.Error("leases could not be recorded, their clients get no answer", "err", err)
		return nil
	}
	for i, d := range decisions {
		s.tell(packets[i], d)
		s.send(packets[i], d.Reply)
	}
	s.compact()
	return nil
}

// compact holds the engine's lock for a copy of the leases only, not while the disk is at work.
func (s *Server) compact() {
	s.mu.Lock()
	if !s.leases.Long(s.engine.leases) {
		s.mu.Unlock()
		return
	}
	live := s.engine.leases.Leases()
	s.mu.Unlock()
	if err := s.leases.Compact(live); err != nil {
		s.log.Warn("lease log stays as long as it is", "err", err)
	}
}
