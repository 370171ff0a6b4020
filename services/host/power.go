package host

import (
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	"github.com/openshift/assisted-service/models"

	"github.com/slipway-io/slipway/services/api"
)

// MediumPatience is how long an installed host's reboot waits for its BMC to take the discovery medium out.
const MediumPatience = 90 * time.Second

// Power is who switches a host on and off.
type Power struct {
	// BareMetalHost is the host's namespace/name, empty when nobody declared one.
	BareMetalHost string
	// Problem is why its BMC is of no use now; empty together with a BareMetalHost says that it does as asked.
	Problem string
	// Medium says that the discovery image may still be what the BMC boots.
	Medium bool
	// Corrections is how often the installed host came back into the discovery image and was sent to its disk.
	Corrections int
}

// BMC says that a BMC switches the host.
func (p Power) BMC() bool { return p.BareMetalHost != "" && p.Problem == "" }

// Ready says that an installed host may reboot now: no medium is in its way, or it has waited long enough.
func Ready(a *agentv1beta1.Agent, power Power, now time.Time) bool {
	since := a.Status.Progress.StageStartTime
	return !power.Medium || a.Status.Progress.CurrentStage == models.HostStageRebooting && since != nil && now.Sub(since.Time) >= MediumPatience
}

// Waits is what an installed host's reboot waits for, in the words of its stage.
func Waits(power Power) string {
	return "waiting for the BMC of BareMetalHost " + power.BareMetalHost + " to eject the discovery image"
}

// Reclaims says that the BMC brings a host back into the discovery image, so that its operating system is not asked to.
func Reclaims(a *agentv1beta1.Agent, power Power) bool {
	return State(a) == api.StateReclaiming && power.BMC()
}
