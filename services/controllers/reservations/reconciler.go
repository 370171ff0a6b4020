package reservations

import (
	"context"
	"fmt"
	"slices"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Leases keeps addresses for hosts; Set replaces all of them.
type Leases interface {
	Set(hosts []Host)
}

// Reconciler keeps the reservations of all hosts.
type Reconciler struct {
	Client client.Client
	Leases Leases

	// last is what Leases has, nil before the first time; there is one worker only.
	last []Host
}

// SetupWithManager starts the controller with the manager. What wakes it is one request for all, so that a thousand changes at once
// are few decisions; a status wakes nobody. A deletion that waits for a finalizer is another generation.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	all := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request { return []reconcile.Request{{}} })
	changed := builder.WithPredicates(predicate.GenerationChangedPredicate{})
	err := ctrl.NewControllerManagedBy(mgr).
		Named("reservations").
		Watches(&metal3v1alpha1.BareMetalHost{}, all, changed).
		Watches(&agentv1beta1.NMStateConfig{}, all, changed).
		WithOptions(controller.Options{MaxConcurrentReconciles: 1}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("set up reservations controller: %w", err)
	}
	return nil
}

// Reconcile implements reconcile.Reconciler; whatever changed, all hosts are decided again.
func (r *Reconciler) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	hosts := &metal3v1alpha1.BareMetalHostList{}
	if err := r.Client.List(ctx, hosts, client.UnsafeDisableDeepCopy); err != nil {
		return ctrl.Result{}, fmt.Errorf("list baremetalhosts: %w", err)
	}
	configs := &agentv1beta1.NMStateConfigList{}
	if err := r.Client.List(ctx, configs, client.UnsafeDisableDeepCopy); err != nil {
		return ctrl.Result{}, fmt.Errorf("list nmstateconfigs: %w", err)
	}
	list := Decide(hosts.Items, configs.Items)
	if r.last != nil && slices.EqualFunc(r.last, list, equal) {
		return ctrl.Result{}, nil
	}
	r.Leases.Set(list)
	r.last = list
	log.FromContext(ctx).Info("reservations changed", "ports", len(list))
	return ctrl.Result{}, nil
}

func equal(a, b Host) bool {
	return a.MAC == b.MAC && a.Hostname == b.Hostname && slices.Equal(a.Addresses, b.Addresses)
}
