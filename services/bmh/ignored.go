package bmh

import (
	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
)

// Field of a spec that changes nothing here, and what does it instead.
type Field struct{ Path, Instead string }

// Ignored fields of a spec, those that are given.
func Ignored(spec *metal3v1alpha1.BareMetalHostSpec) []Field {
	var fields []Field
	for _, field := range []struct {
		path, instead string
		given         bool
	}{
		{"spec.raid", "make volumes in the controller's own setup", spec.RAID != nil},
		{"spec.firmware", "HostFirmwareSettings of the host's name", spec.Firmware != nil},
		{"spec.taints", "taints of the NodePool", len(spec.Taints) > 0},
		{"spec.hardwareProfile", "spec.rootDeviceHints", spec.HardwareProfile != "" && spec.HardwareProfile != "unknown" && spec.HardwareProfile != "empty"},
		{"spec.userData", "config of the NodePool, or ignitionConfigOverride of the InfraEnv", spec.UserData != nil},
		{"spec.networkData", "an NMStateConfig", spec.NetworkData != nil},
		{"spec.preprovisioningNetworkDataName", "an NMStateConfig", spec.PreprovisioningNetworkDataName != ""},
		{"spec.metaData", "annotations bmac.agent-install.openshift.io/hostname and …/role", spec.MetaData != nil},
		{"spec.bootMode UEFISecureBoot", "it boots by UEFI: switch Secure Boot on in the firmware's setup or by HostFirmwareSettings", spec.BootMode == metal3v1alpha1.UEFISecureBoot},
	} {
		if field.given {
			fields = append(fields, Field{field.path, field.instead})
		}
	}
	return fields
}
