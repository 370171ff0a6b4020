package approval

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/host"
)

const (
	// tokenKey of the Secret that a policy names.
	tokenKey = "token"
	// again is the pause after a write that another one overtook.
	again = 20 * time.Millisecond
	// unheard is when to look again at a host that has not spoken since the appliance's start.
	unheard = 10 * time.Second
)

// Peers knows what a host shows of itself: the address that it speaks from, invalid before it was heard, and its token.
type Peers interface {
	Peer(hostID string) (from netip.Addr, token string)
}

// Reconciler approves Agents.
type Reconciler struct {
	Client client.Client
	Peers  Peers
	Events events.EventRecorder
	// Now is of the condition's times; nil is time.Now.
	Now func() time.Time
}

// SetupWithManager starts both controllers with the manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	err := ctrl.NewControllerManagedBy(mgr).
		Named("approval").
		For(&agentv1beta1.Agent{}).
		Watches(&agentv1beta1.InfraEnv{}, handler.EnqueueRequestsFromMapFunc(r.agentsOf)).
		Complete(r)
	if err != nil {
		return fmt.Errorf("set up approval controller: %w", err)
	}
	err = ctrl.NewControllerManagedBy(mgr).
		Named("approvalpolicies").
		For(&agentv1beta1.InfraEnv{}).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.usersOf)).
		Complete(reconcile.Func(r.judge))
	if err != nil {
		return fmt.Errorf("set up approval policies controller: %w", err)
	}
	return nil
}

// agentsOf are the hosts of an InfraEnv that wait for their approval.
func (r *Reconciler) agentsOf(ctx context.Context, infraEnv client.Object) []reconcile.Request {
	agents := &agentv1beta1.AgentList{}
	err := r.Client.List(ctx, agents, client.InNamespace(infraEnv.GetNamespace()), client.MatchingLabels{api.InfraEnvLabel: infraEnv.GetName()},
		client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil
	}
	var requests []reconcile.Request
	for i := range agents.Items {
		if !agents.Items[i].Spec.Approved {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&agents.Items[i])})
		}
	}
	return requests
}

// usersOf are the InfraEnvs whose policy has its token in the Secret.
func (r *Reconciler) usersOf(ctx context.Context, secret client.Object) []reconcile.Request {
	all := &agentv1beta1.InfraEnvList{}
	if err := r.Client.List(ctx, all, client.InNamespace(secret.GetNamespace()), client.UnsafeDisableDeepCopy); err != nil {
		return nil
	}
	var users []reconcile.Request
	for i := range all.Items {
		if all.Items[i].Annotations[api.ApproveTokenAnnotation] == secret.GetName() {
			users = append(users, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&all.Items[i])})
		}
	}
	return users
}

// Reconcile implements reconcile.Reconciler for one Agent.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	agent := &agentv1beta1.Agent{}
	if err := r.Client.Get(ctx, request.NamespacedName, agent); err != nil {
		if apierrors.IsNotFound(err) {
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("read agent %s: %w", request, err)
	}
	if agent.Spec.Approved || !agent.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	infraEnv := &agentv1beta1.InfraEnv{}
	key := client.ObjectKey{Namespace: agent.Namespace, Name: agent.Labels[api.InfraEnvLabel]}
	if err := r.Client.Get(ctx, key, infraEnv); err != nil {
		if apierrors.IsNotFound(err) {
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("read infraenv %s: %w", key, err)
	}
	p, token, problem, err := r.policies(ctx, infraEnv)
	if err != nil || problem != nil || p.none() {
		// A problem is said in the InfraEnv's condition, and approves nobody.
		return ctrl.Result{}, err
	}
	seen := shown{serial: agent.Status.Inventory.SystemVendor.SerialNumber}
	seen.from, seen.token = r.Peers.Peer(agent.Name)
	policy, why := p.approves(seen, token)
	if policy == "" {
		if !seen.from.IsValid() {
			return ctrl.Result{RequeueAfter: unheard}, nil
		}
		return ctrl.Result{}, nil
	}
	return r.approve(ctx, agent, key, policy, why)
}

func (r *Reconciler) approve(ctx context.Context, agent *agentv1beta1.Agent, infraEnv client.ObjectKey, policy, why string) (ctrl.Result, error) {
	next := agent.DeepCopy()
	next.Spec.Approved = true
	err := r.Client.Patch(ctx, next, client.MergeFromWithOptions(agent, client.MergeFromWithOptimisticLock{}))
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return ctrl.Result{RequeueAfter: again}, nil
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("approve agent %s: %w", agent.Name, err)
	}
	r.Events.Eventf(next, nil, corev1.EventTypeNormal, "ApprovedByPolicy", "Approve", "approved by policy %s of InfraEnv %s: %s", policy, infraEnv, why)
	log.FromContext(ctx).Info("agent approved by policy", "host", agent.Name, "hostname", host.Hostname(agent), "policy", policy, "reason", why)
	return ctrl.Result{}, nil
}

// policies of an InfraEnv and the token of its Secret; a problem is the user's to mend.
func (r *Reconciler) policies(ctx context.Context, infraEnv *agentv1beta1.InfraEnv) (p policies, token string, problem, err error) {
	if p, problem = parse(infraEnv.Annotations); problem != nil || p.secret == "" {
		return p, "", problem, nil
	}
	secret := &corev1.Secret{}
	key := client.ObjectKey{Namespace: infraEnv.Namespace, Name: p.secret}
	if err := r.Client.Get(ctx, key, secret); err != nil {
		if apierrors.IsNotFound(err) {
			return p, "", fmt.Errorf("annotation %s: there is no Secret %s", api.ApproveTokenAnnotation, key), nil
		}
		return p, "", nil, fmt.Errorf("read secret %s: %w", key, err)
	}
	token = string(secret.Data[tokenKey])
	return p, token, checkToken(p.secret, token), nil
}
