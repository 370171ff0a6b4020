package nodepool

import (
	"context"
	"strings"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/slipway-io/slipway/services/api"
)

// wake looks at the NodePools that an object concerns.
func (r *Reconciler) wake(concerns func(client.Object, *hypershiftv1beta1.NodePool) bool) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, object client.Object) []reconcile.Request {
		pools := &hypershiftv1beta1.NodePoolList{}
		// The cache answers; if it can't, the next change will.
		if r.Client.List(ctx, pools) != nil {
			return nil
		}
		var requests []reconcile.Request
		for i := range pools.Items {
			if concerns(object, &pools.Items[i]) {
				requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&pools.Items[i])})
			}
		}
		return requests
	})
}

func poolsOfHostedCluster(hosted client.Object, pool *hypershiftv1beta1.NodePool) bool {
	return pool.Namespace == hosted.GetNamespace() && pool.Spec.ClusterName == hosted.GetName()
}

func poolsOfControlPlane(plane client.Object, pool *hypershiftv1beta1.NodePool) bool {
	return plane.GetNamespace() == pool.Namespace+"-"+pool.Spec.ClusterName && plane.GetName() == pool.Spec.ClusterName
}

func poolsOfConfigMap(config client.Object, pool *hypershiftv1beta1.NodePool) bool {
	if pool.Namespace != config.GetNamespace() {
		return false
	}
	for _, ref := range pool.Spec.Config {
		if ref.Name == config.GetName() {
			return true
		}
	}
	return false
}

// annotated wakes the NodePool that an object of the control plane namespace names.
func annotated() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(_ context.Context, object client.Object) []reconcile.Request {
		namespace, name, ok := strings.Cut(object.GetAnnotations()[api.NodePoolAnnotation], "/")
		if !ok {
			return nil
		}
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}}
	})
}
