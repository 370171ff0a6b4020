// Package hostedcluster checks HostedClusters, keeps their HostedControlPlane and Cluster API objects, and tells how they are.
package hostedcluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/slipway-io/slipway/services/api"
)

// recheck is how soon a fault is looked at again that may be mended outside of the API: a release that is imported later.
const recheck = 10 * time.Second

// Releases tells the version of a release image, or why it can't be used. Mirrors of the cluster count, which is named by its control plane's namespace.
type Releases interface {
	ReleaseVersion(ctx context.Context, cluster, image string) (version string, err error)
}

// Mirrors tells what of a cluster's imageContentSources can't be honoured, with its path.
type Mirrors interface {
	CheckSources(sources []hypershiftv1beta1.ImageContentSource) error
}

// Reconciler of HostedClusters.
type Reconciler struct {
	Client   client.Client
	Releases Releases
	Mirrors  Mirrors
	Now      func() time.Time
}

// Namespace where a HostedCluster's control plane lives.
func Namespace(cluster *hypershiftv1beta1.HostedCluster) string {
	return cluster.Namespace + "-" + cluster.Name
}

// SetupWithManager registers the controller; changes of what it made wake it.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	owner := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, object client.Object) []reconcile.Request {
		return api.HostedClusterOf(object)
	})
	return ctrl.NewControllerManagedBy(mgr).
		Named("hostedcluster").
		For(&hypershiftv1beta1.HostedCluster{}).
		Watches(&hypershiftv1beta1.HostedControlPlane{}, owner).
		Watches(&clusterv1.Cluster{}, owner).
		Watches(&hypershiftv1beta1.NodePool{}, handler.EnqueueRequestsFromMapFunc(clusterOfPool)).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.clustersOfSecret)).
		Complete(reconcile.AsReconciler(mgr.GetClient(), r))
}

func clusterOfPool(_ context.Context, object client.Object) []reconcile.Request {
	pool, ok := object.(*hypershiftv1beta1.NodePool)
	if !ok {
		return nil
	}
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: pool.Namespace, Name: pool.Spec.ClusterName}}}
}

// clustersOfSecret wakes those that wait for their pull secret.
func (r *Reconciler) clustersOfSecret(ctx context.Context, secret client.Object) []reconcile.Request {
	clusters := &hypershiftv1beta1.HostedClusterList{}
	// The cache answers; if it can't, the cluster is looked at again anyway.
	if r.Client.List(ctx, clusters, client.InNamespace(secret.GetNamespace())) != nil {
		return nil
	}
	var requests []reconcile.Request
	for _, cluster := range clusters.Items {
		if secret.GetName() == cluster.Spec.PullSecret.Name || secret.GetName() == cluster.Spec.SSHKey.Name {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&cluster)})
		}
	}
	return requests
}

// Reconcile moves one HostedCluster one notch.
func (r *Reconciler) Reconcile(ctx context.Context, cluster *hypershiftv1beta1.HostedCluster) (reconcile.Result, error) {
	if !cluster.DeletionTimestamp.IsZero() {
		return r.remove(ctx, cluster)
	}
	if controllerutil.AddFinalizer(cluster, api.Finalizer) {
		if err := r.Client.Update(ctx, cluster); err != nil {
			return reconcile.Result{}, fmt.Errorf("add finalizer to %s: %w", cluster.Name, err)
		}
	}
	before := cluster.DeepCopy()
	result, err := r.steps(ctx, cluster)
	err = errors.Join(err, r.writeStatus(ctx, before, cluster))
	if apierrors.IsConflict(err) {
		return reconcile.Result{RequeueAfter: retry}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	return result, nil
}

// retry comes soon after another writer was first; its change wakes us as well.
const retry = 100 * time.Millisecond

// writeStatus replaces the whole status: a merge patch can't carry the null of a rollout that is not complete.
func (r *Reconciler) writeStatus(ctx context.Context, before, cluster *hypershiftv1beta1.HostedCluster) error {
	if equality.Semantic.DeepEqual(before.Status, cluster.Status) {
		return nil
	}
	if err := r.Client.Status().Update(ctx, cluster); err != nil {
		return fmt.Errorf("write status of %s: %w", cluster.Name, err)
	}
	return nil
}

func (r *Reconciler) steps(ctx context.Context, cluster *hypershiftv1beta1.HostedCluster) (reconcile.Result, error) {
	if wait, paused := r.paused(cluster); paused {
		return reconcile.Result{RequeueAfter: wait}, r.pause(ctx, cluster)
	}
	if err := r.check(ctx, cluster); err != nil {
		return r.refuse(cluster, hypershiftv1beta1.ValidHostedClusterConfiguration, err)
	}
	note(cluster, hypershiftv1beta1.ValidHostedClusterConfiguration, metav1.ConditionTrue, hypershiftv1beta1.AsExpectedReason, "Configuration passes validation")
	version, err := r.Releases.ReleaseVersion(ctx, Namespace(cluster), cluster.Spec.Release.Image)
	if err != nil {
		return r.refuse(cluster, hypershiftv1beta1.ValidReleaseImage, &fault{reason: hypershiftv1beta1.InvalidImageReason, mayHeal: true, err: err})
	}
	note(cluster, hypershiftv1beta1.ValidReleaseImage, metav1.ConditionTrue, hypershiftv1beta1.AsExpectedReason, "Release image is valid")
	controlPlane, err := r.controlPlane(ctx, cluster)
	if err != nil {
		return reconcile.Result{}, err
	}
	// Not before the API answers: Cluster API's cache would wait half a minute before its second try.
	if controlPlane.Status.Initialized {
		if err := r.clusterAPI(ctx, cluster, controlPlane); err != nil {
			return reconcile.Result{}, err
		}
	}
	if err := r.kubeconfig(ctx, cluster, controlPlane); err != nil {
		return reconcile.Result{}, err
	}
	r.observe(cluster, controlPlane, version)
	return reconcile.Result{}, nil
}

// refuse notes a fault of the user's and stops there: retrying would not mend it.
func (r *Reconciler) refuse(cluster *hypershiftv1beta1.HostedCluster, kind hypershiftv1beta1.ConditionType, err error) (reconcile.Result, error) {
	reason := hypershiftv1beta1.InvalidConfigurationReason
	result := reconcile.Result{}
	var known *fault
	if !errors.As(err, &known) {
		return result, err
	}
	if known.reason != "" {
		reason = known.reason
	}
	note(cluster, kind, metav1.ConditionFalse, reason, err.Error())
	note(cluster, hypershiftv1beta1.HostedClusterProgressing, metav1.ConditionTrue, hypershiftv1beta1.BlockedReason, err.Error())
	if !meta.IsStatusConditionTrue(cluster.Status.Conditions, string(hypershiftv1beta1.HostedClusterAvailable)) {
		note(cluster, hypershiftv1beta1.HostedClusterAvailable, metav1.ConditionFalse, reason, err.Error())
	}
	if known.mayHeal {
		return reconcile.Result{RequeueAfter: recheck}, nil
	}
	return result, reconcile.TerminalError(err)
}

// paused follows spec.pausedUntil: a boolean or a time.
func (r *Reconciler) paused(cluster *hypershiftv1beta1.HostedCluster) (time.Duration, bool) {
	wait, paused, err := api.Paused(cluster.Spec.PausedUntil, r.Now())
	switch {
	case err != nil:
		note(cluster, hypershiftv1beta1.ReconciliationActive, metav1.ConditionTrue, hypershiftv1beta1.ReconciliationInvalidPausedUntilConditionReason, err.Error())
	case paused:
		note(cluster, hypershiftv1beta1.ReconciliationActive, metav1.ConditionFalse, hypershiftv1beta1.ReconciliationPausedConditionReason, "Reconciliation is paused until "+*cluster.Spec.PausedUntil)
	default:
		note(cluster, hypershiftv1beta1.ReconciliationActive, metav1.ConditionTrue, hypershiftv1beta1.AsExpectedReason, "Reconciliation is active")
	}
	return wait, paused
}

func note(cluster *hypershiftv1beta1.HostedCluster, kind hypershiftv1beta1.ConditionType, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&cluster.Status.Conditions, metav1.Condition{
		Type: string(kind), Status: status, Reason: reason, Message: message, ObservedGeneration: cluster.Generation,
	})
}

// poolsOf lists the NodePools of a cluster.
func (r *Reconciler) poolsOf(ctx context.Context, cluster *hypershiftv1beta1.HostedCluster) ([]hypershiftv1beta1.NodePool, error) {
	pools := &hypershiftv1beta1.NodePoolList{}
	if err := r.Client.List(ctx, pools, client.InNamespace(cluster.Namespace)); err != nil {
		return nil, fmt.Errorf("list NodePools: %w", err)
	}
	return slices.DeleteFunc(pools.Items, func(pool hypershiftv1beta1.NodePool) bool { return pool.Spec.ClusterName != cluster.Name }), nil
}
