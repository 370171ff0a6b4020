//go:build integration

package baremetalhost_test

import (
	"encoding/json"
	"strings"
	"testing"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	eventsv1 "k8s.io/api/events/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/bmc/scripted"
)

// TestIntegrationHosts whose controllers nobody ends: many things at a time, each with hosts of its own.
func TestIntegrationHosts(t *testing.T) {
	t.Parallel()
	w := start(t)
	t.Run("with", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T, *scene){
			"Life": testLife, "Annotations": testAnnotations, "Faults": testFaults, "DeletionEnds": testDeletionEnds, "FirmwareSettings": testFirmwareSettings,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, w.with(t))
			})
		}
	})
	w.secretive(t)
}

// testLife of hosts of all profiles: from registering to being gone, by way of an installed system and back.
func testLife(t *testing.T, w *scene) {
	machines := map[string]*machine{}
	for i, profile := range scripted.Profiles() {
		name := strings.ReplaceAll(strings.ToLower(profile.Name), " ", "-")
		machines[name] = w.declare(name, profile, scripted.Options{Seed: uint64(i + 1)}, nil)
	}
	t.Run("lives", func(t *testing.T) {
		for name, m := range machines {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				m.scene = w.with(t)
				m.live(t)
			})
		}
	})
	for name, m := range machines {
		if counts := m.Counts(); counts.AtOnce > 2 || counts.Sessions > 1 || counts.WrongLogins > 0 {
			t.Errorf("%s: %d requests at a time, %d sessions, %d wrong logins", name, counts.AtOnce, counts.Sessions, counts.WrongLogins)
		}
	}
}

func (m *machine) live(t *testing.T) {
	m.state(metal3v1alpha1.StateAvailable)
	m.well()
	data := &metal3v1alpha1.HardwareData{}
	m.Must(m.Get(t.Context(), client.ObjectKeyFromObject(m.host), data))
	found := data.Spec.HardwareDetails
	if found == nil || len(found.NIC) == 0 || len(found.Storage) != 2 || found.RAMMebibytes != 65536 || m.host.Status.HardwareDetails == nil || data.Annotations[api.AssetTagAnnotation] == "" {
		t.Fatalf("hardware %+v", data)
	}
	// To be on, and its image is still to come: its disk is not what it is to run.
	m.edit(func(h *metal3v1alpha1.BareMetalHost) { h.Spec.Online = true })
	polled := m.Counts().Requests + 2
	m.eventually("polls", func() bool { return m.Counts().Requests > polled })
	if m.Power() != "Off" || len(m.Starts()) > 0 {
		t.Errorf("power %s before the image, started from %v", m.Power(), m.Starts())
	}
	// Into the discovery image.
	m.edit(func(h *metal3v1alpha1.BareMetalHost) { h.Spec.Image = liveISO(image) })
	m.state(metal3v1alpha1.StateProvisioned)
	m.read()
	if got := strings.Join(m.Starts(), ", "); got != "Cd "+image || !m.host.Status.PoweredOn || !strings.HasPrefix(m.host.Annotations[api.BootMethodAnnotation], "virtual-media: ") {
		t.Fatalf("started from %s; %s", got, m.told())
	}
	// Installed: the medium goes before the reboot.
	m.annotate(api.BootImageAnnotation, api.BootImageInstalled)
	m.eventually("medium ejected", func() bool { m.read(); return m.host.Annotations[api.MediumEjectedAnnotation] != "" })
	// Back into discovery, as bmac does it.
	m.edit(func(h *metal3v1alpha1.BareMetalHost) {
		delete(h.Annotations, api.BootImageAnnotation)
		h.Annotations[api.RebootAnnotationBMAC] = `{"mode":"hard"}`
	})
	m.eventually("off", func() bool { m.read(); return !m.host.Status.PoweredOn })
	m.bare(api.RebootAnnotationBMAC)
	m.eventually("on again", func() bool { m.read(); return m.host.Status.PoweredOn })
	m.eventually("medium in", func() bool { m.read(); return m.host.Annotations[api.MediumEjectedAnnotation] == "" })
	if got := strings.Join(m.Starts(), ", "); got != "Cd "+image+", Cd "+image {
		t.Fatalf("started from %s", got)
	}
	// Power follows the spec.
	m.edit(func(h *metal3v1alpha1.BareMetalHost) { h.Spec.Online = false })
	m.eventually("off", func() bool { m.read(); return !m.host.Status.PoweredOn })
	if m.host.Status.Provisioning.State != metal3v1alpha1.StateProvisioned {
		t.Fatal(m.told())
	}
	m.delete()
	m.gone()
	if left := m.Media(); len(left) != 0 || m.Power() != "Off" {
		t.Errorf("media %v, power %s are left", left, m.Power())
	}
}

// secretive: no object but the Secrets has a password.
func (w *scene) secretive(t *testing.T) {
	t.Helper()
	for _, list := range []client.ObjectList{
		&eventsv1.EventList{}, &metal3v1alpha1.BareMetalHostList{}, &metal3v1alpha1.HardwareDataList{}, &metal3v1alpha1.HostFirmwareSettingsList{}, &metal3v1alpha1.FirmwareSchemaList{},
	} {
		w.Must(w.List(t.Context(), list))
		text, err := json.Marshal(list)
		w.Must(err)
		if strings.Contains(string(text), password) {
			t.Errorf("%T has a password", list)
		}
	}
}
