package agentapi

import (
	"net/netip"
	"strconv"
	"sync"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"

	"github.com/slipway-io/slipway/services/host"
)

// grace is how long after its expected return a host still owns its identity.
const grace = 15 * time.Second

// session is what memory holds of a host; a restart loses it and loses nothing that counts.
type session struct {
	remote netip.Addr
	seen   time.Time
	// token is what the host shows to approval policies.
	token   string
	skew    time.Duration
	until   time.Time
	waiting int
	changed chan struct{}
	// given is when each type of step was last handed out.
	given map[host.StepType]time.Time
	// latest is the Agent as we wrote it last.
	latest *agentv1beta1.Agent
}

type sessions struct {
	now     func() time.Time
	started time.Time
	mu      sync.Mutex
	hosts   map[string]*session
}

func newSessions(now func() time.Time) *sessions {
	return &sessions{now: now, started: now(), hosts: map[string]*session{}}
}

// of is called with the lock held and only for hosts whose Agent exists.
func (s *sessions) of(hostID string) *session {
	one, is := s.hosts[hostID]
	if !is {
		one = &session{seen: s.started, changed: make(chan struct{}), given: map[host.StepType]time.Time{}}
		s.hosts[hostID] = one
	}
	return one
}

// admit takes the address as the host's, unless the host is connected from another; one that moves may come from anywhere.
func (s *sessions) admit(hostID string, remote netip.Addr, moves bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, now := s.of(hostID), s.now()
	if !moves && one.remote.IsValid() && one.remote != remote && (one.waiting > 0 || now.Before(one.until)) {
		return false
	}
	one.remote, one.seen = remote, now
	if one.until.Before(now.Add(grace)) {
		one.until = now.Add(grace)
	}
	return true
}

// show notes the token for approval policies.
func (s *sessions) show(hostID, token string) {
	const longest = 256
	if len(token) > longest {
		token = ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of(hostID).token = token
}

func (s *sessions) peer(hostID string) (from netip.Addr, token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one, is := s.hosts[hostID]; is {
		return one.remote, one.token
	}
	return netip.Addr{}, ""
}

// restart forgets what was handed out: the host has begun anew.
func (s *sessions) restart(hostID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.of(hostID).given)
}

// forget ends a session: the Agent is gone.
func (s *sessions) forget(hostID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one, is := s.hosts[hostID]; is {
		close(one.changed)
		delete(s.hosts, hostID)
	}
}

func (s *sessions) wake(hostID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if one, is := s.hosts[hostID]; is {
		close(one.changed)
		one.changed = make(chan struct{})
	}
}

func (s *sessions) changed(hostID string) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of(hostID).changed
}

// wait counts a host as present for as long as it waits on the line.
func (s *sessions) wait(hostID string, next time.Duration) (done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.of(hostID)
	one.waiting++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		one.waiting--
		one.seen = s.now()
		one.until = one.seen.Add(next + grace)
	}
}

func (s *sessions) clock(hostID string, skew time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of(hostID).skew = skew
}

func (s *sessions) contact(hostID string) host.Contact {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, is := s.hosts[hostID]
	if !is {
		return host.Contact{At: s.started}
	}
	if one.waiting > 0 {
		return host.Contact{At: s.now(), Skew: one.skew}
	}
	return host.Contact{At: one.seen, Skew: one.skew}
}

// due are the plan's steps that were not given lately, marked as given; otherwise the time until one is.
func (s *sessions) due(hostID string, plan host.Plan) (steps []host.StepType, in time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, now := s.of(hostID), s.now()
	for _, step := range plan.Steps {
		if left := step.Again - now.Sub(one.given[step.Type]); left > 0 {
			if in == 0 || left < in {
				in = left
			}
			continue
		}
		one.given[step.Type] = now
		steps = append(steps, step.Type)
	}
	return steps, in
}

func (s *sessions) wrote(agent *agentv1beta1.Agent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.of(agent.Name)
	if one.latest == nil || one.latest.UID != agent.UID || version(agent) > version(one.latest) {
		one.latest = agent
	}
}

// newest prefers our own last write to an older copy of the same object.
func (s *sessions) newest(agent *agentv1beta1.Agent) *agentv1beta1.Agent {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, is := s.hosts[agent.Name]
	if !is || one.latest == nil {
		return agent
	}
	if one.latest.UID != agent.UID || version(agent) > version(one.latest) {
		one.latest = nil
		return agent
	}
	return one.latest.DeepCopy()
}

func version(agent *agentv1beta1.Agent) uint64 {
	number, err := strconv.ParseUint(agent.ResourceVersion, 10, 64)
	if err != nil {
		return 0
	}
	return number
}
