package host_test

import (
	"strings"
	"testing"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	"github.com/openshift/assisted-service/models"
	conditionsv1 "github.com/openshift/custom-resource-status/conditions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/host"
)

const iso = "http://[fd00::2]:8080/byapikey/u.t/1/x86_64/minimal.iso"

func TestPowerControlled(t *testing.T) {
	bmc := host.Power{BareMetalHost: "hosts/w0", Image: iso}
	broken := host.Power{BareMetalHost: "hosts/w0", Problem: "it has no BMC", Image: iso}
	nobody := host.Power{Image: iso}
	with := func(p host.Power, change func(*host.Power)) host.Power { change(&p); return p }
	for _, c := range []struct {
		name   string
		agent  *agentv1beta1.Agent
		power  host.Power
		status string
		reason string
		words  []string
	}{
		{"pool, BMC", in(api.StateKnownUnbound), bmc, "True", api.PowerBMCReason, []string{"hosts/w0"}},
		{"pool, no BMC", in(api.StateKnownUnbound), broken, "False", api.PowerNoBMCReason, []string{"Nothing needs to be switched", "it has no BMC"}},
		{"pool, undeclared", in(api.StateKnownUnbound), nobody, "False", api.PowerNoBMCReason, []string{"no BareMetalHost declares it"}},
		{"unbound, undeclared", in(api.StateUnbindingPendingUserAction), nobody, "False", api.PowerBootDiscoveryReason, []string{"Boot host ", " from " + iso}},
		{"unbound, no ISO", in(api.StateUnbindingPendingUserAction), host.Power{}, "False", api.PowerBootDiscoveryReason, []string{" from the network"}},
		{"unbound, no BMC", in(api.StateUnbindingPendingUserAction), broken, "False", api.PowerBootDiscoveryReason, []string{iso, "hosts/w0 cannot do it"}},
		{"unbound, BMC", in(api.StateUnbindingPendingUserAction), bmc, "True", api.PowerBMCReason, nil},
		{"waits for the medium", in(api.StateInstallingInProgress, bound, at(models.HostStageRebooting)), with(bmc, func(p *host.Power) { p.Medium = true }),
			"True", api.PowerWaitingReason, []string{"eject"}},
		{"astray", in(api.StateInstallingPendingUser, bound), with(bmc, func(p *host.Power) { p.Corrections = 1 }), "True", api.PowerCorrectedReason, []string{"starts it once from disk"}},
		{"astray again", in(api.StateInstallingPendingUser, bound), with(bmc, func(p *host.Power) { p.Corrections = 2 }), "False", api.PowerBootDiskReason, []string{"boot order"}},
		{"astray, undeclared", in(api.StateInstallingPendingUser, bound), nobody, "False", api.PowerBootDiskReason, []string{"take the discovery image out"}},
		{"was astray", in(api.StateAddedToExistingCluster, bound), with(bmc, func(p *host.Power) { p.Corrections = 1 }), "True", api.PowerCorrectedReason, []string{"look at the boot order"}},
	} {
		seen := here()
		seen.Power = &c.power
		if strings.HasPrefix(c.name, "unbound") {
			c.agent.Spec.ClusterDeploymentName = nil
		}
		host.Refresh(c.agent, seen)
		got := conditionsv1.FindStatusCondition(c.agent.Status.Conditions, api.PowerControlledCondition)
		if got == nil || string(got.Status) != c.status || got.Reason != c.reason {
			t.Errorf("%s (%s): %+v", c.name, host.State(c.agent), got)
			continue
		}
		for _, word := range c.words {
			if !strings.Contains(got.Message, word) {
				t.Errorf("%s: %q lacks %q", c.name, got.Message, word)
			}
		}
	}
}

func TestReady(t *testing.T) {
	now := time.Now()
	a := in(api.StateInstallingInProgress, bound, at(models.HostStageRebooting))
	began := metav1.NewTime(now.Add(-host.MediumPatience + time.Second))
	a.Status.Progress.StageStartTime = &began
	medium := host.Power{BareMetalHost: "hosts/w0", Medium: true}
	if !host.Ready(a, host.Power{}, now) || host.Ready(a, medium, now) || !host.Ready(a, medium, now.Add(2*time.Second)) {
		t.Error("a reboot waits for the medium, and not for ever")
	}
}
