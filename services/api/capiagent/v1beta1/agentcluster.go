package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
)

// CACertificateReference names the Secret whose ca.crt signs the Ignition endpoint.
type CACertificateReference struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
}

// IgnitionEndpoint is where the machines of a cluster fetch their Ignition.
type IgnitionEndpoint struct {
	// URL is an absolute https URL.
	URL string `json:"url"`
	// +optional
	CaCertificateReference *CACertificateReference `json:"caCertificateReference,omitempty"`
}

// AgentClusterSpec is what the owner of a cluster asks of the hosts' platform.
type AgentClusterSpec struct {
	// +optional
	IgnitionEndpoint *IgnitionEndpoint `json:"ignitionEndpoint,omitempty"`
	// ControlPlaneEndpoint is where the hosted kube-apiserver answers.
	// +optional
	ControlPlaneEndpoint clusterv1.APIEndpoint `json:"controlPlaneEndpoint,omitempty,omitzero"`
}

// AgentClusterInitialization follows the Cluster API contract v1beta2.
type AgentClusterInitialization struct {
	// +optional
	Provisioned *bool `json:"provisioned,omitempty"`
}

// AgentClusterStatus is what the platform has done for the cluster.
type AgentClusterStatus struct {
	// +optional
	Ready bool `json:"ready,omitempty"`
	// +optional
	Initialization AgentClusterInitialization `json:"initialization,omitempty,omitzero"`
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// AgentCluster is the infrastructure cluster of Cluster API for hosts under an agent.
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=agentclusters,scope=Namespaced
// +kubebuilder:metadata:labels="cluster.x-k8s.io/v1beta2=v1beta1"
type AgentCluster struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   AgentClusterSpec   `json:"spec,omitempty"`
	Status AgentClusterStatus `json:"status,omitempty"`
}

// AgentClusterList is a list of AgentCluster.
// +kubebuilder:object:root=true
type AgentClusterList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AgentCluster `json:"items"`
}
