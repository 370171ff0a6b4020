package host

import (
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"

	"github.com/slipway-io/slipway/services/api"
)

// StepType is one kind of work that a host is told to do.
type StepType string

// Steps that this appliance gives.
const (
	StepInventory        StepType = "inventory"
	StepInstall          StepType = "install"
	StepRebootForReclaim StepType = "reboot-for-reclaim"
	StepClean            StepType = "clean-disk"
)

// Step is work that is due; it is given again after Again when nothing came of it.
type Step struct {
	Type  StepType
	Again time.Duration
}

// Plan is what a host is told when it asks.
type Plan struct {
	Steps []Step
	// Exit ends the agent's runner, which then registers again.
	Exit bool
	// Next is when a host that cannot wait on the line should ask again.
	Next time.Duration
}

// NextSteps is the plan of an Agent's state.
func NextSteps(a *agentv1beta1.Agent) Plan {
	switch State(a) {
	case api.StateDiscovering, api.StateDiscoveringUnbound:
		if !inventoried(a) {
			return Plan{Steps: []Step{{StepInventory, 10 * time.Second}}, Next: time.Second}
		}
		if cleans(a) && len(failing(a.Status.ValidationsInfo)) == 0 {
			return Plan{Steps: []Step{{StepClean, 30 * time.Second}}, Next: time.Second}
		}
		return Plan{Next: time.Second}
	case api.StateKnownUnbound, api.StateInsufficientUnbound, api.StateInsufficient:
		plan := Plan{Steps: []Step{{StepInventory, time.Minute}}, Next: 3 * time.Second}
		if state := State(a); state == api.StateInsufficientUnbound && cleans(a) && len(failing(a.Status.ValidationsInfo)) == 0 {
			plan.Steps = append(plan.Steps, Step{StepClean, time.Minute})
		}
		return plan
	case api.StateKnown:
		return Plan{Next: time.Second}
	case api.StateInstalling:
		return Plan{Steps: []Step{{StepInstall, 30 * time.Second}}, Next: time.Second}
	case api.StateReclaiming:
		return Plan{Steps: []Step{{StepRebootForReclaim, 15 * time.Second}}, Next: time.Second}
	case api.StateBinding, api.StateUnbinding:
		return Plan{Exit: true, Next: time.Second}
	case api.StateInstallingInProgress, api.StateReclaimingRebooting:
		return Plan{Next: 5 * time.Second}
	case api.StateAddedToExistingCluster:
		return Plan{Next: 30 * time.Second}
	}
	return Plan{Next: 10 * time.Second}
}
