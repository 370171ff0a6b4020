package agentmachine

import (
	"strings"
	"testing"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	conditionsv1 "github.com/openshift/custom-resource-status/conditions/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/slipway-io/slipway/services/api"
)

// free is an Agent that may be claimed, changed by the given functions.
func free(name string, age time.Duration, change ...func(*agentv1beta1.Agent)) agentv1beta1.Agent {
	agent := agentv1beta1.Agent{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{"size": "large"},
		CreationTimestamp: metav1.NewTime(time.Unix(1_700_000_000, 0).Add(-age)),
	}}
	agent.Spec.Approved = true
	agent.Status.DebugInfo.State = api.StateKnownUnbound
	condition(agentv1beta1.ConnectedCondition, corev1.ConditionTrue)(&agent)
	condition(agentv1beta1.ValidatedCondition, corev1.ConditionTrue)(&agent)
	for _, c := range change {
		c(&agent)
	}
	return agent
}

func condition(kind conditionsv1.ConditionType, status corev1.ConditionStatus) func(*agentv1beta1.Agent) {
	return func(a *agentv1beta1.Agent) {
		conditionsv1.SetStatusConditionNoHeartbeat(&a.Status.Conditions, conditionsv1.Condition{Type: kind, Status: status, Reason: "Test"})
	}
}

func state(state string) func(*agentv1beta1.Agent) {
	return func(a *agentv1beta1.Agent) { a.Status.DebugInfo.State = state }
}

func TestPick(t *testing.T) {
	now := metav1.Now()
	large := labels.SelectorFromSet(labels.Set{"size": "large"})
	for _, c := range []struct {
		name     string
		agents   []agentv1beta1.Agent
		selector labels.Selector
		want     string
		problem  string
	}{
		{name: "none", problem: "there are no Agents"},
		{name: "free", agents: []agentv1beta1.Agent{free("a", 0)}, want: "a"},
		{name: "oldest", agents: []agentv1beta1.Agent{free("a", 0), free("c", time.Hour), free("b", time.Minute)}, want: "c"},
		{name: "same age by name", agents: []agentv1beta1.Agent{free("b", 0), free("a", 0)}, want: "a"},
		{name: "not selected", agents: []agentv1beta1.Agent{free("a", 0, func(a *agentv1beta1.Agent) { a.Labels = nil })}, selector: large,
			problem: "none of 1 Agents is free and fits: 1 not selected by the labels"},
		{name: "not approved", agents: []agentv1beta1.Agent{free("a", 0, func(a *agentv1beta1.Agent) { a.Spec.Approved = false })}, problem: "1 not approved"},
		{name: "bound by hand", agents: []agentv1beta1.Agent{free("a", 0, func(a *agentv1beta1.Agent) {
			a.Spec.ClusterDeploymentName = &agentv1beta1.ClusterReference{Name: "x"}
		})}, problem: "1 bound already"},
		{name: "claimed", agents: []agentv1beta1.Agent{free("a", 0, func(a *agentv1beta1.Agent) { a.Labels[api.AgentMachineRefLabel] = "m" })},
			problem: "1 bound already"},
		{name: "being deleted", agents: []agentv1beta1.Agent{free("a", 0, func(a *agentv1beta1.Agent) { a.DeletionTimestamp = &now })},
			problem: "1 being deleted"},
		{name: "disconnected", agents: []agentv1beta1.Agent{free("a", 0, condition(agentv1beta1.ConnectedCondition, corev1.ConditionFalse))},
			problem: "1 not connected"},
		{name: "unknown validations", agents: []agentv1beta1.Agent{free("a", 0, condition(agentv1beta1.ValidatedCondition, corev1.ConditionUnknown))},
			problem: "1 not valid"},
		{name: "still reclaiming", agents: []agentv1beta1.Agent{free("a", 0, state(api.StateReclaiming))}, problem: "1 in state reclaiming"},
		{name: "many", agents: []agentv1beta1.Agent{
			free("a", 0, state(api.StateReclaiming)), free("b", 0, func(a *agentv1beta1.Agent) { a.Spec.Approved = false }),
			free("c", 0, func(a *agentv1beta1.Agent) { a.Spec.Approved = false }),
		}, problem: "none of 3 Agents is free and fits: 1 in state reclaiming, 2 not approved"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.selector == nil {
				c.selector = labels.Everything()
			}
			agent, problem := pick(c.agents, c.selector)
			got := ""
			if agent != nil {
				got = agent.Name
			}
			if got != c.want || !strings.Contains(problem, c.problem) || (problem == "") != (agent != nil) {
				t.Errorf("picked %q, problem %q", got, problem)
			}
		})
	}
}

func TestReleased(t *testing.T) {
	for state, want := range map[string]bool{
		"": true, api.StateKnownUnbound: true, api.StateDiscoveringUnbound: true, api.StateInsufficientUnbound: true,
		api.StateDisconnectedUnbound: true, api.StateUnbindingPendingUserAction: true,
		api.StateBinding: false, api.StateUnbinding: false, api.StateReclaiming: false, api.StateReclaimingRebooting: false,
		api.StateAddedToExistingCluster: false, api.StateInstalling: false, api.StateError: false,
	} {
		agent := &agentv1beta1.Agent{}
		agent.Status.DebugInfo.State = state
		if got := released(agent); got != want {
			t.Errorf("%s: %t", state, got)
		}
	}
}
