//go:build integration

package baremetalhost_test

import (
	"slices"
	"strings"
	"testing"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/bmc/scripted"
)

// testFirmwareSettings of all profiles: read, refused, set with the restart that they need.
func testFirmwareSettings(t *testing.T, w *scene) {
	for i, profile := range scripted.Profiles() {
		name := strings.ReplaceAll(strings.ToLower(profile.Name), " ", "-")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inner := w.with(t)
			m := inner.declare("bios-"+name, profile, scripted.Options{Seed: uint64(500 + i)}, func(m *machine) {
				// With the label the machine would wait for its image.
				m.host.Labels, m.host.Spec.Online = nil, true
			})
			m.settle()
		})
	}
}

// set the spec as a user does.
func (m *machine) set(settings metal3v1alpha1.DesiredSettingsMap) {
	m.Helper()
	hfs := &metal3v1alpha1.HostFirmwareSettings{}
	m.Must(m.Get(m.Context(), client.ObjectKeyFromObject(m.host), hfs))
	before := hfs.DeepCopy()
	hfs.Spec.Settings = settings
	m.Must(m.Patch(m.Context(), hfs, client.MergeFrom(before)))
}

func (m *machine) settled(what string, is func(*metal3v1alpha1.HostFirmwareSettings) bool) {
	m.Helper()
	hfs := &metal3v1alpha1.HostFirmwareSettings{}
	m.eventually(what, func() bool {
		return m.Get(m.Context(), client.ObjectKeyFromObject(m.host), hfs) == nil && is(hfs)
	})
}

func (m *machine) settle() {
	m.Helper()
	valid, changed := string(metal3v1alpha1.FirmwareSettingsValid), string(metal3v1alpha1.FirmwareSettingsChangeDetected)
	m.settled("settings are read", func(h *metal3v1alpha1.HostFirmwareSettings) bool {
		return h.Status.Settings["ProcTurboMode"] == "Enabled" && h.Status.Settings["NumCores"] == "16" && meta.IsStatusConditionTrue(h.Status.Conditions, valid)
	})
	m.powered(true)
	before := len(m.Starts())
	m.set(metal3v1alpha1.DesiredSettingsMap{"NoSuchThing": intstr.FromString("x"), "NumCores": intstr.FromInt32(8)})
	m.settled("unknown one is refused", func(h *metal3v1alpha1.HostFirmwareSettings) bool {
		condition := meta.FindStatusCondition(h.Status.Conditions, valid)
		return condition != nil && condition.Status == "False" && strings.Contains(condition.Message, "NoSuchThing")
	})
	m.set(metal3v1alpha1.DesiredSettingsMap{"ProcTurboMode": intstr.FromString("Sometimes"), "NumCores": intstr.FromInt32(8)})
	m.settled("a value that the schema does not have is refused", func(h *metal3v1alpha1.HostFirmwareSettings) bool {
		condition := meta.FindStatusCondition(h.Status.Conditions, valid)
		if condition == nil || condition.Status != "False" || condition.Reason != "ConfigurationError" || !strings.Contains(condition.Message, "ProcTurboMode") {
			return false
		}
		schema := &metal3v1alpha1.FirmwareSchema{}
		m.Must(m.Get(m.Context(), client.ObjectKey{Namespace: h.Status.FirmwareSchema.Namespace, Name: h.Status.FirmwareSchema.Name}, schema))
		return slices.Contains(schema.Spec.Schema["ProcTurboMode"].AllowableValues, "Disabled") && schema.Spec.HardwareVendor != ""
	})
	if m.BIOS("NumCores") != 16 {
		m.Error("half of a refused spec was set")
	}
	m.set(metal3v1alpha1.DesiredSettingsMap{"NumCores": intstr.FromInt32(8), "ProcTurboMode": intstr.FromString("Disabled")})
	m.settled("settings are taken", func(h *metal3v1alpha1.HostFirmwareSettings) bool {
		return h.Status.Settings["NumCores"] == "8" && h.Status.Settings["ProcTurboMode"] == "Disabled" &&
			meta.IsStatusConditionTrue(h.Status.Conditions, valid) && meta.IsStatusConditionFalse(h.Status.Conditions, changed)
	})
	m.eventually("runs again", func() bool {
		m.read()
		_, asked := m.host.Annotations[api.RebootAnnotation+"/firmware-settings"]
		return !asked && m.host.Status.PoweredOn
	})
	if starts := m.Starts(); len(starts) != before+1 {
		m.Errorf("started %v", starts)
	}
}
