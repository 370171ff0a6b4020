package redfish

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/slipway-io/slipway/services/bmc"
	"github.com/slipway-io/slipway/services/bmc/scripted"
)

// standing is a scripted BMC on loopback and what is needed to open it.
type standing struct {
	*scripted.BMC
	config bmc.Config
	rungs  *rungs
}

// rungs are taken out of the log.
type rungs struct {
	mu   sync.Mutex
	last map[string]string
}

func (r *rungs) Enabled(context.Context, slog.Level) bool { return true }
func (r *rungs) WithAttrs([]slog.Attr) slog.Handler       { return r }
func (r *rungs) WithGroup(string) slog.Handler            { return r }

func (r *rungs) Handle(_ context.Context, record slog.Record) error {
	var operation, rung string
	record.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "operation":
			operation = a.Value.String()
		case "rung":
			rung = a.Value.String()
		}
		return true
	})
	if rung != "" {
		r.mu.Lock()
		r.last[operation] = rung
		r.mu.Unlock()
	}
	return nil
}

func (r *rungs) of(operation string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last[operation]
}

// hurry waits a thousandth.
func hurry(ctx context.Context, d time.Duration) error { return pause(ctx, d/1000) }

func stand(t *testing.T, profile scripted.Profile, options scripted.Options) *standing {
	t.Helper()
	return standOn(t, "127.0.0.1:0", profile, options)
}

func standOn(t *testing.T, address string, profile scripted.Profile, options scripted.Options) *standing {
	t.Helper()
	b := scripted.New(profile, options)
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Serve(ctx, listener, true) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	parsed, err := bmc.ParseAddress("redfish-virtualmedia://" + listener.Addr().String() + "/redfish/v1/Systems/" + profile.SystemID)
	if err != nil {
		t.Fatal(err)
	}
	r := &rungs{last: map[string]string{}}
	s := &standing{BMC: b, rungs: r, config: bmc.Config{
		Address: parsed, Credentials: bmc.Credentials{Username: "admin", Password: "scripted-password"}, Log: slog.New(r), Wait: hurry,
	}}
	s.trust(t)
	return s
}

func (s *standing) trust(t *testing.T) {
	t.Helper()
	certificate, err := s.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(certificate.Leaf)
	s.config.TLS = &tls.Config{RootCAs: roots}
}

func (s *standing) open(t *testing.T) *Client {
	t.Helper()
	c, err := Open(t.Context(), s.config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if left := s.Counts().OpenSessions; left != 0 {
			t.Errorf("%d sessions left", left)
		}
	})
	return c
}
