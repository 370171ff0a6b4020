//go:build integration

package baremetalhost_test

import (
	"os"
	"testing"
	"time"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"

	"github.com/slipway-io/slipway/services/bmc"
	"github.com/slipway-io/slipway/services/bmc/scripted"
	"github.com/slipway-io/slipway/services/bmh"
)

// TestIntegrationOutage: BMCs are gone for a while and come back. SLIPWAY_OUTAGE is how long, such as 10m: then the power is polled
// as the appliance does.
func TestIntegrationOutage(t *testing.T) {
	t.Parallel()
	outage, poll := 3*time.Second, time.Second
	if text := os.Getenv("SLIPWAY_OUTAGE"); text != "" {
		var err error
		if outage, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
		poll = time.Minute
	}
	w := startPolling(t, poll)
	var machines []*machine
	for i, name := range []string{"outage-a", "outage-b", "outage-c"} {
		m := w.declare(name, scripted.Profiles()[i], scripted.Options{Seed: uint64(600 + i)}, nil)
		m.provisioned()
		machines = append(machines, m)
	}
	down := time.Now()
	for _, m := range machines {
		m.Fault(dead(true))
	}
	// A poll has a jitter of a tenth, and one silent poll is tried again before it is told.
	for _, m := range machines {
		m.within(poll+poll/10+15*time.Second, "failure is told", func() bool { m.read(); return bmh.FailureKind(m.host.Status) == bmc.Unreachable })
		t.Logf("%s: told %s after the BMC went: %s", m.host.Name, time.Since(down).Round(100*time.Millisecond), m.host.Status.ErrorMessage)
	}
	time.Sleep(time.Until(down.Add(outage)))
	back := time.Now()
	for _, m := range machines {
		m.Fault(dead(false))
	}
	for _, m := range machines {
		m.within(poll+poll/10+15*time.Second, "recovery", func() bool {
			m.read()
			return m.host.Status.OperationalStatus == metal3v1alpha1.OperationalStatusOK && m.host.Status.ErrorMessage == ""
		})
		t.Logf("%s: well %s after the BMC came back, which was gone for %s", m.host.Name, time.Since(back).Round(100*time.Millisecond), back.Sub(down).Round(time.Second))
		if starts := m.Starts(); len(starts) != 1 || m.Power() != "On" || m.host.Status.Provisioning.State != metal3v1alpha1.StateProvisioned {
			t.Errorf("power %s, started from %v, %s", m.Power(), starts, m.told())
		}
	}
}
