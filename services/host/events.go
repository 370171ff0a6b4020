package host

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	"github.com/openshift/assisted-service/models"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-io/slipway/services/api"
)

// Register is a live system's first word. A host whose disk should have booted is told so once and then refused.
func Register(a *agentv1beta1.Agent) error {
	info := "Waiting for host to send hardware details"
	switch state := State(a); {
	case state == api.StateInstallingPendingUser:
		return &Refusal{http.StatusForbidden, "the host is installed and has to boot from its disk; fix its boot order and reboot it"}
	case Installed(a):
		setState(a, api.StateInstallingPendingUser, "Expected the host to boot from disk, but it booted the installation image - "+
			"please reboot and fix boot order to boot from disk "+a.Status.InstallationDiskID)
		return nil
	case state == api.StateInstalling || state == api.StateInstallingInProgress:
		info = "The host restarted during the installation, which starts over; waiting for host to send hardware details"
	}
	a.Status.Inventory.ReportTime = nil
	a.Status.Progress = agentv1beta1.HostProgressInfo{}
	a.Status.ValidationsInfo = nil
	setState(a, idle(a), info)
	return nil
}

// CheckIn is any poll: it ends a disconnection, and an installed system's first poll says that its Ignition has run.
func CheckIn(a *agentv1beta1.Agent, installed bool, now time.Time) {
	switch state := State(a); {
	case state == api.StateDisconnected || state == api.StateDisconnectedUnbound:
		setState(a, idle(a), "The host is back")
	case installed && state == api.StateUnbindingPendingUserAction && !Bound(a):
		markReclaim(a, now)
		setState(a, api.StateReclaiming, "The installed host is back; it is preparing to reboot into the discovery image")
	case installed && Bound(a) && booting(a):
		setState(a, api.StateInstallingInProgress, string(models.HostStageConfiguring))
		setStage(a, models.HostStageConfiguring, "", now)
	}
}

// booting says that an installed system's word is news: whatever was reported last, its disk has booted.
func booting(a *agentv1beta1.Agent) bool {
	switch State(a) {
	case api.StateInstallingInProgress, api.StateInstallingPendingUser:
		return stageIndex(a.Status.Progress.CurrentStage) < stageIndex(models.HostStageConfiguring)
	}
	return false
}

// SetInventory stores what the host says that it is.
func SetInventory(a *agentv1beta1.Agent, inventory agentv1beta1.HostInventory, need Requirements, now time.Time) error {
	state := State(a)
	if !preInstall(state) && !unbound(state) {
		return &Refusal{http.StatusConflict, fmt.Sprintf("an inventory is not taken in state %s", state)}
	}
	if !SameMachine(a.Status.Inventory, inventory) {
		return &Refusal{http.StatusConflict, fmt.Sprintf("host id %s belongs to a machine with other MAC addresses (%s)",
			a.Name, strings.Join(MACs(a.Status.Inventory), ", "))}
	}
	for i := range inventory.Disks {
		judgeDisk(&inventory.Disks[i], need)
	}
	inventory.ReportTime = a.Status.Inventory.ReportTime
	if inventoried(a) && equality.Semantic.DeepEqual(inventory, a.Status.Inventory) {
		return nil
	}
	at := metav1.NewTime(now.UTC().Truncate(time.Second))
	inventory.ReportTime = &at
	a.Status.Inventory = inventory
	return nil
}

// MACs are the addresses of an inventory's interfaces in lower case.
func MACs(inventory agentv1beta1.HostInventory) []string {
	var macs []string
	for _, nic := range inventory.Interfaces {
		if nic.MacAddress != "" {
			macs = append(macs, strings.ToLower(nic.MacAddress))
		}
	}
	return macs
}

// SameMachine says that two inventories may be of one machine: they share a MAC address, or one has none.
func SameMachine(a, b agentv1beta1.HostInventory) bool { return shareMAC(MACs(a), MACs(b)) }

// KnowsMACs says that a host with these MAC addresses may be this Agent.
func KnowsMACs(a *agentv1beta1.Agent, macs []string) bool {
	return shareMAC(MACs(a.Status.Inventory), macs)
}

func shareMAC(before, now []string) bool {
	if len(before) == 0 || len(now) == 0 {
		return true
	}
	for _, mac := range before {
		for _, other := range now {
			if strings.EqualFold(mac, other) {
				return true
			}
		}
	}
	return false
}

// Progress is a stage that the host reports itself.
func Progress(a *agentv1beta1.Agent, stage models.HostStage, info string, now time.Time) error {
	switch State(a) {
	case api.StateInstalling, api.StateInstallingInProgress, api.StateInstallingPendingUser:
	default:
		return &Refusal{http.StatusConflict, fmt.Sprintf("stage %q does not fit state %s", stage, State(a))}
	}
	if stage == models.HostStageFailed {
		fail(a, string(models.HostStageFailed)+" - "+info)
		return nil
	}
	to, from := stageIndex(stage), stageIndex(a.Status.Progress.CurrentStage)
	if to < 0 || to < from {
		return &Refusal{http.StatusConflict, fmt.Sprintf("stage %q does not follow %q", stage, a.Status.Progress.CurrentStage)}
	}
	if to > stageIndex(models.HostStageRebooting) {
		return &Refusal{http.StatusConflict, fmt.Sprintf("stage %q is not the host's to report", stage)}
	}
	setStage(a, stage, info, now)
	if stage == models.HostStageRebooting && info != "" {
		setState(a, api.StateInstallingInProgress, string(stage)+", "+info)
		return nil
	}
	setState(a, api.StateInstallingInProgress, string(stage))
	return nil
}

// InstallEnded is the reply to the install step.
func InstallEnded(a *agentv1beta1.Agent, ok bool, message string) {
	installing := State(a) == api.StateInstalling || State(a) == api.StateInstallingInProgress
	if ok || !installing || afterReboot(a) || strings.Contains(message, "already in use") {
		return
	}
	fail(a, message)
}

// ReclaimEnded is the reply to reboot-for-reclaim.
func ReclaimEnded(a *agentv1beta1.Agent, ok bool, message string, now time.Time) {
	if State(a) != api.StateReclaiming {
		return
	}
	if !ok {
		setState(a, api.StateUnbindingPendingUserAction, "Wiping the disk and rebooting did not work: "+message)
		return
	}
	a.Status.Progress = agentv1beta1.HostProgressInfo{}
	markReclaim(a, now)
	setState(a, api.StateReclaimingRebooting, "Host is rebooting into the discovery image")
}

func fail(a *agentv1beta1.Agent, message string) {
	setState(a, api.StateError, message)
}

// markReclaim starts the clock of reclaiming, for which the API has no field of its own.
func markReclaim(a *agentv1beta1.Agent, now time.Time) {
	at := metav1.NewTime(now.UTC().Truncate(time.Second))
	a.Status.Progress.StageUpdateTime = &at
}
