package ra

import (
	"math/rand/v2"
	"time"
)

// Of RFC 4861 §6.2.1 and §10.
const (
	intervalLeast = 150 * time.Second
	intervalMost  = 200 * time.Second
	initialEvery  = 16 * time.Second
	initialCount  = 3
	multicastGap  = 3 * time.Second // between advertisements to all nodes
	retryAfter    = time.Second     // when the interface could not send: its link-local address is not there yet, say
)

// schedule says when the next advertisement to all nodes is due.
type schedule struct {
	periodic bool
	sent     int
	last     time.Time
	next     time.Time // zero: none is due
}

func newSchedule(periodic bool, now time.Time) *schedule {
	s := &schedule{periodic: periodic}
	if periodic {
		s.next = now
	}
	return s
}

// asked brings the next one forward, as far as the gap allows.
func (s *schedule) asked(now time.Time) {
	at := now
	if earliest := s.last.Add(multicastGap); at.Before(earliest) {
		at = earliest
	}
	if s.next.IsZero() || at.Before(s.next) {
		s.next = at
	}
}

// done notes that one was sent.
func (s *schedule) done(now time.Time) {
	s.sent++
	s.last, s.next = now, time.Time{}
	switch {
	case !s.periodic:
	case s.sent < initialCount:
		s.next = now.Add(initialEvery)
	default:
		s.next = now.Add(intervalLeast + rand.N(intervalMost-intervalLeast))
	}
}

func (s *schedule) failed(now time.Time) { s.next = now.Add(retryAfter) }
