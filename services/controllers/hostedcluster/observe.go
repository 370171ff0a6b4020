package hostedcluster

import (
	configv1 "github.com/openshift/api/config/v1"
	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// mirrored conditions are the control plane's; the HostedCluster only repeats them.
var mirrored = []hypershiftv1beta1.ConditionType{
	hypershiftv1beta1.EtcdAvailable, hypershiftv1beta1.KubeAPIServerAvailable, hypershiftv1beta1.InfrastructureReady,
	hypershiftv1beta1.ValidHostedControlPlaneConfiguration, hypershiftv1beta1.HostedClusterDegraded,
}

// observe derives the HostedCluster's status from its control plane.
func (r *Reconciler) observe(cluster *hypershiftv1beta1.HostedCluster, controlPlane *hypershiftv1beta1.HostedControlPlane, version string) {
	cluster.Status.ControlPlaneEndpoint = controlPlane.Status.ControlPlaneEndpoint
	for _, kind := range mirrored {
		source := meta.FindStatusCondition(controlPlane.Status.Conditions, string(kind))
		if source == nil {
			note(cluster, kind, metav1.ConditionUnknown, hypershiftv1beta1.StatusUnknownReason, "The control plane was not looked at yet")
			continue
		}
		note(cluster, kind, source.Status, source.Reason, source.Message)
	}
	available := meta.FindStatusCondition(controlPlane.Status.Conditions, string(hypershiftv1beta1.HostedControlPlaneAvailable))
	switch {
	case available == nil:
		note(cluster, hypershiftv1beta1.HostedClusterAvailable, metav1.ConditionFalse, hypershiftv1beta1.WaitingForAvailableReason, "Waiting for hosted control plane to be healthy")
	case available.Status != metav1.ConditionTrue:
		note(cluster, hypershiftv1beta1.HostedClusterAvailable, metav1.ConditionFalse, available.Reason, available.Message)
	default:
		note(cluster, hypershiftv1beta1.HostedClusterAvailable, metav1.ConditionTrue, hypershiftv1beta1.AsExpectedReason, "The hosted control plane is available")
	}
	r.rollout(cluster, controlPlane, version)
}

// rollout keeps the version's history: an entry is Partial until the control plane runs that release and is available.
func (r *Reconciler) rollout(cluster *hypershiftv1beta1.HostedCluster, controlPlane *hypershiftv1beta1.HostedControlPlane, version string) {
	if cluster.Status.Version == nil {
		cluster.Status.Version = &hypershiftv1beta1.ClusterVersionStatus{AvailableUpdates: []configv1.Release{}}
	}
	status, now, image := cluster.Status.Version, metav1.NewTime(r.Now()), cluster.Spec.Release.Image
	status.Desired = configv1.Release{Image: image, Version: version}
	status.ObservedGeneration = cluster.Generation
	if len(status.History) == 0 || status.History[0].Image != image {
		entry := configv1.UpdateHistory{State: configv1.PartialUpdate, StartedTime: now, Image: image, Version: version, Verified: true}
		status.History = append([]configv1.UpdateHistory{entry}, status.History...)
		status.History = status.History[:min(len(status.History), 100)]
	}
	done := meta.IsStatusConditionTrue(cluster.Status.Conditions, string(hypershiftv1beta1.HostedClusterAvailable)) &&
		controlPlane.Status.VersionStatus != nil && controlPlane.Status.VersionStatus.Desired.Image == image &&
		len(controlPlane.Status.VersionStatus.History) > 0 && controlPlane.Status.VersionStatus.History[0].State == configv1.CompletedUpdate
	if !done {
		note(cluster, hypershiftv1beta1.HostedClusterProgressing, metav1.ConditionTrue, "Progressing", "Rolling out release "+version)
		return
	}
	if status.History[0].State != configv1.CompletedUpdate {
		status.History[0].State, status.History[0].CompletionTime = configv1.CompletedUpdate, &now
	}
	note(cluster, hypershiftv1beta1.HostedClusterProgressing, metav1.ConditionFalse, hypershiftv1beta1.AsExpectedReason, "HostedCluster is at expected version")
}
