package agent

import (
	"context"
	"fmt"
	"time"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/host"
)

// Seen knows when a host was last heard.
type Seen interface {
	Seen(hostID string) host.Contact
}

// Nodes looks into hosted clusters; cluster is Agent.spec.clusterDeploymentName.
type Nodes interface {
	NodeReady(ctx context.Context, cluster types.NamespacedName, nodeName string) (exists, ready bool, err error)
}

// Powers knows who switches a host's power.
type Powers interface {
	Power(ctx context.Context, agent *agentv1beta1.Agent) (host.Power, error)
}

// Reconciler keeps Agent.status true to the spec and to what is seen of the host.
type Reconciler struct {
	Client client.Client
	Seen   Seen
	// Nodes may be nil: installations then stay where the host left them.
	Nodes Nodes
	// Powers may be nil: nothing is said about power then.
	Powers       Powers
	Requirements host.Requirements
	// CheckIgnition judges ignitionConfigOverrides; nil takes any JSON with a version.
	CheckIgnition func(overrides []byte) error
	// Now is time.Now when nil.
	Now func() time.Time
}

// SetupWithManager starts the controller with the manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	err := ctrl.NewControllerManagedBy(mgr).
		For(&agentv1beta1.Agent{}).
		Watches(&metal3v1alpha1.BareMetalHost{}, handler.EnqueueRequestsFromMapFunc(r.agentsOf(api.BMHLabel))).
		Watches(&agentv1beta1.InfraEnv{}, handler.EnqueueRequestsFromMapFunc(r.agentsOf(api.InfraEnvLabel)), builder.WithPredicates(newISO)).
		WithOptions(controller.Options{MaxConcurrentReconciles: 4}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("set up agent controller: %w", err)
	}
	return nil
}

// newISO is an InfraEnv whose hosts would be booted from another URL.
var newISO = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, is := e.ObjectOld.(*agentv1beta1.InfraEnv)
		after, too := e.ObjectNew.(*agentv1beta1.InfraEnv)
		return is && too && before.Status.ISODownloadURL != after.Status.ISODownloadURL
	},
}

// agentsOf are the Agents of its namespace whose label names the object.
func (r *Reconciler) agentsOf(label string) handler.MapFunc {
	return func(ctx context.Context, object client.Object) []reconcile.Request {
		agents := &agentv1beta1.AgentList{}
		err := r.Client.List(ctx, agents, client.InNamespace(object.GetNamespace()), client.MatchingLabels{label: object.GetName()}, client.UnsafeDisableDeepCopy)
		if err != nil {
			return nil
		}
		var requests []reconcile.Request
		for i := range agents.Items {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&agents.Items[i])})
		}
		return requests
	}
}

// Reconcile implements reconcile.Reconciler.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	agent := &agentv1beta1.Agent{}
	if err := r.Client.Get(ctx, request.NamespacedName, agent); err != nil {
		if apierrors.IsNotFound(err) {
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("read agent %s: %w", request, err)
	}
	if !agent.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	seen, err := r.observe(ctx, agent)
	if err != nil {
		return ctrl.Result{}, err
	}
	next := agent.DeepCopy()
	again := host.Refresh(next, seen)
	if !equality.Semantic.DeepEqual(agent.Status, next.Status) {
		err := r.Client.Status().Patch(ctx, next, client.MergeFromWithOptions(agent, client.MergeFromWithOptimisticLock{}))
		if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
			return ctrl.Result{RequeueAfter: 20 * time.Millisecond}, nil
		}
		if err != nil {
			return ctrl.Result{}, fmt.Errorf("write status of agent %s: %w", request, err)
		}
		if before, after := host.State(agent), host.State(next); before != after {
			log.FromContext(ctx).Info("host state", "host", agent.Name, "hostname", host.Hostname(next), "before", before, "state", after,
				"stage", string(next.Status.Progress.CurrentStage))
		}
	}
	if err := r.label(ctx, next); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: again}, nil
}

func (r *Reconciler) observe(ctx context.Context, agent *agentv1beta1.Agent) (host.Observed, error) {
	now := time.Now
	if r.Now != nil {
		now = r.Now
	}
	seen := host.Observed{Now: now(), Contact: r.Seen.Seen(agent.Name), Need: r.Requirements}
	if r.CheckIgnition != nil && agent.Spec.IgnitionConfigOverrides != "" {
		seen.InputError = r.CheckIgnition([]byte(agent.Spec.IgnitionConfigOverrides))
	}
	if r.Powers != nil {
		power, err := r.Powers.Power(ctx, agent)
		if err != nil {
			return seen, err
		}
		seen.Power = &power
	}
	if !host.Bound(agent) {
		return seen, nil
	}
	same, err := r.sameHostname(ctx, agent)
	if err != nil {
		return seen, err
	}
	seen.SameHostname = same
	if r.Nodes == nil || !host.AwaitsNode(agent) {
		return seen, nil
	}
	cluster := types.NamespacedName{Namespace: agent.Spec.ClusterDeploymentName.Namespace, Name: agent.Spec.ClusterDeploymentName.Name}
	seen.NodeExists, seen.NodeReady, err = r.Nodes.NodeReady(ctx, cluster, host.Hostname(agent))
	if err != nil {
		// A hosted API that restarts is no reason to lose the next look.
		log.FromContext(ctx).Info("read node", "host", agent.Name, "cluster", cluster.String(), "err", err.Error())
	}
	return seen, nil
}

// sameHostname is another Agent of the cluster that would make a Node of the same name.
func (r *Reconciler) sameHostname(ctx context.Context, agent *agentv1beta1.Agent) (string, error) {
	all := &agentv1beta1.AgentList{}
	if err := r.Client.List(ctx, all, client.UnsafeDisableDeepCopy); err != nil {
		return "", fmt.Errorf("list agents: %w", err)
	}
	name := host.Hostname(agent)
	for i := range all.Items {
		other := &all.Items[i]
		if other.Name != agent.Name && host.Bound(other) && *other.Spec.ClusterDeploymentName == *agent.Spec.ClusterDeploymentName &&
			host.Hostname(other) == name {
			return other.Name, nil
		}
	}
	return "", nil
}

// label shows the inventory as labels, which NodePools select by.
func (r *Reconciler) label(ctx context.Context, agent *agentv1beta1.Agent) error {
	wanted := host.Labels(agent)
	next := agent.DeepCopy()
	if next.Labels == nil {
		next.Labels = map[string]string{}
	}
	for key, value := range wanted {
		next.Labels[key] = value
	}
	if equality.Semantic.DeepEqual(agent.Labels, next.Labels) {
		return nil
	}
	err := r.Client.Patch(ctx, next, client.MergeFrom(agent))
	if err := client.IgnoreNotFound(err); err != nil {
		return fmt.Errorf("label agent %s: %w", agent.Name, err)
	}
	return nil
}
