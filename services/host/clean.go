package host

import (
	"slices"
	"strings"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	conditionsv1 "github.com/openshift/custom-resource-status/conditions/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/slipway-io/slipway/services/api"
)

// cleans says that the host's disk has to be wiped before a cluster may have it. A bound host's is about to be written anyway.
func cleans(a *agentv1beta1.Agent) bool {
	if a.Annotations[api.CleaningAnnotation] != "metadata" || !unbound(State(a)) || !inventoried(a) || a.Status.InstallationDiskID == "" {
		return false
	}
	condition := conditionsv1.FindStatusCondition(a.Status.Conditions, api.DiskCleanedCondition)
	return condition == nil || condition.Status != corev1.ConditionTrue || condition.Message != cleaned(a.Status.InstallationDiskID)
}

// cleaned names the disk, so that another one is another matter.
func cleaned(disk string) string {
	return "Partition tables and signatures of disk " + disk + " are wiped"
}

// cleaningProblem is why the last try did not work, empty when there was none or it was of another disk.
func cleaningProblem(a *agentv1beta1.Agent) string {
	condition := conditionsv1.FindStatusCondition(a.Status.Conditions, api.DiskCleanedCondition)
	if condition == nil || condition.Reason != api.CleaningFailedReason || !strings.Contains(condition.Message, a.Status.InstallationDiskID) {
		return ""
	}
	return condition.Message
}

// CleanEnded is the reply to clean-disk; disk is the id of the disk that it was about, which a failed step does not tell.
func CleanEnded(a *agentv1beta1.Agent, disk string, ok bool, message string, now time.Time) {
	if !unbound(State(a)) {
		return
	}
	if ok {
		SetCondition(&a.Status.Conditions, api.DiskCleanedCondition, corev1.ConditionTrue, api.CleanedReason, cleaned(disk), now)
		return
	}
	SetCondition(&a.Status.Conditions, api.DiskCleanedCondition, corev1.ConditionFalse, api.CleaningFailedReason,
		"Wiping disk "+a.Status.InstallationDiskID+" did not work: "+message+"; mend it, or set spec.automatedCleaningMode of the BareMetalHost to disabled", now)
}

// written forgets what was wiped: an installation is about to write the disk.
func written(a *agentv1beta1.Agent) {
	a.Status.Conditions = slices.DeleteFunc(a.Status.Conditions, func(c conditionsv1.Condition) bool { return c.Type == api.DiskCleanedCondition })
}
