package guest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/slipway-io/slipway/services/controlplane/pki"
)

// ErrNotConnected says that a cluster cannot be looked into: it is not there, not up yet, or going away.
var ErrNotConnected = errors.New("not connected to the hosted cluster")

// digest tells one kubeconfig from another.
type digest [sha256.Size]byte

// Clients holds a connection to every hosted cluster whose API has answered.
type Clients struct {
	kube client.Client

	mu       sync.Mutex
	closed   bool
	clusters map[types.NamespacedName]*connection
	queues   []workqueue.TypedRateLimitingInterface[reconcile.Request]
	prepared map[digest]bool
}

// New makes clients without any connection; kube is the management API.
func New(kube client.Client) *Clients {
	return &Clients{kube: kube, clusters: map[types.NamespacedName]*connection{}, prepared: map[digest]bool{}}
}

// SetupWithManager follows HostedControlPlanes with the manager and ends every connection with it.
func (c *Clients) SetupWithManager(mgr ctrl.Manager) error {
	if err := mgr.Add(c); err != nil {
		return fmt.Errorf("set up hosted cluster connections: %w", err)
	}
	kubeconfigs := predicate.NewPredicateFuncs(func(o client.Object) bool { return o.GetName() == pki.LocalhostKubeconfig })
	err := ctrl.NewControllerManagedBy(mgr).
		Named("guest").
		For(&hypershiftv1beta1.HostedControlPlane{}).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(c.ofNamespace), builder.WithPredicates(kubeconfigs)).
		WithOptions(controller.Options{MaxConcurrentReconciles: 4}).
		Complete(c)
	if err != nil {
		return fmt.Errorf("set up guest controller: %w", err)
	}
	return nil
}

// ofNamespace are the HostedControlPlanes beside an object.
func (c *Clients) ofNamespace(ctx context.Context, object client.Object) []reconcile.Request {
	planes := &hypershiftv1beta1.HostedControlPlaneList{}
	// The cache answers; if it cannot, the HostedControlPlane's own event brings us there.
	if c.kube.List(ctx, planes, client.InNamespace(object.GetNamespace())) != nil {
		return nil
	}
	var requests []reconcile.Request
	for i := range planes.Items {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&planes.Items[i])})
	}
	return requests
}

// Reconcile connects to a cluster, connects anew after its kubeconfig was renewed, and lets go of one that ends.
func (c *Clients) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	plane := &hypershiftv1beta1.HostedControlPlane{}
	err := c.kube.Get(ctx, request.NamespacedName, plane)
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("read hostedcontrolplane %s: %w", request, err)
	}
	if err != nil || !plane.DeletionTimestamp.IsZero() || !plane.Status.Initialized {
		c.disconnect(request.NamespacedName)
		return ctrl.Result{}, nil
	}
	secret := &corev1.Secret{}
	key := client.ObjectKey{Namespace: plane.Namespace, Name: pki.LocalhostKubeconfig}
	if err := c.kube.Get(ctx, key, secret); err != nil {
		if apierrors.IsNotFound(err) {
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("read kubeconfig of hosted cluster %s: %w", request, err)
	}
	if err := c.connect(ctx, request.NamespacedName, secret.Data[pki.KeyKubeconfig]); err != nil {
		return ctrl.Result{}, fmt.Errorf("connect to hosted cluster %s: %w", request, err)
	}
	return ctrl.Result{}, nil
}

// Start implements manager.Runnable: it ends all connections when the manager ends.
func (c *Clients) Start(ctx context.Context) error {
	<-ctx.Done()
	c.mu.Lock()
	c.closed = true
	open := c.clusters
	c.clusters = map[types.NamespacedName]*connection{}
	c.mu.Unlock()
	for _, one := range open {
		one.close()
	}
	return nil
}

// Client reads a cluster's Nodes and certificate requests from memory and everything else from its API.
func (c *Clients) Client(cluster types.NamespacedName) (client.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for one := c.clusters[cluster]; one != nil; one = one.before {
		if one.synced {
			return one.client, nil
		}
	}
	return nil, fmt.Errorf("hosted cluster %s: %w", cluster, ErrNotConnected)
}

// NodeReady says whether a Node exists and whether its kubelet reports it as ready.
func (c *Clients) NodeReady(ctx context.Context, cluster types.NamespacedName, name string) (exists, ready bool, err error) {
	inside, err := c.Client(cluster)
	if err != nil {
		return false, false, err
	}
	node := &corev1.Node{}
	if err := inside.Get(ctx, client.ObjectKey{Name: name}, node); err != nil {
		if apierrors.IsNotFound(err) {
			return false, false, nil
		}
		return false, false, fmt.Errorf("read node %s of hosted cluster %s: %w", name, cluster, err)
	}
	return true, Ready(node), nil
}

// Ready says whether a Node's kubelet reports it as ready.
func Ready(node *corev1.Node) bool {
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// Changes wakes a controller with a cluster's key when one of its Nodes or certificate requests changed, when it was connected
// and when it was let go.
func (c *Clients) Changes() source.Source {
	return source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.queues = append(c.queues, queue)
		for cluster, one := range c.clusters {
			if one.synced {
				queue.Add(reconcile.Request{NamespacedName: cluster})
			}
		}
		return nil
	})
}

// wake tells everybody who asked for Changes.
func (c *Clients) wake(cluster types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, queue := range c.queues {
		queue.Add(reconcile.Request{NamespacedName: cluster})
	}
}
