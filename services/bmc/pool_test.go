package bmc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

type fakeBMC struct {
	password              string
	opened, open, refused atomic.Int32
	trusted               atomic.Int32
}

type fakeConn struct {
	bmc  *fakeBMC
	path string
}

func (c *fakeConn) For(path string) *fakeConn { return &fakeConn{c.bmc, path} }

func (c *fakeConn) Trust(*tls.Config) { c.bmc.trusted.Add(1) }

func (c *fakeConn) Close(context.Context) error {
	c.bmc.open.Add(-1)
	return nil
}

func (b *fakeBMC) dial(_ context.Context, config Config) (*fakeConn, error) {
	if config.Credentials.Password != b.password {
		b.refused.Add(1)
		return nil, &Fault{Kind: Refused, Err: errors.New("401")}
	}
	b.opened.Add(1)
	b.open.Add(1)
	return &fakeConn{bmc: b}, nil
}

func configFor(password string) Config {
	return Config{Address: Address{Scheme: Redfish, Host: "h", Port: 443, SystemPath: "/redfish/v1/Systems/2"}, Credentials: Credentials{"root", password}}
}

func TestPoolSharesOneConnection(t *testing.T) {
	b := &fakeBMC{password: "a"}
	pool := NewPool(b.dial, time.Hour)
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			err := pool.With(t.Context(), configFor("a"), func(_ context.Context, c *fakeConn) error {
				if c.path != "/redfish/v1/Systems/2" {
					t.Errorf("view of %s", c.path)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if b.opened.Load() != 1 || pool.Sessions() != 1 {
		t.Errorf("opened %d times, %d are told", b.opened.Load(), pool.Sessions())
	}
}

func TestPoolTriesWrongCredentialsOnce(t *testing.T) {
	b := &fakeBMC{password: "right"}
	pool := NewPool(b.dial, time.Hour)
	try := func(password string) error {
		return pool.With(t.Context(), configFor(password), func(context.Context, *fakeConn) error { return nil })
	}
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if err := try("wrong"); Kind(err) != Refused {
				t.Errorf("wrong password: %v", err)
			}
		})
	}
	group.Wait()
	if b.refused.Load() != 1 || pool.Sessions() != 0 {
		t.Errorf("%d attempts with one wrong password, %d sessions", b.refused.Load(), pool.Sessions())
	}
	if err := try("right"); err != nil {
		t.Errorf("corrected password: %v", err)
	}
	pool.Forget(configFor("wrong"))
	_ = try("wrong")
	if b.refused.Load() != 2 {
		t.Errorf("%d attempts after Forget", b.refused.Load())
	}
	pool.Refuse(configFor("known"))
	if err := try("known"); Kind(err) != Refused || b.refused.Load() != 2 {
		t.Errorf("password known to be wrong was tried: %v", err)
	}
}

// A password that stops to be right while the session is used is remembered as well.
func TestPoolDropsConnectionOfRotatedPassword(t *testing.T) {
	b := &fakeBMC{password: "old"}
	pool := NewPool(b.dial, time.Hour)
	refusedInUse := func(context.Context, *fakeConn) error { return &Fault{Kind: Refused, Err: errors.New("401")} }
	if err := pool.With(t.Context(), configFor("old"), refusedInUse); Kind(err) != Refused || pool.Sessions() != 0 {
		t.Fatal(err, pool.Sessions())
	}
	b.password = "new"
	if err := pool.With(t.Context(), configFor("old"), refusedInUse); Kind(err) != Refused || b.refused.Load() != 0 {
		t.Errorf("%v, %d attempts", err, b.refused.Load())
	}
	if err := pool.With(t.Context(), configFor("new"), func(context.Context, *fakeConn) error { return nil }); err != nil {
		t.Error(err)
	}
}

func TestPoolKeepsSessionForNewTrust(t *testing.T) {
	b := &fakeBMC{password: "a"}
	pool := NewPool(b.dial, time.Hour)
	for i, trust := range []*tls.Config{nil, {}, {RootCAs: x509.NewCertPool()}, {RootCAs: x509.NewCertPool()}, {InsecureSkipVerify: true}} {
		config := configFor("a")
		config.TLS = trust
		if err := pool.With(t.Context(), config, func(context.Context, *fakeConn) error { return nil }); err != nil {
			t.Fatal(i, err)
		}
	}
	if b.opened.Load() != 1 || b.trusted.Load() != 3 {
		t.Errorf("opened %d, trust changed %d times; want 1 and 3", b.opened.Load(), b.trusted.Load())
	}
}

func TestPoolRunClosesIdleAndAll(t *testing.T) {
	b := &fakeBMC{password: "a"}
	pool := NewPool(b.dial, 20*time.Millisecond)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- pool.Run(ctx) }()
	use := func() {
		if err := pool.With(ctx, configFor("a"), func(context.Context, *fakeConn) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	use()
	for b.open.Load() != 0 {
		time.Sleep(time.Millisecond)
	}
	use()
	stop()
	if err := <-done; err != nil || b.open.Load() != 0 || pool.Sessions() != 0 {
		t.Errorf("%v, %d left open, %d are told", err, b.open.Load(), pool.Sessions())
	}
	if err := pool.With(t.Context(), configFor("a"), nil); err == nil {
		t.Error("closed pool opened")
	}
}

// A connection that is taken up again in the moment in which it would be closed as idle is not closed under its user.
func TestPoolClosesNothingInUse(t *testing.T) {
	b := &fakeBMC{password: "a"}
	pool := NewPool(b.dial, time.Hour)
	if err := pool.With(t.Context(), configFor("a"), func(context.Context, *fakeConn) error { return nil }); err != nil {
		t.Fatal(err)
	}
	before := time.Now().Add(time.Hour)
	idle := pool.unused(before)
	if len(idle) != 1 {
		t.Fatalf("%d connections are idle", len(idle))
	}
	err := pool.With(t.Context(), configFor("a"), func(context.Context, *fakeConn) error {
		pool.retire(t.Context(), idle[0], before)
		if b.open.Load() != 1 {
			t.Error("it is closed while it is used")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if pool.retire(t.Context(), idle[0], before); b.open.Load() != 0 {
		t.Error("it stays open")
	}
}
