package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stmcginnis/gofish"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-io/slipway/services/bmc"
	"github.com/slipway-io/slipway/services/bmc/redfish"
)

// visitor does one thing with the BMC of an index.
type visitor interface {
	inspect(ctx context.Context, index int) error
	power(ctx context.Context, index int) error
	close(ctx context.Context) error
}

func measure(ctx context.Context, l load, side, address string, out io.Writer) error {
	port, encoded, _ := strings.Cut(address, ",")
	number, err := strconv.Atoi(port)
	if err != nil {
		return fmt.Errorf("read port: %w", err)
	}
	der, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return fmt.Errorf("read certificate: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("read certificate: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(certificate)
	trust := &tls.Config{RootCAs: roots, ServerName: certificateName, MinVersion: tls.VersionTLS12}
	var v visitor = &plain{port: number, trust: trust}
	if side == "slipway" {
		v = pooled{pool: bmc.NewPool(redfish.Open, 10*time.Minute), port: number, trust: trust}
	}
	var seen figures
	if seen.BaseRSS, err = resident("VmRSS"); err != nil {
		return err
	}
	if err := inspectAll(ctx, l, v, &seen); err != nil {
		return err
	}
	if side == "slipway" && l.steady > 0 {
		if err := poll(ctx, l, v, &seen); err != nil {
			return err
		}
	}
	if err := v.close(ctx); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(seen)
}

// inspectAll as a controller's workers do: what fails comes back later, after one second and then twice as long.
func inspectAll(ctx context.Context, l load, v visitor, seen *figures) error {
	type host struct{ index, tries int }
	queue := make(chan host, l.bmcs)
	for i := range l.bmcs {
		queue <- host{index: i}
	}
	var (
		inspected, tries atomic.Int64
		last             atomic.Value
		finish           sync.Once
	)
	done := make(chan struct{})
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for range l.workers {
		group.Go(func() error {
			for {
				select {
				case <-done:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				case h := <-queue:
					tries.Add(1)
					if err := bounded(ctx, h.index, v.inspect); err == nil {
						if inspected.Add(1) == int64(l.bmcs) {
							finish.Do(func() { close(done) })
						}
						continue
					} else {
						last.Store(err.Error())
					}
					h.tries++
					if h.tries > 50 {
						return fmt.Errorf("BMC %d does not come to be inspected: %v", h.index, last.Load())
					}
					time.AfterFunc(time.Second<<min(h.tries-1, 4), func() { queue <- h })
				}
			}
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	seen.Seconds, seen.Inspected, seen.Tries = time.Since(began).Seconds(), int(inspected.Load()), int(tries.Load())
	var err error
	if seen.CPUSeconds, err = cpu(); err != nil {
		return err
	}
	seen.RSS, err = resident("VmHWM")
	return err
}

func bounded(ctx context.Context, index int, visit func(context.Context, int) error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return visit(ctx, index)
}

// poll the power of each BMC once a minute, evenly spread.
func poll(ctx context.Context, l load, v visitor, seen *figures) error {
	before, err := cpu()
	if err != nil {
		return err
	}
	began := time.Now()
	tick := time.NewTicker(time.Minute / time.Duration(l.bmcs))
	defer tick.Stop()
	var (
		group    sync.WaitGroup
		failures atomic.Int64
	)
	for index := 0; time.Since(began) < l.steady; index++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		seen.SteadyPolls++
		group.Go(func() {
			if bounded(ctx, index%l.bmcs, v.power) != nil {
				failures.Add(1)
			}
		})
	}
	group.Wait()
	after, err := cpu()
	if err != nil {
		return err
	}
	seen.SteadyCores, seen.SteadyFailures = (after-before)/time.Since(began).Seconds(), int(failures.Load())
	seen.SteadyRSS, err = resident("VmRSS")
	return err
}

// pooled is ours.
type pooled struct {
	pool  *bmc.Pool[*redfish.Client]
	port  int
	trust *tls.Config
}

func (p pooled) with(ctx context.Context, index int, use func(context.Context, *redfish.Client) error) error {
	address := bmc.Address{Scheme: bmc.RedfishVirtualMedia, Host: addressOf(index).String(), Port: p.port}
	return p.pool.With(ctx, bmc.Config{Address: address, Credentials: bmc.Credentials{Username: "admin", Password: "scripted-password"}, TLS: p.trust}, use)
}

func (p pooled) inspect(ctx context.Context, index int) error {
	return p.with(ctx, index, func(ctx context.Context, c *redfish.Client) error {
		hardware, err := c.Inspect(ctx)
		if err == nil && (len(hardware.NICs) != 1 || len(hardware.Storage) != 2 || hardware.CPU.Count != 64) {
			return errors.New("half a machine")
		}
		return err
	})
}

func (p pooled) power(ctx context.Context, index int) error {
	return p.with(ctx, index, func(ctx context.Context, c *redfish.Client) error {
		_, err := c.Power(ctx)
		return err
	})
}

func (p pooled) close(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	stop()
	return p.pool.Run(ctx)
}

// plain is gofish with a client for each inspection, as its examples have it; TLS verified, where no session is to be had
// the account.
type plain struct {
	port  int
	trust *tls.Config
}

func (p *plain) inspect(ctx context.Context, index int) error {
	transport := &http.Transport{TLSClientConfig: p.trust.Clone()}
	defer transport.CloseIdleConnections()
	config := gofish.ClientConfig{
		Endpoint: fmt.Sprintf("https://%s:%d", addressOf(index), p.port), HTTPClient: &http.Client{Transport: transport, Timeout: time.Minute},
		Username: "admin", Password: "scripted-password", NoModifyTransport: true,
		BasicAuth: index%7 == 6, // AMI's profile has no sessions
	}
	api, err := gofish.ConnectContext(ctx, config)
	if err != nil {
		return err
	}
	defer api.Logout()
	systems, err := api.Service.Systems()
	if err != nil || len(systems) != 1 {
		return fmt.Errorf("%d systems: %w", len(systems), err)
	}
	cpus, err := systems[0].Processors()
	if err != nil || len(cpus) != 2 {
		return fmt.Errorf("%d processors: %w", len(cpus), err)
	}
	if _, err := systems[0].EthernetInterfaces(); err != nil {
		return err
	}
	storage, err := systems[0].Storage()
	if err != nil || len(storage) != 1 {
		return fmt.Errorf("%d controllers: %w", len(storage), err)
	}
	drives, err := storage[0].Drives()
	if err != nil || len(drives) != 2 {
		return fmt.Errorf("%d drives: %w", len(drives), err)
	}
	return nil
}

func (p *plain) power(context.Context, int) error { return nil }
func (p *plain) close(context.Context) error      { return nil }
