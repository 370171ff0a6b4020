package agentmachine

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	conditionsv1 "github.com/openshift/custom-resource-status/conditions/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/host"
)

// pick chooses the free Agent that has waited longest; without one it says why none of them will do.
func pick(agents []agentv1beta1.Agent, selector labels.Selector) (*agentv1beta1.Agent, string) {
	var chosen *agentv1beta1.Agent
	unfit := map[string]int{}
	for i := range agents {
		agent := &agents[i]
		if problem := misfit(agent, selector); problem != "" {
			unfit[problem]++
			continue
		}
		if chosen == nil || earlier(agent, chosen) < 0 {
			chosen = agent
		}
	}
	if chosen != nil {
		return chosen, ""
	}
	if len(agents) == 0 {
		return nil, "there are no Agents"
	}
	var reasons []string
	for _, problem := range slices.Sorted(maps.Keys(unfit)) {
		reasons = append(reasons, fmt.Sprintf("%d %s", unfit[problem], problem))
	}
	return nil, fmt.Sprintf("none of %d Agents is free and fits: %s", len(agents), strings.Join(reasons, ", "))
}

func earlier(a, b *agentv1beta1.Agent) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}

// misfit is why an Agent cannot be claimed, in words that follow a number; empty when it can.
func misfit(agent *agentv1beta1.Agent, selector labels.Selector) string {
	switch {
	case !agent.DeletionTimestamp.IsZero():
		return "being deleted"
	case !selector.Matches(labels.Set(agent.Labels)):
		return "not selected by the labels"
	case agent.Labels[api.AgentMachineRefLabel] != "" || host.Bound(agent):
		return "bound already"
	case !agent.Spec.Approved:
		return "not approved"
	case !isTrue(agent, agentv1beta1.ConnectedCondition):
		return "not connected"
	case !isTrue(agent, agentv1beta1.ValidatedCondition):
		return "not valid"
	case host.State(agent) != api.StateKnownUnbound:
		return "in state " + host.State(agent)
	}
	return ""
}

func isTrue(agent *agentv1beta1.Agent, kind conditionsv1.ConditionType) bool {
	condition := conditionsv1.FindStatusCondition(agent.Status.Conditions, kind)
	return condition != nil && condition.Status == corev1.ConditionTrue
}

// released says that a host which was given up needs no more waiting for.
func released(agent *agentv1beta1.Agent) bool {
	switch host.State(agent) {
	case "", api.StateDiscoveringUnbound, api.StateKnownUnbound, api.StateInsufficientUnbound, api.StateDisconnectedUnbound,
		api.StateUnbindingPendingUserAction:
		return true
	}
	return false
}
