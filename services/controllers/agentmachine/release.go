package agentmachine

import (
	"context"
	"strings"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/slipway-io/slipway/services/api"
)

// terminating says that the Machine's Node is drained and the host may go.
func terminating(machine *clusterv1.Machine) bool {
	if machine == nil || machine.DeletionTimestamp.IsZero() {
		return false
	}
	deleting := meta.FindStatusCondition(machine.Status.Conditions, clusterv1.MachineDeletingCondition)
	return deleting != nil && deleting.Reason == clusterv1.MachineDeletingWaitingForPreTerminateHookReason
}

// release gives the Agent back, waits until it is in the inventory again, and then lets Machine and AgentMachine go.
func (r *Reconciler) release(ctx context.Context, s *scope) error {
	agent, err := r.claimed(ctx, s.agentMachine)
	if err != nil {
		return err
	}
	if agent != nil {
		if agent, err = r.unbind(ctx, agent); err != nil {
			return err
		}
	} else if agent, err = r.former(ctx, s); err != nil {
		return err
	}
	// When the whole cluster goes, nobody waits for the hosts: they come back by themselves.
	whole, err := r.clusterGoes(ctx, s.cluster)
	if err != nil {
		return err
	}
	if agent != nil && !released(agent) && !whole {
		waiting(s.agentMachine, reasonReleasing, "Agent "+agent.Name+" returns to the inventory, state "+agent.Status.DebugInfo.State)
		return nil
	}
	if s.machine != nil {
		if err := r.hook(ctx, s.machine, false); err != nil {
			return err
		}
	}
	if s.agentMachine.DeletionTimestamp.IsZero() {
		return nil
	}
	before := s.agentMachine.DeepCopy()
	if !controllerutil.RemoveFinalizer(s.agentMachine, api.Finalizer) {
		return nil
	}
	return client.IgnoreNotFound(r.patch(ctx, s.agentMachine, before))
}

// clusterGoes says that the Cluster or the HostedCluster that it belongs to is being deleted.
func (r *Reconciler) clusterGoes(ctx context.Context, cluster *clusterv1.Cluster) (bool, error) {
	if cluster == nil || !cluster.DeletionTimestamp.IsZero() {
		return true, nil
	}
	namespace, name, ok := strings.Cut(cluster.Annotations[api.HostedClusterAnnotation], "/")
	if !ok {
		return false, nil
	}
	hosted := &hypershiftv1beta1.HostedCluster{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, hosted)
	if client.IgnoreNotFound(err) != nil {
		return false, wrap(err, "read hostedcluster "+name)
	}
	return err != nil || !hosted.DeletionTimestamp.IsZero(), nil
}

// former is the Agent that was unbound in an earlier look; nil when it is gone or serves another machine already.
func (r *Reconciler) former(ctx context.Context, s *scope) (*agentv1beta1.Agent, error) {
	ref := s.agentMachine.Status.AgentRef
	if ref == nil {
		return nil, nil
	}
	agent := &agentv1beta1.Agent{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, agent)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, wrap(err, "read agent "+ref.Name)
	}
	if agent.Labels[api.AgentMachineRefLabel] != "" {
		return nil, nil
	}
	return agent, nil
}

func (r *Reconciler) unbind(ctx context.Context, agent *agentv1beta1.Agent) (*agentv1beta1.Agent, error) {
	next := agent.DeepCopy()
	delete(next.Labels, api.AgentMachineRefLabel)
	delete(next.Annotations, api.AgentMachineRefNamespace)
	next.Spec.ClusterDeploymentName = nil
	next.Spec.MachineConfigPool = ""
	next.Spec.IgnitionEndpointTokenReference = nil
	next.Spec.IgnitionEndpointHTTPHeaders = nil
	err := r.Client.Patch(ctx, next, client.MergeFromWithOptions(agent, client.MergeFromWithOptimisticLock{}))
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, wrap(err, "unbind agent "+agent.Name)
	}
	log.FromContext(ctx).Info("agent released", "host", agent.Name)
	return next, nil
}
