package bmac

import (
	"context"
	"fmt"
	"time"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	capiutil "sigs.k8s.io/cluster-api/util"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/slipway-io/slipway/services/api"
	capiagentv1beta1 "github.com/slipway-io/slipway/services/api/capiagent/v1beta1"
	"github.com/slipway-io/slipway/services/host"
)

// Annotations that say what becomes of the Agent of a deleted BareMetalHost.
const (
	removeAnnotation       = prefix + "/remove-agent-and-node-on-delete"
	drainTimeoutAnnotation = prefix + "/drain-timeout"
	drainStartedAnnotation = prefix + "/drain-started-at"
	drainStatusAnnotation  = prefix + "/drain-status"
)

const (
	// drainTimeout of a node without the annotation.
	drainTimeout = 5 * time.Minute
	// drainGrace is what Cluster API may take for the rest: its looks at the node, the hooks.
	drainGrace = 2 * time.Minute
	// drainLook is how often the end of a drain is looked for.
	drainLook = 2 * time.Second
)

// farewell is what becomes of an Agent whose BareMetalHost is deleted.
type farewell string

const (
	// setFree: the Agent stays, and its host is people's.
	setFree farewell = "set free"
	// drain its node, by deleting its Machine.
	drain farewell = "drain"
	// remove the Agent.
	remove farewell = "remove"
)

// bid decides; agent is nil when there is none. problem is a user's value that cannot be read.
func bid(bmh *metal3v1alpha1.BareMetalHost, agent *agentv1beta1.Agent, now time.Time) (what farewell, timeout time.Duration, problem string) {
	if bmh.Annotations[removeAnnotation] != "true" || agent == nil {
		return setFree, 0, ""
	}
	timeout = drainTimeout
	if text, is := bmh.Annotations[drainTimeoutAnnotation]; is {
		given, err := time.ParseDuration(text)
		if err == nil && given > 0 {
			timeout = given
		} else {
			problem = fmt.Sprintf("annotation %s: %q is no duration such as 10m; it counts as %s", drainTimeoutAnnotation, text, drainTimeout)
		}
	}
	if !host.Bound(agent) || agent.Labels[api.AgentMachineRefLabel] == "" {
		return remove, timeout, problem
	}
	if started, err := time.Parse(time.RFC3339, bmh.Annotations[drainStartedAnnotation]); err == nil && now.Sub(started) > timeout+drainGrace {
		return remove, timeout, fmt.Sprintf("the node of agent %s is not drained after %s; it is removed all the same", agent.Name, now.Sub(started).Round(time.Second))
	}
	return drain, timeout, problem
}

// release lets a BareMetalHost go, or one that no longer has an InfraEnv.
func (r *Reconciler) release(ctx context.Context, bmh *metal3v1alpha1.BareMetalHost) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(bmh, api.BMACFinalizer) {
		return ctrl.Result{}, nil
	}
	agent, err := r.labelled(ctx, bmh)
	if err != nil {
		return ctrl.Result{}, err
	}
	what, timeout, problem := setFree, time.Duration(0), ""
	if !bmh.DeletionTimestamp.IsZero() {
		what, timeout, problem = bid(bmh, agent, r.Now())
	}
	if problem != "" {
		r.Events.Eventf(bmh, nil, corev1.EventTypeWarning, "Drain", "Delete", "%s", problem)
	}
	switch {
	case what == drain:
		gone, err := r.drain(ctx, bmh, agent, timeout)
		if err != nil || !gone {
			return ctrl.Result{RequeueAfter: drainLook}, err
		}
		fallthrough
	case what == remove:
		if err := client.IgnoreNotFound(r.Client.Delete(ctx, agent)); err != nil {
			return ctrl.Result{}, fmt.Errorf("delete agent %s: %w", agent.Name, err)
		}
		r.Events.Eventf(bmh, agent, corev1.EventTypeNormal, "AgentRemoved", "Delete", "agent %s is removed with its BareMetalHost", agent.Name)
	case agent != nil:
		before := agent.DeepCopy()
		delete(agent.Labels, api.BMHLabel)
		delete(agent.Annotations, api.CleaningAnnotation)
		if err := client.IgnoreNotFound(r.Client.Patch(ctx, agent, client.MergeFrom(before))); err != nil {
			return ctrl.Result{}, fmt.Errorf("release agent %s: %w", agent.Name, err)
		}
	}
	before := bmh.DeepCopy()
	controllerutil.RemoveFinalizer(bmh, api.BMACFinalizer)
	delete(bmh.Annotations, api.AwaitedAnnotation)
	if err := client.IgnoreNotFound(r.Client.Patch(ctx, bmh, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))); err != nil {
		return ctrl.Result{}, fmt.Errorf("release baremetalhost %s: %w", client.ObjectKeyFromObject(bmh), err)
	}
	return ctrl.Result{}, nil
}

// labelled is the Agent that has this BareMetalHost's label, nil for none.
func (r *Reconciler) labelled(ctx context.Context, bmh *metal3v1alpha1.BareMetalHost) (*agentv1beta1.Agent, error) {
	agents := &agentv1beta1.AgentList{}
	err := r.Client.List(ctx, agents, client.InNamespace(bmh.Namespace), client.MatchingLabels{api.BMHLabel: bmh.Name})
	if err != nil {
		return nil, fmt.Errorf("list agents of baremetalhost %s: %w", client.ObjectKeyFromObject(bmh), err)
	}
	if len(agents.Items) == 0 {
		return nil, nil
	}
	return &agents.Items[0], nil
}

// drain deletes the Agent's Machine: Cluster API drains its node, and the AgentMachine then gives the Agent up. It says
// whether there is no Machine to wait for.
func (r *Reconciler) drain(ctx context.Context, bmh *metal3v1alpha1.BareMetalHost, agent *agentv1beta1.Agent, timeout time.Duration) (gone bool, err error) {
	machine, err := r.machine(ctx, agent)
	if err != nil || machine == nil {
		return err == nil, err
	}
	if err := r.noteDrain(ctx, bmh, "draining the node of machine "+machine.Namespace+"/"+machine.Name); err != nil {
		return false, err
	}
	if !machine.DeletionTimestamp.IsZero() {
		return false, nil
	}
	before := machine.DeepCopy()
	seconds := ptr.To(int32(timeout / time.Second))
	machine.Spec.Deletion.NodeDrainTimeoutSeconds, machine.Spec.Deletion.NodeVolumeDetachTimeoutSeconds = seconds, seconds
	if err := r.Client.Patch(ctx, machine, client.MergeFrom(before)); client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("write drain timeout of machine %s: %w", machine.Name, err)
	}
	if err := r.Client.Delete(ctx, machine); client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("delete machine %s: %w", machine.Name, err)
	}
	r.Events.Eventf(bmh, agent, corev1.EventTypeNormal, "Drain", "Delete", "machine %s/%s is deleted, which drains its node within %s", machine.Namespace, machine.Name, timeout)
	return false, nil
}

// machine is the Cluster API Machine that has the Agent, nil when it is gone.
func (r *Reconciler) machine(ctx context.Context, agent *agentv1beta1.Agent) (*clusterv1.Machine, error) {
	claim := &capiagentv1beta1.AgentMachine{}
	key := client.ObjectKey{Namespace: agent.Annotations[api.AgentMachineRefNamespace], Name: agent.Labels[api.AgentMachineRefLabel]}
	if err := r.Client.Get(ctx, key, claim); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return nil, nil
		}
		return nil, fmt.Errorf("read agentmachine %s: %w", key, err)
	}
	machine, err := capiutil.GetOwnerMachine(ctx, r.Client, claim.ObjectMeta)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("read machine of agentmachine %s: %w", key, err)
	}
	if err != nil {
		return nil, nil
	}
	return machine, nil
}

func (r *Reconciler) noteDrain(ctx context.Context, bmh *metal3v1alpha1.BareMetalHost, status string) error {
	before := bmh.DeepCopy()
	if _, is := bmh.Annotations[drainStartedAnnotation]; !is {
		bmh.Annotations[drainStartedAnnotation] = r.Now().UTC().Format(time.RFC3339)
	}
	bmh.Annotations[drainStatusAnnotation] = status
	if equality.Semantic.DeepEqual(before.Annotations, bmh.Annotations) {
		return nil
	}
	if err := r.Client.Patch(ctx, bmh, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("note drain of baremetalhost %s: %w", client.ObjectKeyFromObject(bmh), err)
	}
	return nil
}
