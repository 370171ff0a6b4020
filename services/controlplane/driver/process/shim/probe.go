package shim

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// Times of the probes.
const (
	startingPeriod  = 50 * time.Millisecond // until a component is ready: somebody waits for it
	slowPeriod      = 500 * time.Millisecond
	steadyPeriod    = 5 * time.Second
	probeTimeout    = 3 * time.Second
	startingFast    = time.Minute
	startingLimit   = 5 * time.Minute // not ready by then: start it again
	unreadyAfter    = 2               // failures in a row
	unaliveAfter    = 60 * time.Second
	maxProbeMessage = 300
)

// probe watches one run of a component until it ends.
func (w *worker) probe(p *process) {
	if p.component.Ready == nil {
		return
	}
	health := &health{lastAlive: time.Now()}
	for p.ctx.Err() == nil {
		period := w.probeOnce(p.ctx, p, health)
		select {
		case <-p.ctx.Done():
		case <-time.After(period):
		}
	}
	health.ready.close()
	health.live.close()
}

// health is what the probes of one run found so far.
type health struct {
	ready, live prober
	everReady   bool
	failures    int
	lastAlive   time.Time
}

// probeOnce asks once, notes the answer, and returns when to ask again.
func (w *worker) probeOnce(ctx context.Context, p *process, h *health) time.Duration {
	ready, live := w.probes(p)
	err := h.ready.ask(ctx, ready)
	if ctx.Err() != nil {
		return 0
	}
	if err == nil {
		if !h.everReady || h.failures >= unreadyAfter {
			w.noteReady(p, true, "")
		}
		h.everReady, h.failures, h.lastAlive = true, 0, time.Now()
		return steadyPeriod
	}
	h.failures++
	if !h.everReady {
		if time.Since(p.started) > startingLimit {
			w.giveUp(p, fmt.Sprintf("not ready after %s: %v", startingLimit, err))
			return slowPeriod
		}
		if time.Since(p.started) < startingFast {
			return startingPeriod
		}
		w.noteReady(p, false, err.Error())
		return slowPeriod
	}
	if h.failures == unreadyAfter {
		w.noteReady(p, false, err.Error())
	}
	if live == nil || h.live.ask(ctx, live) == nil {
		h.lastAlive = time.Now()
	}
	if time.Since(h.lastAlive) > unaliveAfter {
		w.giveUp(p, fmt.Sprintf("gave no sign of life for %s", unaliveAfter))
	}
	return slowPeriod
}

// probes are those of the newest description: a changed probe restarts nothing.
func (w *worker) probes(p *process) (ready, live *Probe) {
	w.sup.mu.Lock()
	defer w.sup.mu.Unlock()
	if w.desired.Hash == p.component.Hash && w.desired.Ready != nil {
		return w.desired.Ready, w.desired.Live
	}
	return p.component.Ready, p.component.Live
}

func (w *worker) noteReady(p *process, ready bool, message string) {
	message = message[:min(len(message), maxProbeMessage)]
	w.sup.update(func() {
		if w.state.PID == p.pid && w.runningHash == p.component.Hash {
			w.state.Ready, w.state.Message = ready, message
		}
	})
	w.log.Info("component readiness", "ready", ready, "after", time.Since(p.started).Round(time.Millisecond), "reason", message)
}

// giveUp kills a process that hangs; the worker then starts it again.
func (w *worker) giveUp(p *process, reason string) {
	w.log.Warn("component hangs", "reason", reason)
	p.terminate()
}

// prober keeps the connection between questions to one component.
type prober struct{ client *http.Client }

func (p *prober) ask(ctx context.Context, probe *Probe) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if probe.Path == "" {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", probe.Addr)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	if p.client == nil {
		client, err := probe.client()
		if err != nil {
			return err
		}
		p.client = client
	}
	err := p.get(ctx, "https://"+probe.Addr+probe.Path)
	var status statusError
	if err != nil && !errors.As(err, &status) {
		p.close() // certificates may have changed
	}
	return err
}

type statusError struct {
	code int
	body string
}

func (e statusError) Error() string { return fmt.Sprintf("answered %d: %s", e.code, e.body) }

func (p *prober) get(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if resp.StatusCode != http.StatusOK {
		return statusError{resp.StatusCode, string(body[:min(len(body), maxProbeMessage)])}
	}
	return nil
}

func (p *prober) close() {
	if p.client != nil {
		p.client.CloseIdleConnections()
		p.client = nil
	}
}

func (probe *Probe) client() (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: probe.ServerName}
	if probe.CA != "" {
		ca, err := os.ReadFile(probe.CA)
		if err != nil {
			return nil, fmt.Errorf("read probe's CA: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(ca)
	}
	if probe.Cert != "" {
		pair, err := tls.LoadX509KeyPair(probe.Cert, probe.Key)
		if err != nil {
			return nil, fmt.Errorf("load probe's certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config, MaxIdleConnsPerHost: 1}}, nil
}
