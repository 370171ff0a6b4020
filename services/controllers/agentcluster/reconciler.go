// Package agentcluster is the controller of AgentCluster: it tells Cluster API when a hosted cluster can be reached.
//
//	err := (&agentcluster.Reconciler{Client: mgr.GetClient()}).SetupWithManager(mgr)
//
// There is nothing to make for hosts that stand in the rack already. status.ready follows spec.controlPlaneEndpoint at once.
// status.initialization.provisioned waits until the hosted API answers and its kubeconfig is there, because Cluster API
// connects as soon as it sees it, and would wait half a minute after an attempt that comes too early.
package agentcluster

import (
	"context"
	"fmt"
	"strings"
	"time"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	capiagentv1beta1 "github.com/slipway-io/slipway/services/api/capiagent/v1beta1"
)

// conditionReady is the only condition of an AgentCluster.
const conditionReady = "Ready"

// kubeconfigSuffix ends the name of the Secret through which Cluster API reaches a cluster.
const kubeconfigSuffix = "-kubeconfig"

// Reconciler keeps AgentCluster.status.
type Reconciler struct {
	Client client.Client
}

// SetupWithManager starts the controller with the manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	neighbours := handler.EnqueueRequestsFromMapFunc(r.neighbours)
	kubeconfigs := predicate.NewPredicateFuncs(func(o client.Object) bool { return strings.HasSuffix(o.GetName(), kubeconfigSuffix) })
	err := ctrl.NewControllerManagedBy(mgr).
		For(&capiagentv1beta1.AgentCluster{}).
		Watches(&hypershiftv1beta1.HostedControlPlane{}, neighbours).
		Watches(&clusterv1.Cluster{}, neighbours).
		Watches(&corev1.Secret{}, neighbours, builder.WithPredicates(kubeconfigs)).
		Complete(r)
	if err != nil {
		return fmt.Errorf("set up agentcluster controller: %w", err)
	}
	return nil
}

// neighbours are the AgentClusters of an object's namespace.
func (r *Reconciler) neighbours(ctx context.Context, object client.Object) []reconcile.Request {
	clusters := &capiagentv1beta1.AgentClusterList{}
	if err := r.Client.List(ctx, clusters, client.InNamespace(object.GetNamespace())); err != nil {
		return nil
	}
	var requests []reconcile.Request
	for i := range clusters.Items {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&clusters.Items[i])})
	}
	return requests
}

// Reconcile implements reconcile.Reconciler.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	cluster := &capiagentv1beta1.AgentCluster{}
	if err := r.Client.Get(ctx, request.NamespacedName, cluster); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !cluster.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	reachable, err := r.reachable(ctx, cluster)
	if err != nil {
		return ctrl.Result{}, err
	}
	next := cluster.DeepCopy()
	decide(next, reachable)
	if equality.Semantic.DeepEqual(cluster.Status, next.Status) {
		return ctrl.Result{}, nil
	}
	err = r.Client.Status().Patch(ctx, next, client.MergeFromWithOptions(cluster, client.MergeFromWithOptimisticLock{}))
	if apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: 20 * time.Millisecond}, nil
	}
	if err := client.IgnoreNotFound(err); err != nil {
		return ctrl.Result{}, fmt.Errorf("write status of agentcluster %s: %w", request, err)
	}
	return ctrl.Result{}, nil
}

// reachable says that Cluster API can connect now. A Cluster without a control plane of ours is its owner's business.
func (r *Reconciler) reachable(ctx context.Context, agentCluster *capiagentv1beta1.AgentCluster) (bool, error) {
	clusters := &clusterv1.ClusterList{}
	if err := r.Client.List(ctx, clusters, client.InNamespace(agentCluster.Namespace)); err != nil {
		return false, fmt.Errorf("list clusters of namespace %s: %w", agentCluster.Namespace, err)
	}
	for i := range clusters.Items {
		cluster := &clusters.Items[i]
		if ref := cluster.Spec.InfrastructureRef; ref.Kind != "AgentCluster" || ref.Name != agentCluster.Name {
			continue
		}
		if ref := cluster.Spec.ControlPlaneRef; ref.Kind == "HostedControlPlane" {
			plane := &hypershiftv1beta1.HostedControlPlane{}
			err := r.Client.Get(ctx, client.ObjectKey{Namespace: cluster.Namespace, Name: ref.Name}, plane)
			if client.IgnoreNotFound(err) != nil {
				return false, fmt.Errorf("read hostedcontrolplane %s/%s: %w", cluster.Namespace, ref.Name, err)
			}
			if err != nil || !plane.Status.Initialized {
				return false, nil
			}
		}
		key := client.ObjectKey{Namespace: cluster.Namespace, Name: cluster.Name + kubeconfigSuffix}
		if err := r.Client.Get(ctx, key, &corev1.Secret{}); err != nil {
			if apierrors.IsNotFound(err) {
				return false, nil
			}
			return false, fmt.Errorf("read kubeconfig of cluster %s: %w", cluster.Name, err)
		}
		return true, nil
	}
	return false, nil
}

// decide writes the status; what was provisioned once stays so.
func decide(cluster *capiagentv1beta1.AgentCluster, reachable bool) {
	ready := metav1.Condition{
		Type: conditionReady, Status: metav1.ConditionFalse, Reason: "WaitingForControlPlaneEndpoint",
		Message: "spec.controlPlaneEndpoint is not set yet", ObservedGeneration: cluster.Generation,
	}
	endpoint := cluster.Spec.ControlPlaneEndpoint.IsValid()
	cluster.Status.Ready = endpoint
	provisioned := ptr.Deref(cluster.Status.Initialization.Provisioned, false) || endpoint && reachable
	if provisioned {
		cluster.Status.Initialization.Provisioned = ptr.To(true)
	}
	switch {
	case endpoint && provisioned:
		ready.Status, ready.Reason, ready.Message = metav1.ConditionTrue, "AsExpected", ""
	case endpoint:
		ready.Reason, ready.Message = "WaitingForControlPlane", "the hosted API does not answer yet, or its kubeconfig is missing"
	}
	meta.SetStatusCondition(&cluster.Status.Conditions, ready)
}
