package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
)

// AgentReference names the Agent that a machine has claimed.
type AgentReference struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// AgentMachineSpec says which Agent may become the machine.
type AgentMachineSpec struct {
	// ProviderID is agent://<agent name>, as the Node carries it.
	// +optional
	ProviderID string `json:"providerID,omitempty"`
	// AgentLabelSelector limits the Agents; absent means any free one of the agent namespace.
	// +optional
	AgentLabelSelector *metav1.LabelSelector `json:"agentLabelSelector,omitempty"`
}

// AgentMachineInitialization follows the Cluster API contract v1beta2.
type AgentMachineInitialization struct {
	// +optional
	Provisioned *bool `json:"provisioned,omitempty"`
}

// AgentMachineStatus says which Agent was claimed and how far it is.
type AgentMachineStatus struct {
	// +optional
	Ready bool `json:"ready,omitempty"`
	// +optional
	Initialization AgentMachineInitialization `json:"initialization,omitempty,omitzero"`
	// +optional
	AgentRef *AgentReference `json:"agentRef,omitempty"`
	// +optional
	Addresses []clusterv1.MachineAddress `json:"addresses,omitempty"`
	// Conditions: AgentReserved, AgentSpecSynced, AgentValidated, AgentRequirementsMet, Installed, Ready.
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// AgentMachine is the infrastructure machine of Cluster API: one claimed Agent.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=agentmachines,scope=Namespaced
// +kubebuilder:metadata:labels="cluster.x-k8s.io/v1beta2=v1beta1"
type AgentMachine struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   AgentMachineSpec   `json:"spec,omitempty"`
	Status AgentMachineStatus `json:"status,omitempty"`
}

// AgentMachineList is a list of AgentMachine.
// +kubebuilder:object:root=true
type AgentMachineList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AgentMachine `json:"items"`
}

// AgentMachineTemplateResource is what a machine made from the template looks like.
type AgentMachineTemplateResource struct {
	// +optional
	ObjectMeta clusterv1.ObjectMeta `json:"metadata,omitempty,omitzero"`
	Spec       AgentMachineSpec     `json:"spec"`
}

// AgentMachineTemplateSpec holds the template; it does not change once made.
type AgentMachineTemplateSpec struct {
	Template AgentMachineTemplateResource `json:"template"`
}

// AgentMachineTemplate is cloned by MachineSets and MachineDeployments.
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=agentmachinetemplates,scope=Namespaced
// +kubebuilder:metadata:labels="cluster.x-k8s.io/v1beta2=v1beta1"
type AgentMachineTemplate struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec AgentMachineTemplateSpec `json:"spec,omitempty"`
}

// AgentMachineTemplateList is a list of AgentMachineTemplate.
// +kubebuilder:object:root=true
type AgentMachineTemplateList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AgentMachineTemplate `json:"items"`
}
