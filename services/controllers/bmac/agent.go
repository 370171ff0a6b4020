package bmac

import (
	"strings"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	"github.com/openshift/assisted-service/models"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-io/slipway/services/api"
)

// Annotations on a BareMetalHost that are its Agent's settings, and what comes before those with a key of their own.
const (
	prefix              = "bmac.agent-install.openshift.io"
	hostnameAnnotation  = prefix + "/hostname"
	roleAnnotation      = prefix + "/role"
	argsAnnotation      = prefix + "/installer-args"
	overridesAnnotation = prefix + "/ignition-config-overrides"
	agentLabelPrefix    = prefix + ".agent-label."
	nodeLabelPrefix     = prefix + ".node-label."
)

// Declare makes an Agent what its BareMetalHost says. A setting without an annotation is left to others, and one that would
// come too late is left as it is.
func Declare(agent *agentv1beta1.Agent, bmh *metal3v1alpha1.BareMetalHost) {
	if agent.Labels == nil {
		agent.Labels = map[string]string{}
	}
	agent.Labels[api.BMHLabel] = bmh.Name
	for key, value := range bmh.Annotations {
		if label, is := strings.CutPrefix(key, agentLabelPrefix); is {
			agent.Labels[label] = value
		}
	}
	if bmh.Spec.AutomatedCleaningMode == metal3v1alpha1.CleaningModeMetadata {
		metav1.SetMetaDataAnnotation(&agent.ObjectMeta, api.CleaningAnnotation, string(metal3v1alpha1.CleaningModeMetadata))
	} else {
		delete(agent.Annotations, api.CleaningAnnotation)
	}
	if placeOf(agent) != inDiscovery {
		return
	}
	spec := &agent.Spec
	spec.Approved = true
	copied := map[string]*string{
		hostnameAnnotation: &spec.Hostname, roleAnnotation: (*string)(&spec.Role),
		argsAnnotation: &spec.InstallerArgs, overridesAnnotation: &spec.IgnitionConfigOverrides,
	}
	for key, field := range copied {
		if value, is := bmh.Annotations[key]; is {
			*field = value
		}
	}
	if spec.Role == "" {
		spec.Role = models.HostRoleAutoAssign
	}
	for key, value := range bmh.Annotations {
		label, is := strings.CutPrefix(key, nodeLabelPrefix)
		if !is {
			continue
		}
		if spec.NodeLabels == nil {
			spec.NodeLabels = map[string]string{}
		}
		spec.NodeLabels[label] = value
	}
	if hints := bmh.Spec.RootDeviceHints; hints != nil && *hints != (metal3v1alpha1.RootDeviceHints{}) && len(agent.Status.Inventory.Disks) > 0 {
		spec.InstallationDiskID = diskFor(hints, agent.Status.Inventory.Disks)
	}
}
