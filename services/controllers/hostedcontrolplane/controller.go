// Package hostedcontrolplane runs the control plane that a HostedControlPlane describes: certificates, processes, and what a fresh cluster needs inside.
package hostedcontrolplane

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/controlplane"
)

// ControlPlanes runs control planes; the process driver does it on this machine.
type ControlPlanes interface {
	Apply(ctx context.Context, cp controlplane.ControlPlane) error
	Status(ctx context.Context, name string) (controlplane.Status, error)
	Delete(ctx context.Context, name string) error
}

// Releases tells what a release image is made of. Mirrors of the cluster count, which is named by its control plane's namespace.
type Releases interface {
	ReleaseComponents(ctx context.Context, cluster, image string) (version string, components map[string]string, err error)
}

// Guests makes what a fresh cluster needs inside, through the administrator's kubeconfig.
type Guests interface {
	Bootstrap(ctx context.Context, kubeconfig []byte) error
}

// Reconciler of HostedControlPlanes.
type Reconciler struct {
	Client        client.Client
	ControlPlanes ControlPlanes
	Releases      Releases
	Guests        Guests
	// Addresses, one per family, are where nodes reach the hosted APIs unless the HostedCluster says otherwise.
	Addresses []netip.Addr
	// Reserved ports belong to the appliance itself.
	Reserved []int
	// Changes names control planes (<namespace>-<name>) whose processes changed.
	Changes <-chan string
	Now     func() time.Time

	// ports serialises the choice of a port: two clusters made at once must not get the same one.
	ports sync.Mutex
}

// SetupWithManager registers the controller.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	changes := make(chan event.TypedGenericEvent[string])
	err := mgr.Add(runnable(func(ctx context.Context) error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case name := <-r.Changes:
				select {
				case changes <- event.TypedGenericEvent[string]{Object: name}:
				case <-ctx.Done():
					return nil
				}
			}
		}
	}))
	if err != nil {
		return fmt.Errorf("watch control planes: %w", err)
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("hostedcontrolplane").
		For(&hypershiftv1beta1.HostedControlPlane{}).
		Owns(&corev1.Secret{}).
		WatchesRawSource(source.TypedChannel(changes, handler.TypedEnqueueRequestsFromMapFunc(r.byRunName))).
		// Starts take seconds, and ten clusters made at once must not wait for each other.
		WithOptions(controller.Options{MaxConcurrentReconciles: 8}).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

type runnable func(context.Context) error

// Start makes it a part of the manager.
func (f runnable) Start(ctx context.Context) error { return f(ctx) }

// byRunName finds the HostedControlPlane of a driver's name, which is its namespace.
func (r *Reconciler) byRunName(ctx context.Context, name string) []reconcile.Request {
	list := &hypershiftv1beta1.HostedControlPlaneList{}
	// The cache answers; if it can't, the next change will.
	if r.Client.List(ctx, list, client.InNamespace(name)) != nil {
		return nil
	}
	var requests []reconcile.Request
	for _, item := range list.Items {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&item)})
	}
	return requests
}

// Reconcile moves one HostedControlPlane one notch.
func (r *Reconciler) Reconcile(ctx context.Context, plane *hypershiftv1beta1.HostedControlPlane) (reconcile.Result, error) {
	if !plane.DeletionTimestamp.IsZero() {
		return r.remove(ctx, plane)
	}
	if controllerutil.AddFinalizer(plane, api.Finalizer) {
		if err := r.Client.Update(ctx, plane); err != nil {
			return reconcile.Result{}, fmt.Errorf("add finalizer to %s: %w", plane.Name, err)
		}
	}
	if wait, paused, err := api.Paused(plane.Spec.PausedUntil, r.Now()); err == nil && paused {
		return reconcile.Result{RequeueAfter: wait}, nil
	}
	before := plane.DeepCopy()
	result, err := r.steps(ctx, plane)
	err = errors.Join(err, r.writeStatus(ctx, before, plane))
	if apierrors.IsConflict(err) {
		return reconcile.Result{RequeueAfter: retry}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	return result, nil
}

// unready control planes are looked at again, should a change have got lost.
const unready = 5 * time.Second

// retry comes soon after another writer was first; its change wakes us as well.
const retry = 100 * time.Millisecond

// writeStatus replaces the whole status: a merge patch can't carry the null of a rollout that is not complete.
func (r *Reconciler) writeStatus(ctx context.Context, before, plane *hypershiftv1beta1.HostedControlPlane) error {
	if equality.Semantic.DeepEqual(before.Status, plane.Status) {
		return nil
	}
	if err := r.Client.Status().Update(ctx, plane); err != nil {
		return fmt.Errorf("write status of %s: %w", plane.Name, err)
	}
	return nil
}

func (r *Reconciler) steps(ctx context.Context, plane *hypershiftv1beta1.HostedControlPlane) (reconcile.Result, error) {
	plane.Status.ExternalManagedControlPlane = new(bool)
	*plane.Status.ExternalManagedControlPlane = true
	if plane.Status.ControlPlaneEndpoint.Port == 0 {
		return reconcile.Result{}, r.choosePort(ctx, plane)
	}
	spec := r.spec(plane)
	if err := spec.Validate(); err != nil {
		note(plane, hypershiftv1beta1.ValidHostedControlPlaneConfiguration, metav1.ConditionFalse, hypershiftv1beta1.InvalidConfigurationReason, err.Error())
		note(plane, hypershiftv1beta1.HostedControlPlaneAvailable, metav1.ConditionFalse, hypershiftv1beta1.InvalidConfigurationReason, err.Error())
		return reconcile.Result{}, reconcile.TerminalError(err)
	}
	note(plane, hypershiftv1beta1.ValidHostedControlPlaneConfiguration, metav1.ConditionTrue, hypershiftv1beta1.AsExpectedReason, "Configuration passes validation")
	secrets, next, err := r.certificates(ctx, plane, spec)
	if err != nil {
		return reconcile.Result{}, err
	}
	// What runs is told even when it can't be changed.
	err = errors.Join(r.run(ctx, plane, spec, secrets), r.observe(ctx, plane, spec, secrets))
	wait := max(next.Sub(r.Now()), time.Second)
	if !plane.Status.Ready {
		wait = min(wait, unready)
	}
	return reconcile.Result{RequeueAfter: wait}, err
}

func (r *Reconciler) run(ctx context.Context, plane *hypershiftv1beta1.HostedControlPlane, spec controlplane.Spec, secrets map[string]*corev1.Secret) error {
	image := plane.Spec.ReleaseImage
	if plane.Spec.ControlPlaneReleaseImage != nil {
		image = *plane.Spec.ControlPlaneReleaseImage
	}
	version, components, err := r.Releases.ReleaseComponents(ctx, plane.Namespace, image)
	if err != nil {
		return fmt.Errorf("resolve release image: %w", err)
	}
	r.history(plane, image, version)
	err = r.ControlPlanes.Apply(ctx, controlplane.ControlPlane{
		Name: spec.Name, Components: controlplane.Hosted(spec), Images: components, Secrets: secrets,
	})
	if err != nil {
		note(plane, hypershiftv1beta1.InfrastructureReady, metav1.ConditionFalse, hypershiftv1beta1.InfraStatusFailureReason, err.Error())
		return fmt.Errorf("run control plane %s: %w", spec.Name, err)
	}
	note(plane, hypershiftv1beta1.InfrastructureReady, metav1.ConditionTrue, hypershiftv1beta1.AsExpectedReason, "The control plane's address is "+spec.PKI().APIURL)
	return nil
}

func (r *Reconciler) remove(ctx context.Context, plane *hypershiftv1beta1.HostedControlPlane) (reconcile.Result, error) {
	if !controllerutil.ContainsFinalizer(plane, api.Finalizer) {
		return reconcile.Result{}, nil
	}
	if err := r.ControlPlanes.Delete(ctx, plane.Namespace); err != nil && !errors.Is(err, controlplane.ErrNotFound) {
		return reconcile.Result{}, fmt.Errorf("stop control plane %s: %w", plane.Namespace, err)
	}
	controllerutil.RemoveFinalizer(plane, api.Finalizer)
	if err := r.Client.Update(ctx, plane); err != nil {
		return reconcile.Result{}, fmt.Errorf("release %s: %w", plane.Name, err)
	}
	return reconcile.Result{}, nil
}

func note(plane *hypershiftv1beta1.HostedControlPlane, kind hypershiftv1beta1.ConditionType, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&plane.Status.Conditions, metav1.Condition{
		Type: string(kind), Status: status, Reason: reason, Message: message, ObservedGeneration: plane.Generation,
	})
}
