package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"
	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/test/site"
)

// dirEnv tells the program inside the site's namespaces where the one outside made its directory.
const dirEnv = "SLIPWAY_BENCH_DIR"

// inspectByAppliance declares all BMCs to `slipway up` at once, in a network of its own: this program starts itself there.
func inspectByAppliance(ctx context.Context, l load, config site.Config, args []string, out io.Writer) error {
	ctrl.SetLogger(logr.FromSlogHandler(slog.DiscardHandler))
	if site.Outside() {
		dir, err := os.MkdirTemp("", "slipway-bench-")
		if err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
		defer os.RemoveAll(dir)
		if err := os.Setenv(dirEnv, dir); err != nil {
			return fmt.Errorf("tell directory: %w", err)
		}
	}
	if !site.Inside() {
		code, err := site.Enter(context.WithoutCancel(ctx))
		if err == nil && code != 0 {
			return fmt.Errorf("inside the site: it ended with %d", code)
		}
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	slipway, err := filepath.Abs(config.Slipway)
	if err != nil {
		return fmt.Errorf("find %s: %w", config.Slipway, err)
	}
	config.Dir, config.Slipway = os.Getenv(dirEnv), slipway
	opened, err := site.Open(config)
	if err != nil {
		return err
	}
	quiet, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", os.DevNull, err)
	}
	r := &site.Rehearsal{Site: opened, Report: site.NewReport(quiet)}
	bmcs, err := start(ctx, append(args, "-side", "serve"))
	if err != nil {
		return err
	}
	defer bmcs.stop()
	var at endpoint
	if err := bmcs.read(&at); err != nil {
		return err
	}
	if err := r.Start(ctx); err != nil {
		return err
	}
	return throughAppliance(ctx, l, r.Management, bmcs, at, out)
}

// throughAppliance tells the figures as they come.
func throughAppliance(ctx context.Context, l load, kube client.Client, bmcs *child, at endpoint, out io.Writer) error {
	if err := trust(ctx, kube, at); err != nil {
		return err
	}
	before, err := processes()
	if err != nil {
		return err
	}
	report(out, "before any host", before, before, 0)
	began := time.Now()
	if err := declare(ctx, l, kube, at.Port); err != nil {
		return err
	}
	declared := time.Since(began)
	for inspected := 0; inspected < l.bmcs; {
		// A list of all costs the API server more than a poll of the hosts costs the appliance.
		if err := sleep(ctx, 5*time.Second); err != nil {
			return err
		}
		if inspected, _, err = available(ctx, kube); err != nil {
			return err
		}
	}
	took := time.Since(began)
	fmt.Fprintf(out, "through a whole appliance: %d hosts available in %.1f s (objects written in %.1f s, looked at every 5 s), %.0f a minute, %.1f times the published %d\n",
		l.bmcs, took.Seconds(), declared.Seconds(), float64(l.bmcs)/took.Minutes(), float64(l.bmcs)/took.Minutes()/published, published)
	if err := settled(ctx, l, kube); err != nil {
		return err
	}
	inspected, err := processes()
	if err != nil {
		return err
	}
	report(out, "until all are inspected and their BIOS settings read", before, inspected, time.Since(began))
	polling := time.Now()
	if err := sleep(ctx, l.steady); err != nil {
		return err
	}
	steady, err := processes()
	if err != nil {
		return err
	}
	report(out, "polling power each minute", inspected, steady, time.Since(polling))
	_, failing, err := available(ctx, kube)
	if err != nil {
		return err
	}
	var counted counts
	if err := bmcs.ask("counts", &counted); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d hosts in error at the end; BMCs: %d requests, at most %d at a time and %d sessions on any\n", failing, counted.Requests, counted.AtOnce, counted.Sessions)
	return nil
}

// settled when the BIOS settings of all hosts are read and the first polls after them are over.
func settled(ctx context.Context, l load, kube client.Reader) error {
	settings := &metal3v1alpha1.HostFirmwareSettingsList{}
	for len(settings.Items) < l.bmcs {
		if err := sleep(ctx, 5*time.Second); err != nil {
			return err
		}
		if err := kube.List(ctx, settings); err != nil {
			return fmt.Errorf("list HostFirmwareSettings: %w", err)
		}
	}
	return sleep(ctx, 30*time.Second)
}
