package bmh

import (
	"strings"
	"testing"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
)

func TestIgnored(t *testing.T) {
	for want, spec := range map[string]metal3v1alpha1.BareMetalHostSpec{
		"":                                 {Online: true, HardwareProfile: "unknown", BootMode: metal3v1alpha1.UEFI, Architecture: "x86_64", AutomatedCleaningMode: metal3v1alpha1.CleaningModeMetadata},
		"spec.raid spec.firmware":          {RAID: &metal3v1alpha1.RAIDConfig{}, Firmware: &metal3v1alpha1.FirmwareConfig{}},
		"spec.taints spec.hardwareProfile": {Taints: []corev1.Taint{{Key: "a"}}, HardwareProfile: "dell"},
		"spec.userData spec.metaData":      {UserData: &corev1.SecretReference{}, MetaData: &corev1.SecretReference{}},
		"spec.bootMode UEFISecureBoot":     {BootMode: metal3v1alpha1.UEFISecureBoot},
		"spec.networkData spec.preprovisioningNetworkDataName": {NetworkData: &corev1.SecretReference{}, PreprovisioningNetworkDataName: "n"},
	} {
		var paths []string
		for _, field := range Ignored(&spec) {
			paths = append(paths, field.Path)
			if field.Instead == "" {
				t.Errorf("%s: nothing does it instead", field.Path)
			}
		}
		if got := strings.Join(paths, " "); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
