package host

import (
	"strings"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	conditionsv1 "github.com/openshift/custom-resource-status/conditions/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-io/slipway/services/api"
)

type verdict struct {
	status          corev1.ConditionStatus
	reason, message string
}

func yes(reason, message string) verdict { return verdict{corev1.ConditionTrue, reason, message} }
func no(reason, message string) verdict  { return verdict{corev1.ConditionFalse, reason, message} }
func unknown(reason, message string) verdict {
	return verdict{corev1.ConditionUnknown, reason, message}
}

// setConditions follows from the state alone, with the words of the assisted service.
func setConditions(a *agentv1beta1.Agent, seen Observed, input error) {
	synced := yes(agentv1beta1.SyncedOkReason, agentv1beta1.SyncedOkMsg)
	if input != nil {
		synced = no(agentv1beta1.InputErrorReason, agentv1beta1.InputErrorMsg+" "+input.Error())
	}
	type condition struct {
		kind conditionsv1.ConditionType
		is   verdict
	}
	state := State(a)
	all := []condition{
		{agentv1beta1.SpecSyncedCondition, synced},
		{agentv1beta1.ConnectedCondition, connectedVerdict(state, seen)},
		{agentv1beta1.RequirementsMetCondition, requirementsVerdict(a)},
		{agentv1beta1.ValidatedCondition, validatedVerdict(a)},
		{agentv1beta1.InstalledCondition, installedVerdict(a)},
		{agentv1beta1.BoundCondition, boundVerdict(state)},
	}
	if seen.Power != nil {
		all = append(all, condition{api.PowerControlledCondition, powerVerdict(a, *seen.Power)})
	}
	for _, c := range all {
		if state == "" {
			c.is = unknown(agentv1beta1.NotAvailableReason, agentv1beta1.NotAvailableMsg)
		}
		SetCondition(&a.Status.Conditions, c.kind, c.is.status, c.is.reason, c.is.message, seen.Now)
	}
}

// SetCondition changes times only together with the status, so that an unchanged condition is no write.
func SetCondition(conditions *[]conditionsv1.Condition, kind conditionsv1.ConditionType, status corev1.ConditionStatus,
	reason, message string, now time.Time) {
	at := metav1.NewTime(now.UTC().Truncate(time.Second))
	condition := conditionsv1.FindStatusCondition(*conditions, kind)
	if condition == nil {
		*conditions = append(*conditions, conditionsv1.Condition{Type: kind, LastTransitionTime: at, LastHeartbeatTime: at})
		condition = &(*conditions)[len(*conditions)-1]
	}
	if condition.Status != status {
		condition.LastTransitionTime, condition.LastHeartbeatTime = at, at
	}
	condition.Status, condition.Reason, condition.Message = status, reason, message
}

// connectedVerdict judges a host that runs the live system; an installed one is its Node's to judge.
func connectedVerdict(state string, seen Observed) verdict {
	installing := state == api.StateInstalling
	if state == api.StateDisconnected || state == api.StateDisconnectedUnbound || installing && !seen.connected() {
		return no(agentv1beta1.AgentDisconnectedReason, agentv1beta1.AgentDisonnectedMsg)
	}
	return yes(agentv1beta1.AgentConnectedReason, agentv1beta1.AgentConnectedMsg)
}

// inBetween is the verdict that binding and unbinding give to most conditions.
func inBetween(state string) (verdict, bool) {
	switch state {
	case api.StateBinding:
		return no(agentv1beta1.BindingReason, agentv1beta1.BindingMsg), true
	case api.StateUnbinding, api.StateReclaiming, api.StateReclaimingRebooting, api.StateUnbindingPendingUserAction:
		return no(agentv1beta1.UnbindingReason, agentv1beta1.UnbindingMsg), true
	}
	return verdict{}, false
}

func requirementsVerdict(a *agentv1beta1.Agent) verdict {
	if v, is := inBetween(State(a)); is {
		return v
	}
	switch state := State(a); state {
	case api.StateKnown, api.StateKnownUnbound:
		if !a.Spec.Approved {
			return no(agentv1beta1.AgentIsNotApprovedReason, agentv1beta1.AgentIsNotApprovedMsg)
		}
		return yes(agentv1beta1.AgentReadyReason, agentv1beta1.AgentReadyMsg)
	case api.StateInstalling, api.StateInstallingInProgress, api.StateInstallingPendingUser:
		return yes(agentv1beta1.AgentAlreadyInstallingReason, agentv1beta1.AgentAlreadyInstallingMsg)
	case api.StateAddedToExistingCluster, api.StateError:
		return yes(agentv1beta1.AgentInstallationStoppedReason, agentv1beta1.AgentInstallationStoppedMsg)
	}
	return no(agentv1beta1.AgentNotReadyReason, agentv1beta1.AgentNotReadyMsg)
}

func validatedVerdict(a *agentv1beta1.Agent) verdict {
	if v, is := inBetween(State(a)); is {
		return v
	}
	switch State(a) {
	case api.StateInsufficient, api.StateInsufficientUnbound:
		return no(agentv1beta1.ValidationsFailingReason,
			agentv1beta1.AgentValidationsFailingMsg+" "+strings.Join(failing(a.Status.ValidationsInfo), ","))
	case api.StateDiscovering, api.StateDiscoveringUnbound, api.StateDisconnected, api.StateDisconnectedUnbound:
		return unknown(agentv1beta1.ValidationsUnknownReason, agentv1beta1.AgentValidationsUnknownMsg)
	}
	return yes(agentv1beta1.ValidationsPassingReason, agentv1beta1.AgentValidationsPassingMsg)
}

func installedVerdict(a *agentv1beta1.Agent) verdict {
	if v, is := inBetween(State(a)); is {
		return v
	}
	info := a.Status.DebugInfo.StateInfo
	switch State(a) {
	case api.StateAddedToExistingCluster:
		return yes(agentv1beta1.InstalledReason, agentv1beta1.InstalledMsg+" "+info)
	case api.StateError:
		return no(agentv1beta1.InstallationFailedReason, agentv1beta1.InstallationFailedMsg+" "+info)
	case api.StateInstalling, api.StateInstallingInProgress, api.StateInstallingPendingUser:
		return no(agentv1beta1.InstallationInProgressReason, agentv1beta1.InstallationInProgressMsg+" "+info)
	}
	return no(agentv1beta1.InstallationNotStartedReason, agentv1beta1.InstallationNotStartedMsg)
}

func boundVerdict(state string) verdict {
	if state == api.StateUnbindingPendingUserAction {
		return no(agentv1beta1.UnbindingPendingUserActionReason, agentv1beta1.UnbindingPendingUserActionMsg)
	}
	if v, is := inBetween(state); is {
		return v
	}
	if unbound(state) {
		return no(agentv1beta1.UnboundReason, agentv1beta1.UnboundMsg)
	}
	return yes(agentv1beta1.BoundReason, agentv1beta1.BoundMsg)
}
