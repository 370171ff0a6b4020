package redfish

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/slipway-io/slipway/services/bmc"
	"github.com/slipway-io/slipway/services/bmc/scripted"
)

func profile(t *testing.T, name string) scripted.Profile {
	t.Helper()
	for _, p := range scripted.Profiles() {
		if p.Name == name {
			return p
		}
	}
	t.Fatal("no profile " + name)
	return scripted.Profile{}
}

// TestFaults switches each fault on while a session is open, looks at what is said, switches it off and goes on with the
// same pool.
func TestFaults(t *testing.T) {
	inspect := func(ctx context.Context, c *Client) error { _, err := c.Inspect(ctx); return err }
	insert := func(ctx context.Context, c *Client) error { _, err := c.InsertMedia(ctx, image); return err }
	for _, test := range []struct {
		name, profile string
		fault         func(*scripted.Faults)
		use           func(context.Context, *Client) error
		want          bmc.FaultKind
		fresh         bool
	}{
		{"down", "generic", func(f *scripted.Faults) { f.Down = true }, inspect, bmc.Unreachable, false},
		{"down at login", "generic", func(f *scripted.Faults) { f.Down = true }, inspect, bmc.Unreachable, true},
		{"503 storm", "iDRAC9", func(f *scripted.Faults) { f.Storm = true }, inspect, bmc.Busy, false},
		{"503 storm at login", "iDRAC9", func(f *scripted.Faults) { f.Storm = true }, inspect, bmc.Busy, true},
		{"half a body", "iLO5", func(f *scripted.Faults) { f.HalfBody = true }, inspect, bmc.Protocol, false},
		{"half a body at login", "iLO5", func(f *scripted.Faults) { f.HalfBody = true }, inspect, bmc.Protocol, true},
		{"session table full", "Lenovo XCC", func(f *scripted.Faults) { f.SessionTableFull = true }, inspect, bmc.SessionLimit, true},
		{"media unreachable", "generic", func(f *scripted.Faults) { f.MediaUnreachable = true }, insert, bmc.Media, false},
		{"media unreachable, by task", "iDRAC10", func(f *scripted.Faults) { f.MediaUnreachable = true }, insert, bmc.Media, false},
		{"media unreachable, by PATCH", "Lenovo XCC", func(f *scripted.Faults) { f.MediaUnreachable = true }, insert, bmc.Media, false},
		{"no license", "iLO5", func(f *scripted.Faults) { f.Unlicensed = true }, insert, bmc.License, false},
		{"no license, by PATCH", "Lenovo XCC", func(f *scripted.Faults) { f.Unlicensed = true }, insert, bmc.License, false},
		{"stuck task", "iDRAC10", func(f *scripted.Faults) { f.StuckTask = true }, insert, bmc.Stuck, false},
		{"stuck power", "generic", func(f *scripted.Faults) { f.StuckTask = true }, func(ctx context.Context, c *Client) error { return c.SetPower(ctx, bmc.On, false) }, bmc.Stuck, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := stand(t, profile(t, test.profile), scripted.Options{})
			pool := bmc.NewPool(Open, time.Minute)
			with := func() error { return pool.With(t.Context(), s.config, test.use) }
			if !test.fresh {
				if err := pool.With(t.Context(), s.config, inspect); err != nil {
					t.Fatal(err)
				}
			}
			s.Fault(test.fault)
			err := with()
			if bmc.Kind(err) != test.want || err == nil {
				t.Errorf("%v is %q, want %q", err, bmc.Kind(err), test.want)
			}
			t.Log(err)
			s.Fault(func(f *scripted.Faults) { *f = scripted.Faults{} })
			if err := with(); err != nil {
				t.Errorf("afterwards: %v", err)
			}
			closeAll(t, pool)
			if counts := s.Counts(); counts.Sessions > 1 || counts.AtOnce > 2 || counts.OpenSessions != 0 {
				t.Errorf("%+v", counts)
			}
		})
	}
}

func closeAll(t *testing.T, pool *bmc.Pool[*Client]) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if err := pool.Run(ctx); err != nil {
		t.Error(err)
	}
}

// TestRotatedPassword: one attempt with what is wrong now, with sessions and without, however often it is asked.
func TestRotatedPassword(t *testing.T) {
	for _, name := range []string{"generic", "AMI MegaRAC"} {
		t.Run(name, func(t *testing.T) {
			s := stand(t, profile(t, name), scripted.Options{})
			pool := bmc.NewPool(Open, time.Minute)
			power := func() error {
				return pool.With(t.Context(), s.config, func(ctx context.Context, c *Client) error { _, err := c.Power(ctx); return err })
			}
			if err := power(); err != nil {
				t.Fatal(err)
			}
			s.Rotate("changed")
			for range 10 {
				err := power()
				if bmc.Kind(err) != bmc.Refused {
					t.Fatalf("%v is %q", err, bmc.Kind(err))
				}
				if strings.Contains(err.Error(), "scripted-password") {
					t.Error("error holds the password")
				}
			}
			// Without sessions the request that finds out is an attempt itself.
			if counts := s.Counts(); counts.WrongPasswords != 1 {
				t.Errorf("%+v", counts)
			}
			s.config.Credentials.Password = "changed"
			if err := power(); err != nil {
				t.Error(err)
			}
			closeAll(t, pool)
		})
	}
}

func TestWrongPasswordAtFirst(t *testing.T) {
	for _, p := range scripted.Profiles() {
		s := stand(t, p, scripted.Options{})
		s.config.Credentials.Password = "wrong"
		_, err := Open(t.Context(), s.config)
		if counts := s.Counts(); bmc.Kind(err) != bmc.Refused || counts.WrongPasswords != 1 {
			t.Errorf("%s: %v is %q, %+v", p.Name, err, bmc.Kind(err), counts)
		}
	}
}

// A session that the BMC forgot is made again once, and the request with it.
func TestForgottenSession(t *testing.T) {
	s := stand(t, profile(t, "generic"), scripted.Options{})
	c := s.open(t)
	for range 3 {
		s.DropSessions()
		if _, err := c.Inspect(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if counts := s.Counts(); counts.Logins != 4 || counts.Sessions != 1 || counts.WrongLogins != 0 {
		t.Errorf("%+v", counts)
	}
}

func TestCertificates(t *testing.T) {
	s := stand(t, profile(t, "generic"), scripted.Options{})
	pool := bmc.NewPool(Open, time.Minute)
	power := func() error {
		return pool.With(t.Context(), s.config, func(ctx context.Context, c *Client) error {
			c.shared.link.transport.Load().CloseIdleConnections()
			_, err := c.Power(ctx)
			return err
		})
	}
	if err := power(); err != nil {
		t.Fatal(err)
	}
	changed, err := scripted.SelfSigned()
	if err != nil {
		t.Fatal(err)
	}
	s.SetCertificate(changed)
	if err := power(); bmc.Kind(err) != bmc.TLS {
		t.Errorf("changed certificate: %v is %q", err, bmc.Kind(err))
	}
	s.trust(t)
	if err := power(); err != nil {
		t.Errorf("trusted again: %v", err)
	}
	s.config.TLS = nil
	if err := power(); bmc.Kind(err) != bmc.TLS {
		t.Errorf("system's roots: %v is %q", err, bmc.Kind(err))
	}
	s.config.TLS = &tls.Config{InsecureSkipVerify: true}
	if err := power(); err != nil {
		t.Errorf("not verified: %v", err)
	}
	closeAll(t, pool)
	if counts := s.Counts(); counts.Logins != 1 || counts.Sessions != 1 || counts.OpenSessions != 0 {
		t.Errorf("%+v", counts)
	}
	// The process's own transport still verifies (bmc.md §2.1).
	response, err := http.Get(s.config.Address.Endpoint())
	if err == nil {
		response.Body.Close()
		t.Error("the process's transport trusts an unknown certificate")
	}
	if transport, ok := http.DefaultTransport.(*http.Transport); ok && transport.TLSClientConfig != nil && transport.TLSClientConfig.InsecureSkipVerify {
		t.Error("the process's transport does not verify any more")
	}
}

func TestIPv6(t *testing.T) {
	s := standOn(t, "[::1]:0", profile(t, "generic"), scripted.Options{})
	c := s.open(t)
	if _, err := c.Inspect(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestMaliciousBMC: whatever it answers, the account's token goes to no other host and memory stays bounded.
func TestMaliciousBMC(t *testing.T) {
	stolen := make(chan string, 10)
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		stolen <- r.Header.Get("X-Auth-Token") + r.Header.Get("Authorization")
	}))
	defer thief.Close()
	root := `{"@odata.id":"/redfish/v1","Systems":{"@odata.id":"/redfish/v1/Systems"}}`
	for name, answer := range map[string]http.HandlerFunc{
		"redirects": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, thief.URL, http.StatusTemporaryRedirect)
		},
		"other host": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"Members":[{"@odata.id":"@` + strings.TrimPrefix(thief.URL, "http://") + `/"}]}`))
		},
		"circle":  func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) },
		"endless": func(w http.ResponseWriter, _ *http.Request) { endless(w, `{"Members":[],"x":"`) },
		"no JSON": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"many pages": func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte(`{"Members":[{"@odata.id":"/a"}],"Members@odata.nextLink":"/redfish/v1/Systems?x` + r.URL.RawQuery + `"}`))
		},
		"broken path": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"Members":[{"@odata.id":":\u007f/%zz"}]}`))
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.TrimSuffix(r.URL.Path, "/") == "/redfish/v1" {
					_, _ = w.Write([]byte(root))
					return
				}
				answer(w, r)
			}))
			defer server.Close()
			address, err := bmc.ParseAddress("redfish+" + server.URL)
			if err != nil {
				t.Fatal(err)
			}
			c, err := Open(t.Context(), bmc.Config{Address: address, Credentials: bmc.Credentials{Username: "u", Password: "hunter2"}, Wait: hurry})
			if err == nil {
				_, err = c.Inspect(t.Context())
			}
			if bmc.Kind(err) == "" || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v is %q", err, bmc.Kind(err))
			}
			t.Log(err)
		})
	}
	select {
	case token := <-stolen:
		t.Errorf("another host was asked, with %q", token)
	default:
	}
}

func endless(w http.ResponseWriter, start string) {
	_, err := w.Write([]byte(start))
	for chunk := bytes.Repeat([]byte("x"), 1<<20); err == nil; {
		_, err = w.Write(chunk)
	}
}

func TestHangingBMC(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	address, err := bmc.ParseAddress("redfish+http://" + listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = Open(ctx, bmc.Config{Address: address})
	if bmc.Kind(err) != bmc.Unreachable || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v is %q", err, bmc.Kind(err))
	}
}

// TestLogsHoldNoPassword reads what a whole life of a connection logs.
func TestLogsHoldNoPassword(t *testing.T) {
	log := &bytes.Buffer{}
	s := stand(t, profile(t, "AMI MegaRAC"), scripted.Options{})
	s.config.Log = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c := s.open(t)
	if _, err := c.InsertMedia(t.Context(), image); err != nil {
		t.Fatal(err)
	}
	s.config.Log.Info("configuration", "credentials", s.config.Credentials, "config", s.config.Credentials)
	if strings.Contains(log.String(), "scripted-password") || !strings.Contains(log.String(), "InsertMedia") {
		t.Error(log.String())
	}
}

func FuzzReply(f *testing.F) {
	f.Add(400, []byte(`{"error":{"code":"Base.1.8.GeneralError","@Message.ExtendedInfo":[{"MessageId":"Base.1.8.ActionParameterMissing","MessageArgs":["TransferProtocolType"]}]}}`))
	f.Add(202, []byte(`{"@odata.type":"#Task.v1_0_0.Task","@odata.id":"/t/1","TaskState":"Exception","Messages":[{"MessageId":"x"}]}`))
	f.Add(503, []byte(`<html>`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		r := &reply{status: status, header: http.Header{"Location": {string(body)}}, body: body}
		if len(r.what()) > 210 {
			t.Errorf("%d characters", len(r.what()))
		}
		_ = r.fault("x")
		r.says("SessionLimitExceeded")
		r.names("UserName")
		_, _ = taskDone(r)
		if path := taskPath(r); status == 202 && path != "" && strings.HasPrefix(path, "http") {
			t.Error(path)
		}
	})
}
