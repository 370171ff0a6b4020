package agentmachine

import (
	"context"
	"fmt"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	capiutil "sigs.k8s.io/cluster-api/util"
	"sigs.k8s.io/cluster-api/util/annotations"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/slipway-io/slipway/services/api"
	capiagentv1beta1 "github.com/slipway-io/slipway/services/api/capiagent/v1beta1"
)

// hook keeps Cluster API from removing a Machine whose host has not been given back.
const hook = clusterv1.PreTerminateDeleteHookAnnotationPrefix + "/agentmachine"

// again is the pause after a write that another one overtook.
const again = 20 * time.Millisecond

// Reconciler binds Agents to AgentMachines.
type Reconciler struct {
	Client client.Client
	// Live reads past the cache: a claim that was just written must not be missed.
	Live client.Reader
}

// scope is what one look is about.
type scope struct {
	agentMachine *capiagentv1beta1.AgentMachine
	machine      *clusterv1.Machine
	cluster      *clusterv1.Cluster
}

// SetupWithManager starts the controller with the manager. One worker makes one claim at a time.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	err := ctrl.NewControllerManagedBy(mgr).
		For(&capiagentv1beta1.AgentMachine{}).
		Watches(&agentv1beta1.Agent{}, handler.EnqueueRequestsFromMapFunc(r.interested)).
		Watches(&clusterv1.Machine{}, handler.EnqueueRequestsFromMapFunc(infrastructureOf)).
		Watches(&clusterv1.Cluster{}, handler.EnqueueRequestsFromMapFunc(r.machinesOf)).
		WithOptions(controller.Options{MaxConcurrentReconciles: 1}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("set up agentmachine controller: %w", err)
	}
	return nil
}

// interested are the AgentMachines that an Agent belongs or belonged to and, when it is free, those that wait for one.
func (r *Reconciler) interested(ctx context.Context, object client.Object) []reconcile.Request {
	all := &capiagentv1beta1.AgentMachineList{}
	if err := r.Client.List(ctx, all); err != nil {
		return nil
	}
	free := object.GetLabels()[api.AgentMachineRefLabel] == ""
	var requests []reconcile.Request
	for i := range all.Items {
		machine := &all.Items[i]
		ref := machine.Status.AgentRef
		known := ref != nil && ref.Name == object.GetName() && ref.Namespace == object.GetNamespace()
		if known || claims(machine, object) || free && ref == nil {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(machine)})
		}
	}
	return requests
}

func infrastructureOf(_ context.Context, object client.Object) []reconcile.Request {
	machine, ok := object.(*clusterv1.Machine)
	if !ok || machine.Spec.InfrastructureRef.Kind != "AgentMachine" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: machine.Namespace, Name: machine.Spec.InfrastructureRef.Name}}}
}

func (r *Reconciler) machinesOf(ctx context.Context, cluster client.Object) []reconcile.Request {
	all := &capiagentv1beta1.AgentMachineList{}
	err := r.Client.List(ctx, all, client.InNamespace(cluster.GetNamespace()), client.MatchingLabels{clusterv1.ClusterNameLabel: cluster.GetName()})
	if err != nil {
		return nil
	}
	var requests []reconcile.Request
	for i := range all.Items {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&all.Items[i])})
	}
	return requests
}

// claims says that the Agent carries the AgentMachine's label.
func claims(machine *capiagentv1beta1.AgentMachine, agent client.Object) bool {
	return agent.GetLabels()[api.AgentMachineRefLabel] == machine.Name && agent.GetAnnotations()[api.AgentMachineRefNamespace] == machine.Namespace
}

// Reconcile implements reconcile.Reconciler.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	s, err := r.read(ctx, request)
	if err != nil || s == nil {
		return ctrl.Result{}, err
	}
	before := s.agentMachine.DeepCopy()
	err = r.step(ctx, s)
	if err == nil && !equality.Semantic.DeepEqual(before.Status, s.agentMachine.Status) {
		base := s.agentMachine.DeepCopy()
		base.Status = before.Status
		err = r.Client.Status().Patch(ctx, s.agentMachine, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}))
		err = wrap(client.IgnoreNotFound(err), "write status of agentmachine "+request.String())
	}
	if apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: again}, nil
	}
	return ctrl.Result{}, err
}

// read gathers the objects of a look; nil when there is nothing to do.
func (r *Reconciler) read(ctx context.Context, request ctrl.Request) (*scope, error) {
	s := &scope{agentMachine: &capiagentv1beta1.AgentMachine{}}
	if err := r.Client.Get(ctx, request.NamespacedName, s.agentMachine); err != nil {
		return nil, wrap(client.IgnoreNotFound(err), "read agentmachine "+request.String())
	}
	machine, err := capiutil.GetOwnerMachine(ctx, r.Client, s.agentMachine.ObjectMeta)
	if client.IgnoreNotFound(err) != nil {
		return nil, wrap(err, "read machine of agentmachine "+request.String())
	}
	s.machine = machine
	name := s.agentMachine.Labels[clusterv1.ClusterNameLabel]
	if machine != nil {
		name = machine.Spec.ClusterName
	}
	cluster := &clusterv1.Cluster{}
	switch err := r.Client.Get(ctx, client.ObjectKey{Namespace: request.Namespace, Name: name}, cluster); {
	case err == nil:
		s.cluster = cluster
	case !apierrors.IsNotFound(err):
		return nil, wrap(err, "read cluster "+name)
	}
	if s.cluster != nil && annotations.IsPaused(s.cluster, s.agentMachine) {
		return nil, nil
	}
	return s, nil
}

// step does what is due and leaves the outcome in the status.
func (r *Reconciler) step(ctx context.Context, s *scope) error {
	if !s.agentMachine.DeletionTimestamp.IsZero() || terminating(s.machine) {
		return r.release(ctx, s)
	}
	if s.machine == nil || s.cluster == nil || !s.machine.DeletionTimestamp.IsZero() {
		return nil
	}
	agent, err := r.claimed(ctx, s.agentMachine)
	if err != nil {
		return err
	}
	if agent == nil && s.agentMachine.Status.AgentRef != nil {
		// The inventory lost the host. Another one would be another machine: the owner replaces this one.
		waiting(s.agentMachine, reasonAgentGone, "Agent "+s.agentMachine.Status.AgentRef.Name+" is no longer there or was taken away")
		return nil
	}
	if agent == nil {
		if agent, err = r.claim(ctx, s); err != nil || agent == nil {
			return err
		}
	}
	if err := r.provide(ctx, s.agentMachine, agent.Name); err != nil {
		return err
	}
	follow(s.agentMachine, agent)
	return nil
}

// claimed is the Agent with the AgentMachine's label, nil when there is none.
func (r *Reconciler) claimed(ctx context.Context, machine *capiagentv1beta1.AgentMachine) (*agentv1beta1.Agent, error) {
	if ref := machine.Status.AgentRef; ref != nil {
		agent := &agentv1beta1.Agent{}
		err := r.Client.Get(ctx, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, agent)
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, wrap(err, "read agent "+ref.Name)
		}
		if claims(machine, agent) {
			return agent, nil
		}
	}
	agents := &agentv1beta1.AgentList{}
	if err := r.Live.List(ctx, agents, client.MatchingLabels{api.AgentMachineRefLabel: machine.Name}); err != nil {
		return nil, wrap(err, "list claimed agents")
	}
	for i := range agents.Items {
		if claims(machine, &agents.Items[i]) {
			return &agents.Items[i], nil
		}
	}
	return nil, nil
}

// provide writes the spec's provider id, which Cluster API matches Nodes by.
func (r *Reconciler) provide(ctx context.Context, machine *capiagentv1beta1.AgentMachine, agentName string) error {
	before := machine.DeepCopy()
	machine.Spec.ProviderID = api.ProviderIDPrefix + agentName
	if machine.Spec.ProviderID == before.Spec.ProviderID {
		return nil
	}
	return r.patch(ctx, machine, before)
}

// patch writes spec and metadata and keeps the status that the look has decided so far.
func (r *Reconciler) patch(ctx context.Context, machine, before *capiagentv1beta1.AgentMachine) error {
	status := machine.Status.DeepCopy()
	err := r.Client.Patch(ctx, machine, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	machine.Status = *status
	return wrap(err, "write agentmachine "+machine.Name)
}

// finalize keeps the AgentMachine until its Agent is given back.
func (r *Reconciler) finalize(ctx context.Context, machine *capiagentv1beta1.AgentMachine) error {
	before := machine.DeepCopy()
	if !controllerutil.AddFinalizer(machine, api.Finalizer) {
		return nil
	}
	return r.patch(ctx, machine, before)
}

func infrastructureReady(cluster *clusterv1.Cluster) bool {
	return ptr.Deref(cluster.Status.Initialization.InfrastructureProvisioned, false)
}

func wrap(err error, what string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
