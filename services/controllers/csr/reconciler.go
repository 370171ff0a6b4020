package csr

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/controllers/guest"
)

// deadline of one look into a cluster: an API that hangs must not hold a worker for ever.
const deadline = 10 * time.Second

// Guests gives clients of hosted clusters and wakes us when one of their Nodes or requests changes.
type Guests interface {
	Client(cluster types.NamespacedName) (client.Client, error)
	Changes() source.Source
}

// Reconciler looks at one hosted cluster at a time.
type Reconciler struct {
	Client client.Client
	Guests Guests

	mu sync.Mutex
	// refused are the requests that were logged, by cluster.
	refused map[types.NamespacedName]map[types.UID]string
}

// SetupWithManager starts the controller with the manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	err := ctrl.NewControllerManagedBy(mgr).
		Named("csr").
		WatchesRawSource(r.Guests.Changes()).
		Watches(&agentv1beta1.Agent{}, handler.EnqueueRequestsFromMapFunc(clusterOf)).
		WithOptions(controller.Options{MaxConcurrentReconciles: 8}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("set up csr controller: %w", err)
	}
	return nil
}

// clusterOf is the cluster that an Agent was given to.
func clusterOf(_ context.Context, object client.Object) []reconcile.Request {
	agent, ok := object.(*agentv1beta1.Agent)
	if !ok || agent.Spec.ClusterDeploymentName == nil {
		return nil
	}
	name := agent.Spec.ClusterDeploymentName
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: name.Namespace, Name: name.Name}}}
}

// Reconcile implements reconcile.Reconciler; the request names a hosted cluster.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	cluster := request.NamespacedName
	inside, err := r.Guests.Client(cluster)
	if err != nil {
		// Not connected: the connection wakes us, and a cluster that is gone has nothing to remember.
		r.forget(cluster, nil)
		return ctrl.Result{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	nodes := &corev1.NodeList{}
	if err := inside.List(ctx, nodes, client.UnsafeDisableDeepCopy); err != nil {
		return ctrl.Result{}, fmt.Errorf("list nodes of hosted cluster %s: %w", cluster, err)
	}
	hosts, err := r.hosts(ctx, cluster, nodes.Items)
	if err != nil {
		return ctrl.Result{}, err
	}
	// Neither waits for the other: a Node that cannot be written is no reason to keep the next one out.
	err = errors.Join(r.judge(ctx, cluster, inside, hosts), identify(ctx, inside, nodes.Items, hosts))
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("hosted cluster %s: %w", cluster, err)
	}
	return ctrl.Result{}, nil
}

// hosts are the Agents that were given to the cluster.
func (r *Reconciler) hosts(ctx context.Context, cluster types.NamespacedName, nodes []corev1.Node) ([]Host, error) {
	agents := &agentv1beta1.AgentList{}
	if err := r.Client.List(ctx, agents, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list agents: %w", err)
	}
	ready := map[string]bool{}
	for i := range nodes {
		ready[nodes[i].Name] = guest.Ready(&nodes[i])
	}
	var hosts []Host
	for i := range agents.Items {
		agent := &agents.Items[i]
		to := agent.Spec.ClusterDeploymentName
		if to == nil || to.Namespace != cluster.Namespace || to.Name != cluster.Name || !agent.DeletionTimestamp.IsZero() {
			continue
		}
		known := describe(agent)
		known.NodeReady = ready[known.NodeName]
		hosts = append(hosts, known)
	}
	return hosts, nil
}

// identify gives a Node its providerID when its kubelet did not: by it Cluster API finds the Machine.
func identify(ctx context.Context, inside client.Client, nodes []corev1.Node, hosts []Host) error {
	var faults []error
	for i := range nodes {
		if nodes[i].Spec.ProviderID != "" {
			continue
		}
		host, err := find(nodes[i].Name, hosts)
		if err != nil {
			continue
		}
		next := nodes[i].DeepCopy()
		next.Spec.ProviderID = api.ProviderIDPrefix + host.Agent
		if err := inside.Patch(ctx, next, client.MergeFrom(&nodes[i])); client.IgnoreNotFound(err) != nil {
			faults = append(faults, fmt.Errorf("write providerID of node %s: %w", next.Name, err))
		}
	}
	return errors.Join(faults...)
}

// judge approves what is right and logs the rest, once.
func (r *Reconciler) judge(ctx context.Context, cluster types.NamespacedName, inside client.Client, hosts []Host) error {
	requests := &certificatesv1.CertificateSigningRequestList{}
	if err := inside.List(ctx, requests, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list certificate requests: %w", err)
	}
	var faults []error
	there := map[types.UID]bool{}
	for i := range requests.Items {
		request := &requests.Items[i]
		there[request.UID] = true
		if Foreign(request.Spec) || decided(request) {
			continue
		}
		host, err := Decide(request.Spec, hosts)
		if err != nil {
			r.refuse(ctx, cluster, request, err)
			continue
		}
		if err := approve(ctx, inside, request, host); err != nil {
			faults = append(faults, fmt.Errorf("approve certificate request %s: %w", request.Name, err))
			continue
		}
		log.FromContext(ctx).Info("certificate request approved", "cluster", cluster.String(), "request", request.Name,
			"signer", request.Spec.SignerName, "node", host.NodeName, "host", host.Agent)
	}
	r.forget(cluster, there)
	return errors.Join(faults...)
}

func decided(request *certificatesv1.CertificateSigningRequest) bool {
	for _, condition := range request.Status.Conditions {
		if condition.Type == certificatesv1.CertificateApproved || condition.Type == certificatesv1.CertificateDenied {
			return true
		}
	}
	return false
}

func approve(ctx context.Context, inside client.Client, request *certificatesv1.CertificateSigningRequest, host Host) error {
	next := request.DeepCopy()
	next.Status.Conditions = append(next.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "AgentMatches",
		Message: "The request is for the node of Agent " + host.Agent, LastUpdateTime: metav1.Now(),
	})
	err := inside.SubResource("approval").Update(ctx, next)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		// Our memory is behind; what changed wakes us.
		return nil
	}
	return err
}

// refuse leaves a request unsigned: what it lacks, as an Agent's inventory, may still come.
func (r *Reconciler) refuse(ctx context.Context, cluster types.NamespacedName, request *certificatesv1.CertificateSigningRequest, why error) {
	r.mu.Lock()
	if r.refused == nil {
		r.refused = map[types.NamespacedName]map[types.UID]string{}
	}
	if r.refused[cluster] == nil {
		r.refused[cluster] = map[types.UID]string{}
	}
	known := r.refused[cluster][request.UID] == why.Error()
	r.refused[cluster][request.UID] = why.Error()
	r.mu.Unlock()
	if !known {
		log.FromContext(ctx).Info("certificate request refused", "cluster", cluster.String(), "request", request.Name,
			"signer", request.Spec.SignerName, "user", request.Spec.Username, "reason", why.Error())
	}
}

// forget drops the memory of requests that are gone.
func (r *Reconciler) forget(cluster types.NamespacedName, there map[types.UID]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for uid := range r.refused[cluster] {
		if !there[uid] {
			delete(r.refused[cluster], uid)
		}
	}
	if len(r.refused[cluster]) == 0 {
		delete(r.refused, cluster)
	}
}
