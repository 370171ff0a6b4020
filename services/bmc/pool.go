package bmc

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Connection to one BMC with one session, shared by all systems behind it.
type Connection[C any] interface {
	// For is a view of the same connection that means the system at this path.
	For(systemPath string) C
	// Trust changes which certificates are good, and keeps the session: it could not be deleted over one that is not.
	Trust(trust *tls.Config)
	// Close deletes the session; every later use is refused, also by views.
	Close(ctx context.Context) error
}

// Pool shares one connection per BMC and account among all controllers.
type Pool[C Connection[C]] struct {
	open func(context.Context, Config) (C, error)
	idle time.Duration
	// sessions that are open.
	sessions atomic.Int64

	mu      sync.Mutex
	entries map[string]*entry[C]
	closed  bool
}

type entry[C Connection[C]] struct {
	sessions *atomic.Int64
	// gate has room for one who opens or closes.
	gate chan struct{}

	// Below: under the pool's mutex.
	users int
	last  time.Time

	// Below: for who holds the gate.
	conn    *C
	digest  [sha256.Size]byte
	tls     *tls.Config
	refused map[[sha256.Size]byte]bool
}

// closeTimeout bounds the farewell to one BMC; refusedLimit what is remembered of wrong passwords for one account.
const (
	closeTimeout = 10 * time.Second
	refusedLimit = 64
)

// NewPool opens with open, and closes what nobody used for idle.
func NewPool[C Connection[C]](open func(context.Context, Config) (C, error), idle time.Duration) *Pool[C] {
	return &Pool[C]{open: open, idle: idle, entries: map[string]*entry[C]{}}
}

// With calls use with a connection to the BMC, opened where there is none. Credentials that the BMC once refused are not
// tried again, not even once, until they change or Forget is called: BMCs lock accounts.
func (p *Pool[C]) With(ctx context.Context, config Config, use func(context.Context, C) error) error {
	e, err := p.enter(config)
	if err != nil {
		return err
	}
	defer p.leave(e)
	conn, err := e.connection(ctx, config, p.open)
	if err != nil {
		return err
	}
	err = use(ctx, (*conn).For(config.Address.SystemPath))
	if Kind(err) == Refused {
		e.refuse(conn, config)
	}
	return err
}

// Sessions is how many are open.
func (p *Pool[C]) Sessions() int { return int(p.sessions.Load()) }

// Forget lets refused credentials be tried once more.
func (p *Pool[C]) Forget(config Config) {
	p.withGate(config, func(e *entry[C]) { e.refused = nil })
}

// Refuse remembers credentials as wrong, for who knows it from before a restart.
func (p *Pool[C]) Refuse(config Config) {
	p.withGate(config, func(e *entry[C]) { e.remember(config.Credentials.digest()) })
}

func (p *Pool[C]) withGate(config Config, do func(*entry[C])) {
	e, err := p.enter(config)
	if err != nil {
		return
	}
	defer p.leave(e)
	e.gate <- struct{}{}
	defer func() { <-e.gate }()
	do(e)
}

func (p *Pool[C]) enter(config Config) (*entry[C], error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errors.New("open BMC: the pool is closed")
	}
	key := config.Address.Endpoint() + " " + config.Credentials.Username
	e := p.entries[key]
	if e == nil {
		e = &entry[C]{sessions: &p.sessions, gate: make(chan struct{}, 1)}
		p.entries[key] = e
	}
	e.users++
	return e, nil
}

func (p *Pool[C]) leave(e *entry[C]) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.users--
	e.last = time.Now()
}

func (e *entry[C]) connection(ctx context.Context, config Config, open func(context.Context, Config) (C, error)) (*C, error) {
	select {
	case e.gate <- struct{}{}:
		defer func() { <-e.gate }()
	case <-ctx.Done():
		return nil, &Fault{Kind: Unreachable, Err: fmt.Errorf("wait for the session with the BMC: %w", ctx.Err())}
	}
	digest := config.Credentials.digest()
	if e.refused[digest] {
		return nil, &Fault{Kind: Refused, Err: errors.New("the BMC refused this user name and password before; they are not tried again until they change, so that it does not lock the account")}
	}
	if e.conn != nil && e.digest != digest {
		// The session of a password that is no more may be none, too.
		_ = e.close(ctx)
	}
	if e.conn != nil {
		if !sameTrust(e.tls, config.TLS) {
			(*e.conn).Trust(config.TLS)
			e.tls = config.TLS
		}
		return e.conn, nil
	}
	conn, err := open(ctx, config)
	if err != nil {
		if Kind(err) == Refused {
			e.remember(digest)
		}
		return nil, err
	}
	e.conn, e.digest, e.tls = &conn, digest, config.TLS
	e.sessions.Add(1)
	return e.conn, nil
}

// refuse drops the connection that found its credentials wrong, unless another has taken its place.
func (e *entry[C]) refuse(conn *C, config Config) {
	e.gate <- struct{}{}
	defer func() { <-e.gate }()
	e.remember(config.Credentials.digest())
	if e.conn == conn {
		e.conn = nil
		e.sessions.Add(-1)
	}
}

func (e *entry[C]) remember(digest [sha256.Size]byte) {
	if e.refused == nil || len(e.refused) >= refusedLimit {
		e.refused = map[[sha256.Size]byte]bool{}
	}
	e.refused[digest] = true
}

// close says farewell; a BMC that does not answer ends the session itself.
func (e *entry[C]) close(ctx context.Context) error {
	if e.conn == nil {
		return nil
	}
	conn := *e.conn
	e.conn = nil
	e.sessions.Add(-1)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	return conn.Close(ctx)
}

// Run closes what is idle, and everything when ctx is done: no session is left on any BMC that answers.
func (p *Pool[C]) Run(ctx context.Context) error {
	tick := time.NewTicker(max(p.idle/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.sweep(ctx, time.Now().Add(-p.idle))
		case <-ctx.Done():
			p.mu.Lock()
			p.closed = true
			p.mu.Unlock()
			p.sweep(ctx, time.Now().Add(p.idle))
			return nil
		}
	}
}

// sweep closes connections last used before the time, some at once.
func (p *Pool[C]) sweep(ctx context.Context, before time.Time) {
	var group sync.WaitGroup
	slots := make(chan struct{}, 64)
	for _, e := range p.unused(before) {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			p.retire(ctx, e, before)
		})
	}
	group.Wait()
}

// over tells, with the pool's mutex, that nobody uses a connection any more.
func (p *Pool[C]) over(e *entry[C], before time.Time) bool {
	return p.closed || e.users == 0 && e.last.Before(before)
}

// unused are the entries last used before the time; of those that hold nothing none is kept.
func (p *Pool[C]) unused(before time.Time) []*entry[C] {
	p.mu.Lock()
	defer p.mu.Unlock()
	var idle []*entry[C]
	for key, e := range p.entries {
		if p.over(e, before) {
			idle = append(idle, e)
		}
		if e.users == 0 && e.last.Before(before) && len(e.gate) == 0 && e.conn == nil && e.refused == nil {
			delete(p.entries, key)
		}
	}
	return idle
}

// retire closes the entry's connection, unless somebody has taken it up again meanwhile.
func (p *Pool[C]) retire(ctx context.Context, e *entry[C], before time.Time) {
	e.gate <- struct{}{}
	defer func() { <-e.gate }()
	p.mu.Lock()
	over := p.over(e, before)
	p.mu.Unlock()
	if over {
		// What a BMC says to a farewell changes nothing here.
		_ = e.close(ctx)
	}
}

func sameTrust(a, b *tls.Config) bool {
	if a == nil || b == nil {
		return a == b
	}
	if a.InsecureSkipVerify != b.InsecureSkipVerify || a.ServerName != b.ServerName {
		return false
	}
	return a.RootCAs == b.RootCAs || a.RootCAs != nil && b.RootCAs != nil && a.RootCAs.Equal(b.RootCAs)
}
