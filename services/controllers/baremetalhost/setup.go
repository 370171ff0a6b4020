package baremetalhost

import (
	"context"
	"fmt"
	"time"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/bmc"
	"github.com/slipway-io/slipway/services/bmh"
)

// The indexes of hosts.
const (
	bySecret = "spec.bmc.credentialsName"
	byCA     = "slipway.io/bmc-ca"
)

// Index what the controller looks hosts up by; once, before the manager starts.
func Index(ctx context.Context, indexer client.FieldIndexer) error {
	if err := indexer.IndexField(ctx, &metal3v1alpha1.BareMetalHost{}, bySecret, func(o client.Object) []string {
		return []string{o.(*metal3v1alpha1.BareMetalHost).Spec.BMC.CredentialsName}
	}); err != nil {
		return fmt.Errorf("index BareMetalHosts by Secret: %w", err)
	}
	if err := indexer.IndexField(ctx, &metal3v1alpha1.BareMetalHost{}, byCA, func(o client.Object) []string {
		return []string{o.GetAnnotations()[api.BMCCAAnnotation]}
	}); err != nil {
		return fmt.Errorf("index BareMetalHosts by CA: %w", err)
	}
	return nil
}

// SetupWithManager starts the controller with the manager. Its own writes of the status do not wake it.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	changed := predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}, predicate.LabelChangedPredicate{}, goes)
	err := ctrl.NewControllerManagedBy(mgr).
		For(&metal3v1alpha1.BareMetalHost{}, builder.WithPredicates(changed)).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.ofSecret)).
		Watches(&corev1.ConfigMap{}, handler.EnqueueRequestsFromMapFunc(r.ofCA)).
		WithOptions(controller.Options{MaxConcurrentReconciles: r.options.Workers, ReconciliationTimeout: 10 * time.Minute}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("set up BareMetalHost controller: %w", err)
	}
	return nil
}

// goes is a host that was deleted, whose generation does change, and one that is gone.
var goes = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero() ||
			len(e.ObjectOld.GetFinalizers()) != len(e.ObjectNew.GetFinalizers())
	},
}

// ofSecret are the hosts whose credentials are in it.
func (r *Reconciler) ofSecret(ctx context.Context, secret client.Object) []reconcile.Request {
	return r.hosts(ctx, nil, client.InNamespace(secret.GetNamespace()), client.MatchingFields{bySecret: secret.GetName()})
}

// ofCA are the hosts that name it; the site's own wakes all that miss trust.
func (r *Reconciler) ofCA(ctx context.Context, config client.Object) []reconcile.Request {
	if config.GetName() == api.SiteBMCCA && config.GetNamespace() == r.options.Access.Namespace {
		return r.hosts(ctx, func(host *metal3v1alpha1.BareMetalHost) bool {
			kind := bmh.FailureKind(host.Status)
			return kind == bmc.TLS || kind == bmh.Trust
		})
	}
	return r.hosts(ctx, nil, client.InNamespace(config.GetNamespace()), client.MatchingFields{byCA: config.GetName()})
}

func (r *Reconciler) hosts(ctx context.Context, which func(*metal3v1alpha1.BareMetalHost) bool, options ...client.ListOption) []reconcile.Request {
	hosts := &metal3v1alpha1.BareMetalHostList{}
	if err := r.client.List(ctx, hosts, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		r.options.Log.Error("list hosts of a changed object", "err", err)
		return nil
	}
	var requests []reconcile.Request
	for i := range hosts.Items {
		if which == nil || which(&hosts.Items[i]) {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&hosts.Items[i])})
		}
	}
	return requests
}
