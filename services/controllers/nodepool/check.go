package nodepool

import (
	"context"
	"fmt"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/slipway-io/slipway/services/ignition"
)

// Conditions that the API's package has no constants for.
const (
	conditionValidPlatform = "ValidPlatformConfig"
	conditionValidArch     = "ValidArchPlatform"
)

const reasonWaitingForControlPlane = "WaitingForControlPlane"

// configKey of the ConfigMaps in spec.config.
const configKey = "config"

// checkSpec judges what needs nothing but the NodePool.
func (r *Reconciler) checkSpec(_ context.Context, s *scope) (bool, error) {
	spec := s.pool.Spec
	if spec.AutoScaling != nil {
		s.no(hypershiftv1beta1.NodePoolAutoscalingEnabledConditionType, "NotSupported",
			fmt.Sprintf("spec.autoScaling is not served yet: the pool stays at its minimum of %d", spec.AutoScaling.Min))
	} else {
		s.no(hypershiftv1beta1.NodePoolAutoscalingEnabledConditionType, hypershiftv1beta1.AsExpectedReason, "")
	}
	if spec.Management.AutoRepair {
		s.no(hypershiftv1beta1.NodePoolAutorepairEnabledConditionType, "NotSupported", "spec.management.autoRepair is not served yet")
	} else {
		s.no(hypershiftv1beta1.NodePoolAutorepairEnabledConditionType, hypershiftv1beta1.AsExpectedReason, "")
	}
	if len(spec.TuningConfig) > 0 {
		s.no(hypershiftv1beta1.NodePoolValidTuningConfigConditionType, "NotSupported", "spec.tuningConfig is not served yet")
	} else {
		s.yes(hypershiftv1beta1.NodePoolValidTuningConfigConditionType, hypershiftv1beta1.AsExpectedReason, "")
	}
	update := ""
	if spec.Management.UpgradeType == hypershiftv1beta1.UpgradeTypeInPlace {
		update = "InPlace is carried out by installing the same hosts again, spec.management.inPlace.maxUnavailable at a time"
	}
	s.yes(hypershiftv1beta1.NodePoolUpdateManagementEnabledConditionType, hypershiftv1beta1.AsExpectedReason, update)
	if arch := spec.Arch; arch != "" && arch != hypershiftv1beta1.ArchitectureAMD64 {
		s.no(conditionValidArch, hypershiftv1beta1.NodePoolInvalidArchPlatform, fmt.Sprintf("spec.arch: the release has no images for %s, only for amd64", arch))
		return false, nil
	}
	s.yes(conditionValidArch, hypershiftv1beta1.AsExpectedReason, "")
	if problem := platformProblem(s.pool); problem != "" {
		s.no(conditionValidPlatform, hypershiftv1beta1.NodePoolValidationFailedReason, problem)
		return false, nil
	}
	s.yes(conditionValidPlatform, hypershiftv1beta1.AsExpectedReason, "")
	return true, nil
}

// findCluster reads the HostedCluster and ties the NodePool's life to it.
func (r *Reconciler) findCluster(ctx context.Context, s *scope) (bool, error) {
	hosted := &hypershiftv1beta1.HostedCluster{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: s.pool.Namespace, Name: s.pool.Spec.ClusterName}, hosted)
	if apierrors.IsNotFound(err) {
		s.no(hypershiftv1beta1.NodePoolReadyConditionType, hypershiftv1beta1.NodePoolNotFoundReason,
			fmt.Sprintf("spec.clusterName: there is no HostedCluster %s in namespace %s", s.pool.Spec.ClusterName, s.pool.Namespace))
		return false, nil
	}
	if err != nil {
		return false, wrap(err, "read hostedcluster "+s.pool.Spec.ClusterName)
	}
	s.hosted = hosted
	before := s.pool.DeepCopy()
	if err := controllerutil.SetOwnerReference(hosted, s.pool, r.Client.Scheme()); err != nil {
		return false, wrap(err, "own nodepool")
	}
	if len(before.OwnerReferences) == len(s.pool.OwnerReferences) {
		return hosted.DeletionTimestamp.IsZero(), nil
	}
	// The write answers with the stored status: the conditions noted so far are kept aside.
	status := s.pool.Status.DeepCopy()
	err = r.Client.Patch(ctx, s.pool, client.MergeFrom(before))
	s.pool.Status = *status
	return err == nil && hosted.DeletionTimestamp.IsZero(), wrap(err, "own nodepool")
}

func (r *Reconciler) resolveRelease(ctx context.Context, s *scope) (bool, error) {
	version, components, err := r.Releases.ReleaseComponents(ctx, s.namespace(), s.pool.Spec.Release.Image)
	if err != nil {
		s.no(hypershiftv1beta1.NodePoolValidReleaseImageConditionType, hypershiftv1beta1.NodePoolValidationFailedReason, "spec.release.image: "+err.Error())
		s.soon(recheck)
		return false, nil
	}
	s.yes(hypershiftv1beta1.NodePoolValidReleaseImageConditionType, hypershiftv1beta1.AsExpectedReason, "Using release image: "+s.pool.Spec.Release.Image)
	s.release = release{version, components}
	return true, nil
}

func (r *Reconciler) readConfigs(ctx context.Context, s *scope) (bool, error) {
	for _, ref := range s.pool.Spec.Config {
		config := &corev1.ConfigMap{}
		err := r.Client.Get(ctx, client.ObjectKey{Namespace: s.pool.Namespace, Name: ref.Name}, config)
		if client.IgnoreNotFound(err) != nil {
			return false, wrap(err, "read configmap "+ref.Name)
		}
		text, ok := config.Data[configKey]
		if err != nil || !ok {
			s.no(hypershiftv1beta1.NodePoolValidMachineConfigConditionType, hypershiftv1beta1.NodePoolValidationFailedReason,
				fmt.Sprintf("spec.config: there is no ConfigMap %s with the key %s", ref.Name, configKey))
			return false, nil
		}
		s.configs = append(s.configs, ignition.UserConfig{Name: ref.Name, Data: []byte(text)})
	}
	of := hashed{s.release.version, s.release.components, s.configs, s.hosted.Spec.PullSecret.Name, ""}
	if bundle := s.hosted.Spec.AdditionalTrustBundle; bundle != nil {
		of.TrustBundle = bundle.Name
	}
	var err error
	s.hash, err = hash(of)
	return err == nil, err
}

// awaitControlPlane waits for the hosted API: without it a host would be installed for nothing.
func (r *Reconciler) awaitControlPlane(ctx context.Context, s *scope) (bool, error) {
	plane := &hypershiftv1beta1.HostedControlPlane{}
	key := client.ObjectKey{Namespace: s.namespace(), Name: s.pool.Spec.ClusterName}
	err := r.Client.Get(ctx, key, plane)
	if client.IgnoreNotFound(err) != nil {
		return false, wrap(err, "read hostedcontrolplane "+key.String())
	}
	available := meta.IsStatusConditionTrue(plane.Status.Conditions, string(hypershiftv1beta1.KubeAPIServerAvailable))
	// Once it has been seen, a hosted API that restarts is no reason to stop: what is desired does not depend on it.
	if err != nil || !plane.Status.Initialized || !available && !s.isTrue(hypershiftv1beta1.NodePoolValidGeneratedPayloadConditionType) {
		s.no(hypershiftv1beta1.NodePoolValidGeneratedPayloadConditionType, reasonWaitingForControlPlane, "Waiting for the hosted API of "+key.String())
		return false, nil
	}
	s.plane = plane
	return true, nil
}
