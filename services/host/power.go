package host

import (
	"fmt"
	"strings"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	"github.com/openshift/assisted-service/models"

	"github.com/slipway-io/slipway/services/api"
)

// MediumPatience is how long an installed host's reboot waits for its BMC to take the discovery medium out.
const MediumPatience = 90 * time.Second

// lastCorrection is the number of corrections at which a boot order is for people to mend.
const lastCorrection = 2

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
	// Image is the URL of the discovery ISO, empty when there is none. It has a token: it goes into objects, never into a log.
	Image string
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

// powerVerdict is who switches the host, and what people have to do where nobody else can.
func powerVerdict(a *agentv1beta1.Agent, power Power) verdict {
	state := State(a)
	switch {
	case state == api.StateInstallingPendingUser:
		return bootVerdict(a, power)
	case state == api.StateInstallingInProgress && power.Medium && a.Status.Progress.CurrentStage == models.HostStageRebooting:
		return yes(api.PowerWaitingReason, "The disk is written; "+Waits(power))
	case power.BMC() && power.Corrections > 0 && Installed(a):
		return yes(api.PowerCorrectedReason, fmt.Sprintf("The installed host came back into the discovery image, and the BMC of BareMetalHost %s started it from its disk; "+
			"look at the boot order of its firmware", power.BareMetalHost))
	case power.BMC():
		return yes(api.PowerBMCReason, "The BMC of BareMetalHost "+power.BareMetalHost+" switches the host")
	case state == api.StateUnbindingPendingUserAction, state == api.StateDisconnected, state == api.StateDisconnectedUnbound:
		return no(api.PowerBootDiscoveryReason, fmt.Sprintf("Boot host %s from %s; %s", machineName(a), from(power.Image), hands(power)))
	case power.BareMetalHost != "":
		return no(api.PowerNoBMCReason, "Nothing needs to be switched now; "+hands(power))
	}
	return no(api.PowerNoBMCReason, "Nothing needs to be switched now; people switch the host, as no BareMetalHost declares it")
}

// bootVerdict is of an installed host that did not boot its disk.
func bootVerdict(a *agentv1beta1.Agent, power Power) verdict {
	disk := a.Status.InstallationDiskID
	switch {
	case power.BMC() && power.Corrections < lastCorrection:
		return yes(api.PowerCorrectedReason, fmt.Sprintf("The installed host did not boot from its disk; the BMC of BareMetalHost %s starts it once from disk %s",
			power.BareMetalHost, disk))
	case power.BMC():
		return no(api.PowerBootDiskReason, fmt.Sprintf("Boot host %s from its disk %s: it did not do so although no medium is left and its BMC started it from there; "+
			"put the disk first in the boot order of its firmware and restart it", machineName(a), disk))
	}
	return no(api.PowerBootDiskReason, fmt.Sprintf("Boot host %s from its disk %s: take the discovery image out and put the disk first in the boot order of its firmware; %s",
		machineName(a), disk, hands(power)))
}

// hands says why people have to do it.
func hands(power Power) string {
	if power.BareMetalHost == "" {
		return "no BareMetalHost with a BMC does it"
	}
	return "BareMetalHost " + power.BareMetalHost + " cannot do it: " + power.Problem
}

func from(image string) string {
	if image == "" {
		return "the network"
	}
	return image
}

// machineName tells a machine in a rack: its name, serial number and first MAC address.
func machineName(a *agentv1beta1.Agent) string {
	name := Hostname(a)
	var marks []string
	if serial := a.Status.Inventory.SystemVendor.SerialNumber; serial != "" {
		marks = append(marks, "serial "+serial)
	}
	if macs := MACs(a.Status.Inventory); len(macs) > 0 {
		marks = append(marks, "MAC "+macs[0])
	}
	if len(marks) == 0 {
		return name
	}
	return name + " (" + strings.Join(marks, ", ") + ")"
}
