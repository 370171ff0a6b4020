package hostedcluster

import (
	"context"
	"fmt"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/slipway-io/slipway/services/api"
)

// remove takes a cluster apart in the order in which each part still needs the next: NodePools drain through the API,
// Cluster API needs the control plane, the namespace goes last. Every step is woken by the end of the one before.
func (r *Reconciler) remove(ctx context.Context, cluster *hypershiftv1beta1.HostedCluster) (reconcile.Result, error) {
	if !controllerutil.ContainsFinalizer(cluster, api.Finalizer) {
		return reconcile.Result{}, nil
	}
	pools, err := r.poolsOf(ctx, cluster)
	if err != nil {
		return reconcile.Result{}, err
	}
	for i := range pools {
		if err := r.delete(ctx, &pools[i]); err != nil {
			return reconcile.Result{}, err
		}
	}
	if len(pools) > 0 {
		return reconcile.Result{}, nil
	}
	inside := metav1.ObjectMeta{Namespace: Namespace(cluster), Name: cluster.Name}
	for _, object := range []client.Object{
		&clusterv1.Cluster{ObjectMeta: inside},
		&hypershiftv1beta1.HostedControlPlane{ObjectMeta: inside},
	} {
		gone, err := r.gone(ctx, object)
		if err != nil || !gone {
			return reconcile.Result{}, err
		}
	}
	last := []client.Object{&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.Namespace, Name: cluster.Name + "-admin-kubeconfig"}}}
	// People keep their Agents in this very namespace; it then stays, and so do they.
	if agent := cluster.Spec.Platform.Agent; agent == nil || agent.AgentNamespace != Namespace(cluster) {
		last = append(last, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace(cluster)}})
	}
	for _, object := range last {
		if err := r.delete(ctx, object); err != nil {
			return reconcile.Result{}, err
		}
	}
	controllerutil.RemoveFinalizer(cluster, api.Finalizer)
	if err := r.Client.Update(ctx, cluster); err != nil {
		return reconcile.Result{}, fmt.Errorf("release %s: %w", cluster.Name, err)
	}
	return reconcile.Result{}, nil
}

// gone asks for an object's deletion and tells whether it has happened.
func (r *Reconciler) gone(ctx context.Context, object client.Object) (bool, error) {
	err := r.Client.Get(ctx, client.ObjectKeyFromObject(object), object)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("read %T %s: %w", object, object.GetName(), err)
	}
	return false, r.delete(ctx, object)
}

func (r *Reconciler) delete(ctx context.Context, object client.Object) error {
	if !object.GetDeletionTimestamp().IsZero() {
		return nil
	}
	if err := r.Client.Delete(ctx, object); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete %T %s: %w", object, object.GetName(), err)
	}
	return nil
}
