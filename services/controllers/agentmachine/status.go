package agentmachine

import (
	"net/netip"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	conditionsv1 "github.com/openshift/custom-resource-status/conditions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	capiagentv1beta1 "github.com/slipway-io/slipway/services/api/capiagent/v1beta1"
	"github.com/slipway-io/slipway/services/host"
)

// Conditions of an AgentMachine, in the order in which they become true.
const (
	conditionReserved        = "AgentReserved"
	conditionSpecSynced      = "AgentSpecSynced"
	conditionValidated       = "AgentValidated"
	conditionRequirementsMet = "AgentRequirementsMet"
	conditionInstalled       = "Installed"
	conditionReady           = "Ready"
)

// Reasons of AgentReserved and Ready.
const (
	reasonAsExpected         = "AsExpected"
	reasonNoSuitableAgents   = "NoSuitableAgents"
	reasonInvalidSelector    = "InvalidAgentLabelSelector"
	reasonWaitingForCluster  = "WaitingForClusterInfrastructure"
	reasonWaitingForData     = "WaitingForBootstrapData"
	reasonInvalidData        = "InvalidBootstrapData"
	reasonAgentGone          = "AgentDeleted"
	reasonReleasing          = "Releasing"
	reasonInstallationNotYet = "InstallationInProgress"
)

func setCondition(machine *capiagentv1beta1.AgentMachine, kind string, is bool, reason, message string) {
	status := metav1.ConditionFalse
	if is {
		status = metav1.ConditionTrue
	}
	meta.SetStatusCondition(&machine.Status.Conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: machine.Generation,
	})
}

// waiting is the status of a machine that has no Agent.
func waiting(machine *capiagentv1beta1.AgentMachine, reason, message string) {
	setCondition(machine, conditionReserved, false, reason, message)
	setCondition(machine, conditionReady, false, reason, message)
	machine.Status.Ready = false
}

// follow copies what the claimed Agent says.
func follow(machine *capiagentv1beta1.AgentMachine, agent *agentv1beta1.Agent) {
	machine.Status.AgentRef = &capiagentv1beta1.AgentReference{Namespace: agent.Namespace, Name: agent.Name}
	machine.Status.Addresses = addresses(agent)
	setCondition(machine, conditionReserved, true, reasonAsExpected, "")
	for _, mirrored := range []struct {
		from conditionsv1.ConditionType
		to   string
	}{
		{agentv1beta1.SpecSyncedCondition, conditionSpecSynced},
		{agentv1beta1.ValidatedCondition, conditionValidated},
		{agentv1beta1.RequirementsMetCondition, conditionRequirementsMet},
		{agentv1beta1.InstalledCondition, conditionInstalled},
	} {
		condition := conditionsv1.FindStatusCondition(agent.Status.Conditions, mirrored.from)
		if condition == nil {
			continue
		}
		meta.SetStatusCondition(&machine.Status.Conditions, metav1.Condition{
			Type: mirrored.to, Status: metav1.ConditionStatus(condition.Status), Reason: condition.Reason, Message: condition.Message,
			ObservedGeneration: machine.Generation,
		})
	}
	// A host that boots from its disk is a machine; its Node is Cluster API's to judge.
	if host.Installed(agent) {
		machine.Status.Initialization.Provisioned = ptr.To(true)
	}
	machine.Status.Ready = ptr.Deref(machine.Status.Initialization.Provisioned, false)
	if machine.Status.Ready {
		setCondition(machine, conditionReady, true, reasonAsExpected, "")
		return
	}
	reason, message := notReady(machine, agent)
	setCondition(machine, conditionReady, false, reason, message)
}

// notReady is the first step that a host has not done.
func notReady(machine *capiagentv1beta1.AgentMachine, agent *agentv1beta1.Agent) (reason, message string) {
	for _, kind := range []string{conditionSpecSynced, conditionValidated, conditionRequirementsMet, conditionInstalled} {
		if c := meta.FindStatusCondition(machine.Status.Conditions, kind); c != nil && c.Status != metav1.ConditionTrue {
			return c.Reason, c.Message
		}
	}
	return reasonInstallationNotYet, agent.Status.DebugInfo.StateInfo
}

// addresses are those that the host's Node will have.
func addresses(agent *agentv1beta1.Agent) []clusterv1.MachineAddress {
	name := host.Hostname(agent)
	out := []clusterv1.MachineAddress{{Type: clusterv1.MachineHostName, Address: name}, {Type: clusterv1.MachineInternalDNS, Address: name}}
	for _, nic := range agent.Status.Inventory.Interfaces {
		for _, text := range append(append([]string{}, nic.IPV4Addresses...), nic.IPV6Addresses...) {
			prefix, err := netip.ParsePrefix(text)
			if err != nil || prefix.Addr().IsLinkLocalUnicast() || prefix.Addr().IsLoopback() {
				continue
			}
			out = append(out, clusterv1.MachineAddress{Type: clusterv1.MachineInternalIP, Address: prefix.Addr().String()})
		}
	}
	return out
}
