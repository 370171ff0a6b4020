package nodepool

import (
	"context"
	"fmt"
	"strings"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// mostNamed is how many Machines a message names.
const mostNamed = 3

func (s *scope) yes(kind, reason, message string) { s.set(kind, corev1.ConditionTrue, reason, message) }
func (s *scope) no(kind, reason, message string)  { s.set(kind, corev1.ConditionFalse, reason, message) }

func (s *scope) find(kind string) *hypershiftv1beta1.NodePoolCondition {
	for i := range s.pool.Status.Conditions {
		if s.pool.Status.Conditions[i].Type == kind {
			return &s.pool.Status.Conditions[i]
		}
	}
	return nil
}

func (s *scope) isTrue(kind string) bool {
	condition := s.find(kind)
	return condition != nil && condition.Status == corev1.ConditionTrue
}

// set changes the time only together with the status, so that an unchanged condition is no write.
func (s *scope) set(kind string, status corev1.ConditionStatus, reason, message string) {
	condition := s.find(kind)
	if condition == nil {
		s.pool.Status.Conditions = append(s.pool.Status.Conditions, hypershiftv1beta1.NodePoolCondition{Type: kind})
		condition = &s.pool.Status.Conditions[len(s.pool.Status.Conditions)-1]
	}
	if condition.Status != status {
		condition.LastTransitionTime = metav1.Now().Rfc3339Copy()
	}
	condition.Status, condition.Reason, condition.Message, condition.ObservedGeneration = status, reason, message, s.pool.Generation
}

// observe tells what Cluster API and the Machines say.
func (r *Reconciler) observe(ctx context.Context, s *scope) error {
	machines, err := r.machines(ctx, s)
	if err != nil {
		return err
	}
	s.summarize(hypershiftv1beta1.NodePoolAllMachinesReadyConditionType, clusterv1.MachineInfrastructureReadyCondition, machines)
	s.summarize(hypershiftv1beta1.NodePoolAllNodesHealthyConditionType, clusterv1.MachineNodeHealthyCondition, machines)
	if s.deployment != nil {
		s.readiness(s.deployment)
		s.progress(s.deployment)
		return r.tidy(ctx, s, machines)
	}
	// Machines go on while the pool's newest wish cannot be fulfilled.
	deployment := &clusterv1.MachineDeployment{}
	err = r.Client.Get(ctx, client.ObjectKey{Namespace: s.namespace(), Name: s.pool.Name}, deployment)
	switch {
	case err == nil:
		s.readiness(deployment)
	case !apierrors.IsNotFound(err):
		return wrap(err, "read machinedeployment")
	default:
		if waits := s.waits(); waits != "" {
			s.no(hypershiftv1beta1.NodePoolReadyConditionType, "NotReconciled", waits)
		}
	}
	return nil
}

// waits is what keeps a pool from having its first Machine; empty when it has a condition of its own.
func (s *scope) waits() string {
	for _, kind := range []string{
		conditionValidArch, conditionValidPlatform, hypershiftv1beta1.NodePoolValidReleaseImageConditionType,
		hypershiftv1beta1.NodePoolValidMachineConfigConditionType, hypershiftv1beta1.NodePoolValidGeneratedPayloadConditionType,
	} {
		if c := s.find(kind); c != nil && c.Status == corev1.ConditionFalse {
			return kind + " is False: " + c.Message
		}
	}
	if s.hosted != nil && !s.hosted.DeletionTimestamp.IsZero() {
		return "The HostedCluster is being deleted"
	}
	return ""
}

// readiness copies how many machines there are.
func (s *scope) readiness(deployment *clusterv1.MachineDeployment) {
	want := replicas(s.pool)
	available := ptr.Deref(deployment.Status.AvailableReplicas, 0)
	s.pool.Status.Replicas = available
	switch total := ptr.Deref(deployment.Status.Replicas, 0); {
	case settled(deployment, want):
		s.yes(hypershiftv1beta1.NodePoolReadyConditionType, hypershiftv1beta1.AsExpectedReason, "")
	case total > want:
		s.no(hypershiftv1beta1.NodePoolReadyConditionType, "ScalingDown", fmt.Sprintf("Scaling down to %d machines, %d are left", want, total))
	case total < want:
		s.no(hypershiftv1beta1.NodePoolReadyConditionType, "ScalingUp", fmt.Sprintf("Scaling up to %d machines, %d are there", want, total))
	default:
		s.no(hypershiftv1beta1.NodePoolReadyConditionType, "WaitingForAvailableMachines", fmt.Sprintf("%d of %d machines are available", available, want))
	}
}

// progress tells of a rollout; the version is that of the last one that was completed.
func (s *scope) progress(deployment *clusterv1.MachineDeployment) {
	want := replicas(s.pool)
	version, config := hypershiftv1beta1.NodePoolUpdatingVersionConditionType, hypershiftv1beta1.NodePoolUpdatingConfigConditionType
	s.no(version, hypershiftv1beta1.AsExpectedReason, "")
	s.no(config, hypershiftv1beta1.AsExpectedReason, "")
	if rolledOut(deployment, want) {
		s.pool.Status.Version = s.release.version
		return
	}
	upToDate := ptr.Deref(deployment.Status.UpToDateReplicas, 0)
	message := fmt.Sprintf("Nodepool update in progress. Target version: %s, config %s. %d of %d machines are up to date", s.release.version, s.hash, upToDate, want)
	switch {
	case s.pool.Status.Version == "":
	case s.pool.Status.Version != s.release.version:
		s.yes(version, hypershiftv1beta1.AsExpectedReason, message)
	case upToDate < ptr.Deref(deployment.Status.Replicas, 0):
		s.yes(config, hypershiftv1beta1.AsExpectedReason, message)
	}
}

// observed says that the status belongs to the spec that was written.
func observed(deployment *clusterv1.MachineDeployment) bool {
	return deployment.Status.ObservedGeneration >= deployment.Generation && deployment.Generation > 0
}

// rolledOut says that all machines are of the newest template.
func rolledOut(deployment *clusterv1.MachineDeployment, want int32) bool {
	status := deployment.Status
	return observed(deployment) && ptr.Deref(status.UpToDateReplicas, 0) == want && ptr.Deref(status.Replicas, 0) == want
}

// settled says that nothing is left to be done.
func settled(deployment *clusterv1.MachineDeployment, want int32) bool {
	return rolledOut(deployment, want) && ptr.Deref(deployment.Status.AvailableReplicas, 0) == want
}

// summarize joins a condition of all Machines into one of the pool.
func (s *scope) summarize(kind, of string, machines []clusterv1.Machine) {
	if len(machines) == 0 {
		if replicas(s.pool) == 0 {
			s.yes(kind, hypershiftv1beta1.AsExpectedReason, "NodePool set to no replicas")
			return
		}
		s.no(kind, hypershiftv1beta1.NodePoolNotFoundReason, "No Machines are created")
		return
	}
	var reason string
	var messages []string
	count := 0
	for i := range machines {
		condition := meta.FindStatusCondition(machines[i].Status.Conditions, of)
		if condition != nil && condition.Status == metav1.ConditionTrue {
			continue
		}
		count++
		why, text := "NotReported", ""
		if condition != nil {
			why, text = condition.Reason, strings.Join(strings.Fields(condition.Message), " ")
		}
		if reason == "" {
			reason = why
		}
		if len(messages) < mostNamed {
			messages = append(messages, fmt.Sprintf("Machine %s: %s: %s", machines[i].Name, why, text))
		}
	}
	if count == 0 {
		s.yes(kind, hypershiftv1beta1.AsExpectedReason, "All is well")
		return
	}
	s.no(kind, reason, fmt.Sprintf("%d of %d machines are not ready; %s", count, len(machines), strings.Join(messages, "; ")))
}
