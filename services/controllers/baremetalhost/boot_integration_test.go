//go:build integration

package baremetalhost_test

import (
	"strings"
	"testing"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/bmc/scripted"
)

// TestIntegrationStartedOnce by an appliance that ended after the machine was started and before the status said so.
func TestIntegrationStartedOnce(t *testing.T) {
	t.Parallel()
	w := start(t)
	for way, started := range map[string]string{"virtual-media": "Cd " + image, "pxe": "Pxe"} {
		inner := w.with(t)
		m := inner.declare("once-"+way, scripted.Profiles()[0], scripted.Options{Seed: 330}, func(m *machine) { m.host.Annotations[api.BootMethodWantedAnnotation] = way })
		m.provisioned()
		w.kill()
		m.read()
		m.host.Status.Provisioning.State, m.host.Status.Provisioning.Image = metal3v1alpha1.StateProvisioning, metal3v1alpha1.Image{}
		m.Must(m.Status().Update(t.Context(), m.host))
		w.run()
		m.state(metal3v1alpha1.StateProvisioned)
		if got := strings.Join(m.Starts(), ", "); got != started || m.host.Status.Provisioning.Image.URL != image {
			t.Errorf("%s: started from %s, %s", way, got, m.told())
		}
		m.delete()
		m.gone()
	}
}
