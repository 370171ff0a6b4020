package hostedcontrolplane

import (
	"context"
	"errors"
	"fmt"
	"strings"

	configv1 "github.com/openshift/api/config/v1"
	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-io/slipway/services/controlplane"
	"github.com/slipway-io/slipway/services/controlplane/pki"
)

// observe tells what the processes say; the cluster is available when all of them are ready and its inside is prepared.
func (r *Reconciler) observe(ctx context.Context, plane *hypershiftv1beta1.HostedControlPlane, spec controlplane.Spec, secrets map[string]*corev1.Secret) error {
	status, err := r.ControlPlanes.Status(ctx, spec.Name)
	if errors.Is(err, controlplane.ErrNotFound) {
		status, err = controlplane.Status{}, nil
	}
	if err != nil {
		return fmt.Errorf("look at control plane %s: %w", spec.Name, err)
	}
	etcd, server := status.Component(controlplane.Etcd), status.Component(controlplane.KubeAPIServer)
	noteComponent(plane, hypershiftv1beta1.EtcdAvailable, etcd, hypershiftv1beta1.EtcdQuorumAvailableReason, hypershiftv1beta1.EtcdWaitingForQuorumReason)
	noteComponent(plane, hypershiftv1beta1.KubeAPIServerAvailable, server, hypershiftv1beta1.AsExpectedReason, hypershiftv1beta1.WaitingForAvailableReason)
	if server.Ready {
		if err := r.Guests.Bootstrap(ctx, secrets[pki.LocalhostKubeconfig].Data[pki.KeyKubeconfig]); err != nil {
			note(plane, hypershiftv1beta1.HostedControlPlaneAvailable, metav1.ConditionFalse, hypershiftv1beta1.WaitingForAvailableReason, err.Error())
			return err
		}
		plane.Status.Initialized = true
		plane.Status.KubeConfig = &hypershiftv1beta1.KubeconfigSecretRef{Name: pki.AdminKubeconfig, Key: pki.KeyKubeconfig}
	}
	plane.Status.Ready = status.Ready()
	if !status.Ready() {
		note(plane, hypershiftv1beta1.HostedControlPlaneAvailable, metav1.ConditionFalse, hypershiftv1beta1.WaitingForAvailableReason, waiting(status))
		note(plane, hypershiftv1beta1.HostedControlPlaneDegraded, degraded(status), hypershiftv1beta1.WaitingForAvailableReason, waiting(status))
		return nil
	}
	note(plane, hypershiftv1beta1.HostedControlPlaneAvailable, metav1.ConditionTrue, hypershiftv1beta1.AsExpectedReason, "The control plane is available")
	note(plane, hypershiftv1beta1.HostedControlPlaneDegraded, metav1.ConditionFalse, hypershiftv1beta1.AsExpectedReason, "Every component is ready")
	r.complete(plane)
	return nil
}

func noteComponent(plane *hypershiftv1beta1.HostedControlPlane, kind hypershiftv1beta1.ConditionType, component controlplane.ComponentStatus, ready, waits string) {
	if component.Ready {
		note(plane, kind, metav1.ConditionTrue, ready, component.Name+" is ready")
		return
	}
	message := component.Message
	if message == "" {
		message = "it was not started yet, or is not ready"
	}
	note(plane, kind, metav1.ConditionFalse, waits, message)
}

// waiting names what is not ready and why.
func waiting(status controlplane.Status) string {
	var names []string
	for _, component := range status.Components {
		switch {
		case component.Ready:
		case component.Message != "":
			names = append(names, component.Name+" ("+component.Message+")")
		default:
			names = append(names, component.Name)
		}
	}
	if len(names) == 0 {
		return "Waiting for the control plane's processes"
	}
	return "Waiting for " + strings.Join(names, ", ")
}

// degraded: something that ran was started again and is not back.
func degraded(status controlplane.Status) metav1.ConditionStatus {
	for _, component := range status.Components {
		if !component.Ready && component.Restarts > 0 {
			return metav1.ConditionTrue
		}
	}
	return metav1.ConditionFalse
}

// history notes that a release is being rolled out.
func (r *Reconciler) history(plane *hypershiftv1beta1.HostedControlPlane, image, version string) {
	if plane.Status.VersionStatus == nil {
		plane.Status.VersionStatus = &hypershiftv1beta1.ClusterVersionStatus{AvailableUpdates: []configv1.Release{}}
	}
	status := plane.Status.VersionStatus
	status.Desired = configv1.Release{Image: image, Version: version}
	status.ObservedGeneration = plane.Generation
	if len(status.History) > 0 && status.History[0].Image == image {
		return
	}
	now := metav1.NewTime(r.Now())
	entry := configv1.UpdateHistory{State: configv1.PartialUpdate, StartedTime: now, Image: image, Version: version, Verified: true}
	status.History = append([]configv1.UpdateHistory{entry}, status.History...)
	status.History = status.History[:min(len(status.History), 100)]
}

func (r *Reconciler) complete(plane *hypershiftv1beta1.HostedControlPlane) {
	history := plane.Status.VersionStatus.History
	if len(history) > 0 && history[0].State != configv1.CompletedUpdate {
		now := metav1.NewTime(r.Now())
		history[0].State, history[0].CompletionTime = configv1.CompletedUpdate, &now
	}
}
