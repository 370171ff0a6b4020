package dnsrecords

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// Guests gives clients of hosted clusters and wakes us when one of their Nodes changes.
type Guests interface {
	Client(cluster types.NamespacedName) (client.Client, error)
	Changes() source.Source
}

// Zones answers for names; Set replaces the names of all clusters.
type Zones interface {
	Set(clusters map[string]map[string][]netip.Addr) error
}

// Reconciler keeps the names of all hosted clusters.
type Reconciler struct {
	Client client.Client
	Guests Guests
	Zones  Zones
	// Site are the addresses that the hosted APIs are served on.
	Site []netip.Addr

	// last is what Zones has; there is one worker only.
	last Names
}

// SetupWithManager starts the controller with the manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	err := ctrl.NewControllerManagedBy(mgr).
		Named("dnsrecords").
		For(&hypershiftv1beta1.HostedControlPlane{}).
		WatchesRawSource(r.Guests.Changes()).
		WithOptions(controller.Options{MaxConcurrentReconciles: 1}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("set up dnsrecords controller: %w", err)
	}
	return nil
}

// Reconcile implements reconcile.Reconciler; whatever changed, the names of all clusters are decided again.
func (r *Reconciler) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	planes := &hypershiftv1beta1.HostedControlPlaneList{}
	if err := r.Client.List(ctx, planes, client.UnsafeDisableDeepCopy); err != nil {
		return ctrl.Result{}, fmt.Errorf("list hostedcontrolplanes: %w", err)
	}
	nodes := map[types.NamespacedName][]corev1.Node{}
	for i := range planes.Items {
		cluster := client.ObjectKeyFromObject(&planes.Items[i])
		list, err := r.nodes(ctx, cluster)
		if err != nil {
			return ctrl.Result{}, err
		}
		nodes[cluster] = list
	}
	names := Decide(planes.Items, func(plane *hypershiftv1beta1.HostedControlPlane) []corev1.Node {
		return nodes[client.ObjectKeyFromObject(plane)]
	}, r.Site)
	if r.last != nil && maps.EqualFunc(r.last, names, equalZone) {
		return ctrl.Result{}, nil
	}
	if err := r.Zones.Set(names); err != nil {
		return ctrl.Result{}, fmt.Errorf("publish names of hosted clusters: %w", err)
	}
	r.last = names
	log.FromContext(ctx).Info("names of hosted clusters published", "zones", len(names))
	return ctrl.Result{}, nil
}

func equalZone(a, b map[string][]netip.Addr) bool {
	return maps.EqualFunc(a, b, slices.Equal[[]netip.Addr])
}

// nodes of a cluster that can be looked into; the connection wakes us when it comes.
func (r *Reconciler) nodes(ctx context.Context, cluster types.NamespacedName) ([]corev1.Node, error) {
	inside, err := r.Guests.Client(cluster)
	if err != nil {
		return nil, nil
	}
	nodes := &corev1.NodeList{}
	if err := inside.List(ctx, nodes, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list nodes of hosted cluster %s: %w", cluster, err)
	}
	return nodes.Items, nil
}
