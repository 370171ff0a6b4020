package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/slipway-io/slipway/ipxe"
	"github.com/slipway-io/slipway/services/bmc"
	"github.com/slipway-io/slipway/services/bmc/redfish"
	"github.com/slipway-io/slipway/services/controllers/baremetalhost"
	"github.com/slipway-io/slipway/services/controllers/hostfirmwaresettings"
	"github.com/slipway-io/slipway/services/run"
)

// bmcIdle is several power polls: a session is kept from one to the next, and not for long when a host is paused or gone.
const bmcIdle = 5 * time.Minute

// bareMetal registers what works with BMCs, and the pool of their sessions.
func (a *appliance) bareMetal(ctx context.Context, mgr ctrl.Manager, registry *prometheus.Registry, group *run.Group) error {
	pool := bmc.NewPool(redfish.Open, bmcIdle)
	metrics, requests := baremetalhost.NewMetrics(), bmc.NewMetrics(pool.Sessions)
	if err := errors.Join(metrics.Register(registry), requests.Register(registry)); err != nil {
		return err
	}
	if err := baremetalhost.Index(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	access := &baremetalhost.Access{Client: mgr.GetClient(), Namespace: systemNamespace, CA: a.siteCA.PEM(), Log: a.log, Asked: requests.Asked}
	hosts := baremetalhost.New(mgr.GetClient(), pool, mgr.GetEventRecorder("slipway-baremetalhost"), metrics, baremetalhost.Options{
		Access: access, Loader: a.httpLoader, Log: a.log,
	})
	if err := hosts.SetupWithManager(mgr); err != nil {
		return fmt.Errorf("set up controller baremetalhost: %w", err)
	}
	settings := &hostfirmwaresettings.Reconciler{Client: mgr.GetClient(), Pool: pool, Access: access, Refresh: time.Hour, Pending: time.Minute, Log: a.log}
	if err := settings.SetupWithManager(ctx, mgr); err != nil {
		return fmt.Errorf("set up controller hostfirmwaresettings: %w", err)
	}
	group.Add("bmc", pool.Run)
	return nil
}

// httpLoader is where UEFI HTTP boot begins, as DHCP says it to firmware that asks for it.
func (a *appliance) httpLoader(arch string) string {
	file := ipxe.LoaderUEFI
	if arch == "aarch64" {
		file = ipxe.LoaderArm64
	}
	return a.bootURL() + "/loaders/" + file
}
