// Package v1beta1 has the infrastructure kinds of Cluster API for hosts under an agent: AgentCluster, AgentMachine, AgentMachineTemplate.
// +kubebuilder:object:generate=true
// +groupName=capi-provider.agent-install.openshift.io
package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion of the kinds; the name is that of OpenShift's provider, so that existing manifests fit.
var GroupVersion = schema.GroupVersion{Group: "capi-provider.agent-install.openshift.io", Version: "v1beta1"}

// AddToScheme registers the kinds.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&AgentCluster{}, &AgentClusterList{},
		&AgentMachine{}, &AgentMachineList{},
		&AgentMachineTemplate{}, &AgentMachineTemplateList{},
	)
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
