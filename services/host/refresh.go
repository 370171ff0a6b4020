package host

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	"github.com/openshift/assisted-service/models"

	"github.com/slipway-io/slipway/services/api"
)

// Observed is what is known of a host besides its Agent.
type Observed struct {
	Now     time.Time
	Contact Contact
	// SameHostname is another Agent of the same cluster with this one's hostname.
	SameHostname string
	// NodeExists and NodeReady are of the host's Node, looked up when AwaitsNode.
	NodeExists, NodeReady bool
	// InputError is what is wrong with the parts of the spec that another package reads.
	InputError error
	// Power is nil when nobody looked who switches the host.
	Power *Power
	Need  Requirements
}

func (o Observed) connected() bool { return o.Now.Sub(o.Contact.At) <= MaxSilence }

// Refresh follows the spec and what was observed; it returns when to look again though nothing happens, 0 for never.
func Refresh(a *agentv1beta1.Agent, seen Observed) time.Duration {
	if State(a) == "" {
		setConditions(a, seen, nil)
		return 0
	}
	a.Status.Role = a.Spec.Role
	if a.Spec.Role == "" || a.Spec.Role == models.HostRoleAutoAssign {
		a.Status.Role = models.HostRoleWorker
	}
	followBinding(a, seen.Now)
	input := inputError(a, seen)
	if preInstall(State(a)) || unbound(State(a)) {
		a.Status.ValidationsInfo = validate(a, seen)
		judge(a, seen)
	}
	if State(a) == api.StateKnown && input == nil {
		startInstallation(a)
	}
	followInstallation(a, seen)
	setConditions(a, seen, input)
	return lookAgain(a, seen)
}

// followBinding turns a changed spec.clusterDeploymentName into a transition.
func followBinding(a *agentv1beta1.Agent, now time.Time) {
	state := State(a)
	switch {
	case Bound(a) && state == api.StateKnownUnbound:
		setState(a, api.StateBinding, "Host is waiting to be bound to the cluster")
	case Bound(a):
	case preInstall(state) || state == api.StateBinding:
		setState(a, api.StateUnbinding, "Host is waiting to be unbound from the cluster")
	case state == api.StateInstalling || state == api.StateInstallingInProgress || state == api.StateInstallingPendingUser ||
		state == api.StateAddedToExistingCluster || state == api.StateError:
		a.Status.Progress = agentv1beta1.HostProgressInfo{}
		markReclaim(a, now)
		setState(a, api.StateReclaiming, "Host is preparing to reboot into the discovery image")
	case state == api.StateReclaiming || state == api.StateReclaimingRebooting:
		if since := a.Status.Progress.StageUpdateTime; since != nil && now.Sub(since.Time) > reclaimLimit {
			setState(a, api.StateUnbindingPendingUserAction, "Host did not come back into the inventory; boot it into the discovery image")
		}
	}
}

// judge chooses between discovering, known, insufficient and disconnected.
func judge(a *agentv1beta1.Agent, seen Observed) {
	suffix, ready := "", "Host is ready to be installed"
	if unbound(State(a)) {
		suffix, ready = "-unbound", "Host is ready to be bound to a cluster"
	}
	problems := failing(a.Status.ValidationsInfo)
	switch {
	case !seen.connected():
		setState(a, api.StateDisconnected+suffix, "Host has stopped communicating with the installation service")
	case !inventoried(a):
		if strings.TrimSuffix(State(a), suffix) != api.StateDiscovering {
			setState(a, api.StateDiscovering+suffix, "Waiting for host to send hardware details")
		}
	case len(problems) > 0:
		setState(a, api.StateInsufficient+suffix, "Host cannot be installed due to following failing validation(s): "+strings.Join(problems, ", "))
	case cleans(a) && cleaningProblem(a) != "":
		setState(a, api.StateInsufficient+suffix, cleaningProblem(a))
	case cleans(a):
		setState(a, api.StateDiscovering+suffix, "Waiting for disk "+a.Status.InstallationDiskID+" to be wiped of partition tables and signatures")
	default:
		if !strings.HasPrefix(a.Status.DebugInfo.StateInfo, ready) || State(a) != api.StateKnown+suffix {
			setState(a, api.StateKnown+suffix, ready)
		}
	}
}

func startInstallation(a *agentv1beta1.Agent) {
	const ready = "Host is ready to be installed"
	switch {
	case !a.Spec.Approved:
		setState(a, api.StateKnown, ready+"; it waits for its approval")
	case a.Spec.IgnitionEndpointTokenReference == nil:
		setState(a, api.StateKnown, ready+"; it waits for the cluster's Ignition token")
	default:
		written(a)
		setState(a, api.StateInstalling, "Installation is in progress")
	}
}

// followInstallation watches stages: the Node's, which the host cannot report, and those that take too long.
func followInstallation(a *agentv1beta1.Agent, seen Observed) {
	if AwaitsNode(a) && seen.NodeExists {
		stage, state, info := models.HostStageJoined, api.StateInstallingInProgress, string(models.HostStageJoined)
		if seen.NodeReady {
			stage, state, info = models.HostStageDone, api.StateAddedToExistingCluster, "Host is a Ready node of the cluster"
		}
		setStage(a, stage, "", seen.Now)
		setState(a, state, info)
		return
	}
	if State(a) != api.StateInstallingInProgress || !stageExpired(a, seen.Now) {
		return
	}
	stage := a.Status.Progress.CurrentStage
	if stage == models.HostStageRebooting {
		setState(a, api.StateInstallingPendingUser, fmt.Sprintf("Host did not boot from disk %s within %s of its reboot; check its boot order",
			a.Status.InstallationDiskID, stageLimit(stage)))
		return
	}
	fail(a, fmt.Sprintf("Host did not get beyond stage %q within %s", stage, stageLimit(stage)))
}

// inputError checks the spec's own words and settles the installation disk.
func inputError(a *agentv1beta1.Agent, seen Observed) error {
	if a.Spec.InstallerArgs != "" && a.Spec.InstallerArgs != "[]" {
		return fmt.Errorf("installerArgs: Slipway writes the disk itself and takes no arguments of coreos-installer")
	}
	if a.Spec.Hostname != "" {
		if problem := hostnameProblem(a.Spec.Hostname); problem != "" {
			return fmt.Errorf("spec.%s", problem)
		}
	}
	if err := overridesError(a.Spec.IgnitionConfigOverrides); err != nil {
		return err
	}
	if seen.InputError != nil {
		return seen.InputError
	}
	if !inventoried(a) || !preInstall(State(a)) && !unbound(State(a)) {
		return nil
	}
	disk, err := installationDisk(a)
	a.Status.InstallationDiskID = disk
	return err
}

// overridesError finds what is no Ignition config at all; the renderer's own check comes as Observed.InputError.
func overridesError(overrides string) error {
	if overrides == "" {
		return nil
	}
	var config struct {
		Ignition struct {
			Version string `json:"version"`
		} `json:"ignition"`
	}
	if err := json.Unmarshal([]byte(overrides), &config); err != nil {
		return fmt.Errorf("ignitionConfigOverrides: %w", err)
	}
	if config.Ignition.Version == "" {
		return fmt.Errorf("ignitionConfigOverrides: ignition.version is missing")
	}
	return nil
}

// lookAgain is the time until silence, a stage's limit or a Node may change the verdict.
func lookAgain(a *agentv1beta1.Agent, seen Observed) time.Duration {
	state := State(a)
	switch {
	case AwaitsNode(a):
		return time.Second
	case state == api.StateReclaiming || state == api.StateReclaimingRebooting || state == api.StateInstallingInProgress || state == api.StateInstalling:
		return time.Minute
	case state == api.StateInsufficient && seen.SameHostname != "":
		return 10 * time.Second
	case (preInstall(state) || unbound(state)) && seen.connected():
		return seen.Contact.At.Add(MaxSilence + time.Second).Sub(seen.Now)
	}
	return 0
}
