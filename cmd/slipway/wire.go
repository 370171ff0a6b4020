package main

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/slipway-io/slipway/assets/crds"
	"github.com/slipway-io/slipway/services/agentapi"
	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/controllers/bmac"
	"github.com/slipway-io/slipway/services/controllers/crd"
	"github.com/slipway-io/slipway/services/controllers/infraenv"
	"github.com/slipway-io/slipway/services/host"
	"github.com/slipway-io/slipway/services/run"
)

// wire puts controllers and network services together; everything binds here, nothing answers before the group runs.
func (a *appliance) wire(ctx context.Context, group *run.Group) error {
	mgr, err := a.manager(ctx)
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	images, err := a.openImages(ctx)
	if err != nil {
		return err
	}
	lookup := infraenv.Lookup{Client: mgr.GetClient(), DefaultName: a.config.DefaultInfraEnv}
	sets := a.newMirrorSets(mgr.GetClient())
	a.registry.Mirror(sets.resolve)
	a.releases.Mirrors = sets.mirrorsOf
	artifacts, err := a.imageService(images, lookup, sets)
	if err != nil {
		return err
	}
	library, err := a.library(ctx, artifacts, wantedImages(mgr.GetCache()))
	if err != nil {
		return err
	}
	store := agentapi.Kube{Client: mgr.GetClient(), Reader: mgr.GetAPIReader()}
	if err := agentapi.Index(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	agents := agentapi.New(agentapi.Config{
		Tokens: a.tokens, InfraEnvs: lookup, Agents: store, Secrets: store,
		Images: diskImages{a, artifacts}, Ignition: pointers{a, images, artifacts}, Powers: bmac.Lookup{Client: mgr.GetClient()},
		Requirements: host.DefaultRequirements(), Log: a.log,
	})
	if err := agents.Follow(ctx, mgr.GetCache()); err != nil {
		return err
	}
	if err := a.followRegistryUsers(ctx, mgr.GetCache()); err != nil {
		return err
	}
	names, err := a.listenDNS(ctx, registry, group)
	if err != nil {
		return err
	}
	payloads, err := a.controllers(ctx, mgr, agents, artifacts, names, sets)
	if err != nil {
		return err
	}
	if err := a.bareMetal(ctx, mgr, registry, group); err != nil {
		return err
	}
	if err := a.listenBoot(ctx, lookup, artifacts, registry, group); err != nil {
		return err
	}
	if err := a.listenWeb(ctx, registry, artifacts, agents, payloads, group); err != nil {
		return err
	}
	group.Add("agentapi", agents.Run)
	group.Add("os images", library.Run)
	group.Add("controllers", mgr.Start)
	return nil
}

// manager installs the kinds and makes what newcomers need before any controller looks.
func (a *appliance) manager(ctx context.Context) (ctrl.Manager, error) {
	ctrl.SetLogger(logr.FromSlogHandler(a.log.Handler()))
	scheme, err := api.Scheme()
	if err != nil {
		return nil, err
	}
	a.rest.QPS, a.rest.Burst = 200, 400
	direct, err := client.New(a.rest, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("connect to the management API: %w", err)
	}
	begin := time.Now()
	if err := crd.Install(ctx, direct, crds.FS); err != nil {
		return nil, err
	}
	a.log.Info("kinds are served", "after", time.Since(begin).Round(time.Millisecond))
	if err := a.publish(ctx, direct); err != nil {
		return nil, err
	}
	lean := cache.ByObject{Transform: cache.TransformStripManagedFields()}
	mgr, err := ctrl.NewManager(a.rest, ctrl.Options{
		Scheme:  scheme,
		Metrics: metricsserver.Options{BindAddress: "0"},
		Client:  client.Options{Cache: &client.CacheOptions{Unstructured: true, DisableFor: []client.Object{&metal3v1alpha1.HardwareData{}}}},
		// Of the kinds that there are thousands of, and that nobody applies: Cluster API's need their managed fields.
		Cache: cache.Options{ByObject: map[client.Object]cache.ByObject{
			&metal3v1alpha1.BareMetalHost{}: lean, &metal3v1alpha1.HostFirmwareSettings{}: lean, &agentv1beta1.Agent{}: lean, &corev1.Secret{}: lean,
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("make controller manager: %w", err)
	}
	return mgr, nil
}
