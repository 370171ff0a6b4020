package main

import (
	"context"
	"fmt"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/slipway-io/slipway/mirror/release"
	"github.com/slipway-io/slipway/services/agentapi"
	"github.com/slipway-io/slipway/services/controllers/agent"
	"github.com/slipway-io/slipway/services/controllers/agentcluster"
	"github.com/slipway-io/slipway/services/controllers/agentmachine"
	"github.com/slipway-io/slipway/services/controllers/approval"
	"github.com/slipway-io/slipway/services/controllers/bmac"
	"github.com/slipway-io/slipway/services/controllers/capi"
	"github.com/slipway-io/slipway/services/controllers/csr"
	"github.com/slipway-io/slipway/services/controllers/dnsrecords"
	"github.com/slipway-io/slipway/services/controllers/guest"
	"github.com/slipway-io/slipway/services/controllers/hostedcluster"
	"github.com/slipway-io/slipway/services/controllers/hostedcontrolplane"
	"github.com/slipway-io/slipway/services/controllers/infraenv"
	"github.com/slipway-io/slipway/services/controllers/mirrorset"
	"github.com/slipway-io/slipway/services/controllers/nodepool"
	"github.com/slipway-io/slipway/services/controllers/reservations"
	"github.com/slipway-io/slipway/services/host"
	"github.com/slipway-io/slipway/services/ignition"
	"github.com/slipway-io/slipway/services/image"
)

// controllers registers every controller with the manager.
func (a *appliance) controllers(ctx context.Context, mgr ctrl.Manager, agents *agentapi.Server, artifacts *image.Service, names *zones, sets *mirrorSets) (ignition.Payloads, error) {
	kube, releases, requirements := mgr.GetClient(), releaseInfo{a.releases}, host.DefaultRequirements()
	guests := guest.New(kube)
	pools := &nodepool.Reconciler{
		Client: kube, Releases: releases, Guests: guests, Now: time.Now,
		Site: nodepool.Site{
			IgnitionURL: a.url("https", a.config.Ports.HTTPS) + ignitionPath, CA: a.siteCA.PEM(), Registry: a.registryHost(),
		},
	}
	set := []struct {
		name       string
		reconciler interface{ SetupWithManager(ctrl.Manager) error }
	}{
		{"infraenv", &infraenv.Reconciler{
			Client: kube, Tokens: a.tokens, Images: diskImages{a, artifacts},
			URLs: infraenv.URLs{HTTP: a.bootURL(), HTTPS: a.url("https", a.config.Ports.HTTPS)},
		}},
		{"guest", guests},
		{"agent", &agent.Reconciler{Client: kube, Seen: agents, Nodes: guests, Powers: bmac.Lookup{Client: kube}, Requirements: requirements}},
		{"hostedcluster", &hostedcluster.Reconciler{Client: kube, Releases: releases, Mirrors: sets, Now: time.Now}},
		{"hostedcontrolplane", &hostedcontrolplane.Reconciler{
			Client: kube, ControlPlanes: a.driver, Releases: releases, Guests: guests, Addresses: a.config.SiteAddresses(),
			Reserved: a.config.Ports.All(), Changes: a.changed, Now: time.Now,
		}},
		{"nodepool", pools},
		{"agentcluster", &agentcluster.Reconciler{Client: kube}},
		{"agentmachine", &agentmachine.Reconciler{Client: kube, Live: mgr.GetAPIReader()}},
		{"approval", &approval.Reconciler{Client: kube, Peers: agents, Events: mgr.GetEventRecorder("slipway-approval")}},
		{"bmac", &bmac.Reconciler{Client: kube, Events: mgr.GetEventRecorder("slipway-bmac"), Now: time.Now}},
		{"csr", &csr.Reconciler{Client: kube, Guests: guests}},
		{"dnsrecords", &dnsrecords.Reconciler{Client: kube, Guests: guests, Zones: names, Site: a.config.SiteAddresses()}},
		{"mirrorset", &mirrorset.Reconciler{Client: kube, Sets: sets}},
		{"reservations", &reservations.Reconciler{Client: kube, Leases: &a.inventory}},
	}
	for _, one := range set {
		if err := one.reconciler.SetupWithManager(mgr); err != nil {
			return nil, fmt.Errorf("set up controller %s: %w", one.name, err)
		}
	}
	if err := capi.Setup(ctx, mgr, capi.Options{}); err != nil {
		return nil, err
	}
	return pools, nil
}

// releaseInfo adapts the release store to what controllers ask.
type releaseInfo struct{ store *release.Store }

// ReleaseVersion implements hostedcluster.Releases.
func (r releaseInfo) ReleaseVersion(ctx context.Context, cluster, image string) (string, error) {
	resolved, err := r.store.Resolve(ctx, cluster, image)
	if err != nil {
		return "", err
	}
	return resolved.Version, nil
}

// ReleaseComponents implements hostedcontrolplane.Releases.
func (r releaseInfo) ReleaseComponents(ctx context.Context, cluster, image string) (string, map[string]string, error) {
	resolved, err := r.store.Resolve(ctx, cluster, image)
	if err != nil {
		return "", nil, err
	}
	return resolved.Version, resolved.Components, nil
}

// Content implements nodepool.Releases.
func (r releaseInfo) Content(ctx context.Context, ref string) (repository string, layers []string, err error) {
	return r.store.Content(ctx, ref)
}
