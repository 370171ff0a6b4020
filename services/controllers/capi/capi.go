// Package capi has the core reconcilers of Cluster API, embedded in the appliance's own manager.
//
// They run without webhooks: whoever creates a MachineDeployment sets what the webhooks would default, as the nodepool
// controller does. A Cluster's hosted API is reached through the Secret <cluster>-kubeconfig beside it.
package capi

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"sigs.k8s.io/cluster-api/api/core/v1beta2/index"
	"sigs.k8s.io/cluster-api/controllers"
	"sigs.k8s.io/cluster-api/controllers/clustercache"
	"sigs.k8s.io/cluster-api/feature"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

// Cluster API asks that the conditions outlive the connection by a good margin.
const (
	connectionGrace = 50 * time.Second
	conditionsGrace = 5 * time.Minute
)

// gates switch off what needs kinds that Slipway does not serve, and the one second that each object would wait between looks.
const gates = "MachinePool=false,ReconcilerRateLimiting=false"

// Options of the reconcilers; the zero value is good.
type Options struct {
	// Workers per reconciler, 10 when 0.
	Workers int
	// QPS and Burst towards one hosted API, 20 and 30 when 0.
	QPS   float32
	Burst int
}

// Setup adds Cluster, Machine, MachineSet, MachineDeployment and MachineHealthCheck reconcilers and their cache of
// hosted clusters to the manager; it is called once per manager, before its start.
func Setup(ctx context.Context, mgr ctrl.Manager, options Options) error {
	if options.Workers == 0 {
		options.Workers = 10
	}
	if err := feature.MutableGates.Set(gates); err != nil {
		return fmt.Errorf("set feature gates of cluster-api: %w", err)
	}
	if err := index.AddDefaultIndexes(ctx, mgr); err != nil {
		return fmt.Errorf("index machines: %w", err)
	}
	workers := controller.Options{MaxConcurrentReconciles: options.Workers}
	clusters, err := clustercache.SetupWithManager(ctx, mgr, cacheOptions(mgr.GetClient(), options), workers)
	if err != nil {
		return fmt.Errorf("set up cluster cache: %w", err)
	}
	// Its connections would outlive the manager otherwise.
	if stop, ok := clusters.(interface{ Shutdown() }); ok {
		err := mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
			<-ctx.Done()
			stop.Shutdown()
			return nil
		}))
		if err != nil {
			return fmt.Errorf("set up end of cluster cache: %w", err)
		}
	}
	return reconcilers(ctx, mgr, clusters, workers)
}

func reconcilers(ctx context.Context, mgr ctrl.Manager, clusters clustercache.ClusterCache, workers controller.Options) error {
	kube, live := mgr.GetClient(), mgr.GetAPIReader()
	for _, one := range []struct {
		name  string
		setup interface {
			SetupWithManager(context.Context, ctrl.Manager, controller.Options) error
		}
	}{
		{"cluster", &controllers.ClusterReconciler{Client: kube, APIReader: live, ClusterCache: clusters, RemoteConnectionGracePeriod: connectionGrace}},
		{"machine", &controllers.MachineReconciler{Client: kube, APIReader: live, ClusterCache: clusters, RemoteConditionsGracePeriod: conditionsGrace}},
		{"machineset", &controllers.MachineSetReconciler{Client: kube, APIReader: live, ClusterCache: clusters}},
		{"machinedeployment", &controllers.MachineDeploymentReconciler{Client: kube, APIReader: live}},
		{"machinehealthcheck", &controllers.MachineHealthCheckReconciler{Client: kube, ClusterCache: clusters}},
	} {
		if err := one.setup.SetupWithManager(ctx, mgr, workers); err != nil {
			return fmt.Errorf("set up %s controller: %w", one.name, err)
		}
	}
	return nil
}

// cacheOptions keep only Nodes of the hosted clusters in memory.
func cacheOptions(secrets client.Reader, options Options) clustercache.Options {
	return clustercache.Options{
		SecretClient: secrets,
		Cache: clustercache.CacheOptions{
			Indexes:  []clustercache.CacheOptionsIndex{clustercache.NodeProviderIDIndex},
			ByObject: map[client.Object]cache.ByObject{&corev1.Node{}: {Transform: cache.TransformStripManagedFields()}},
		},
		Client: clustercache.ClientOptions{
			UserAgent: "slipway",
			QPS:       options.QPS,
			Burst:     options.Burst,
			Cache: clustercache.ClientCacheOptions{DisableFor: []client.Object{
				&corev1.ConfigMap{}, &corev1.Secret{}, &corev1.Pod{}, &appsv1.DaemonSet{},
				&storagev1.VolumeAttachment{}, &corev1.PersistentVolume{},
			}},
		},
	}
}
