package host_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	"github.com/openshift/assisted-service/models"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/host"
)

func TestProgress(t *testing.T) {
	for _, c := range []struct {
		name  string
		agent *agentv1beta1.Agent
		stage models.HostStage
		want  string
		code  int
		done  int64
	}{
		{"first", in(api.StateInstalling, bound), models.HostStageStartingInstallation, api.StateInstallingInProgress, 0, 12},
		{"on", in(api.StateInstallingInProgress, bound, at(models.HostStageInstalling)), models.HostStageWritingImageToDisk, api.StateInstallingInProgress, 0, 37},
		{"reboots", in(api.StateInstallingInProgress, bound, at(models.HostStageWritingImageToDisk)), models.HostStageRebooting, api.StateInstallingInProgress, 0, 50},
		{"back", in(api.StateInstallingInProgress, bound, at(models.HostStageWritingImageToDisk)), models.HostStageInstalling, api.StateInstallingInProgress, 409, 0},
		{"foreign", in(api.StateInstalling, bound), models.HostStageWaitingForBootkube, api.StateInstalling, 409, 0},
		{"not the host's", in(api.StateInstallingInProgress, bound, at(models.HostStageRebooting)), models.HostStageDone, api.StateInstallingInProgress, 409, 0},
		{"failed", in(api.StateInstallingInProgress, bound, at(models.HostStageWritingImageToDisk)), models.HostStageFailed, api.StateError, 0, 0},
		{"not installing", in(api.StateKnown, bound), models.HostStageInstalling, api.StateKnown, 409, 0},
	} {
		err := host.Progress(c.agent, c.stage, "", now)
		var refusal *host.Refusal
		if got := errors.As(err, &refusal); got != (c.code != 0) || got && refusal.Code != c.code {
			t.Errorf("%s: %v", c.name, err)
		}
		if host.State(c.agent) != c.want || c.agent.Status.Progress.InstallationPercentage != c.done {
			t.Errorf("%s: state %s, %d %%", c.name, host.State(c.agent), c.agent.Status.Progress.InstallationPercentage)
		}
	}
}

func TestCheckIn(t *testing.T) {
	for _, c := range []struct {
		name      string
		agent     *agentv1beta1.Agent
		installed bool
		want      string
		stage     models.HostStage
	}{
		{"back in the pool", in(api.StateDisconnectedUnbound), false, api.StateDiscoveringUnbound, ""},
		{"back", in(api.StateDisconnected, bound), false, api.StateDiscovering, ""},
		{"nothing new", in(api.StateKnown, bound), false, api.StateKnown, ""},
		{"disk booted", in(api.StateInstallingInProgress, bound, at(models.HostStageRebooting)), true, api.StateInstallingInProgress, models.HostStageConfiguring},
		{"disk booted unheard", in(api.StateInstallingInProgress, bound, at(models.HostStageWritingImageToDisk)), true, api.StateInstallingInProgress, models.HostStageConfiguring},
		{"boot order mended", in(api.StateInstallingPendingUser, bound, at(models.HostStageRebooting)), true, api.StateInstallingInProgress, models.HostStageConfiguring},
		{"joined stays", in(api.StateInstallingInProgress, bound, at(models.HostStageJoined)), true, api.StateInstallingInProgress, models.HostStageJoined},
		{"back to be reclaimed", in(api.StateUnbindingPendingUserAction), true, api.StateReclaiming, ""},
	} {
		host.CheckIn(c.agent, c.installed, now)
		if host.State(c.agent) != c.want || c.agent.Status.Progress.CurrentStage != c.stage {
			t.Errorf("%s: state %s stage %q", c.name, host.State(c.agent), c.agent.Status.Progress.CurrentStage)
		}
	}
}

func TestIdentity(t *testing.T) {
	a := in(api.StateKnownUnbound)
	other := inventory()
	other.Interfaces[0].MacAddress = "52:54:00:00:00:99"
	var refusal *host.Refusal
	if err := host.SetInventory(a, other, need, now); !errors.As(err, &refusal) || refusal.Code != 409 {
		t.Errorf("another machine's inventory: %v", err)
	}
	if host.KnowsMACs(a, []string{"52:54:00:00:00:99"}) || !host.KnowsMACs(a, []string{"52:54:00:00:00:01"}) || !host.KnowsMACs(a, nil) {
		t.Error("MAC addresses are not told apart")
	}
	before := a.DeepCopy()
	if err := host.SetInventory(a, inventory(), need, now.Add(time.Hour)); err != nil || !a.Status.Inventory.ReportTime.Equal(before.Status.Inventory.ReportTime) {
		t.Errorf("an unchanged inventory is a change: %v", err)
	}
	installing := in(api.StateInstalling, bound)
	if err := host.SetInventory(installing, inventory(), need, now); !errors.As(err, &refusal) || refusal.Code != 409 {
		t.Errorf("inventory while installing: %v", err)
	}
}

func TestNextSteps(t *testing.T) {
	for _, c := range []struct {
		agent *agentv1beta1.Agent
		steps []host.StepType
		exit  bool
	}{
		{in(api.StateDiscoveringUnbound, blind), []host.StepType{host.StepInventory}, false},
		{in(api.StateDiscoveringUnbound), nil, false},
		{in(api.StateKnownUnbound), []host.StepType{host.StepInventory}, false},
		{in(api.StateBinding, bound), nil, true},
		{in(api.StateDiscovering, bound, blind), []host.StepType{host.StepInventory}, false},
		{in(api.StateKnown, bound), nil, false},
		{in(api.StateInstalling, bound), []host.StepType{host.StepInstall}, false},
		{in(api.StateInstallingInProgress, bound), nil, false},
		{in(api.StateAddedToExistingCluster, bound), nil, false},
		{in(api.StateUnbinding), nil, true},
		{in(api.StateReclaiming), []host.StepType{host.StepRebootForReclaim}, false},
		{in(api.StateReclaimingRebooting), nil, false},
		{in(api.StateError, bound), nil, false},
	} {
		plan := host.NextSteps(c.agent)
		var steps []host.StepType
		for _, step := range plan.Steps {
			steps = append(steps, step.Type)
		}
		if !slices.Equal(steps, c.steps) || plan.Exit != c.exit || plan.Next < time.Second {
			t.Errorf("state %s: %+v", host.State(c.agent), plan)
		}
	}
}

func TestReplies(t *testing.T) {
	a := in(api.StateInstallingInProgress, bound, at(models.HostStageWritingImageToDisk))
	host.InstallEnded(a, false, "the disk is broken")
	if host.State(a) != api.StateError || a.Status.DebugInfo.StateInfo != "the disk is broken" {
		t.Errorf("failed installation: %+v", a.Status.DebugInfo)
	}
	late := in(api.StateInstallingInProgress, bound, at(models.HostStageRebooting))
	host.InstallEnded(late, false, "too late")
	if host.State(late) != api.StateInstallingInProgress {
		t.Errorf("a reply after the reboot changed the state to %s", host.State(late))
	}
	for _, ok := range []bool{true, false} {
		r := in(api.StateReclaiming)
		host.ReclaimEnded(r, ok, "busy", now)
		want := map[bool]string{true: api.StateReclaimingRebooting, false: api.StateUnbindingPendingUserAction}[ok]
		if host.State(r) != want {
			t.Errorf("reclaim ended %t: state %s", ok, host.State(r))
		}
	}
}

func TestValidationMessages(t *testing.T) {
	a := in(api.StateDiscoveringUnbound)
	a.Status.Inventory.Cpu.Count = 1
	a.Status.Inventory.Memory.PhysicalBytes = 1 << 30
	a.Status.Inventory.Disks = a.Status.Inventory.Disks[:1]
	a.Status.Inventory.Hostname = "localhost"
	host.Refresh(a, here())
	want := map[string]string{
		"has-min-cpu-cores":   "the host has 1 CPU cores, 2 are needed",
		"has-min-memory":      "the host has 1024 MiB of memory, 1536 MiB are needed",
		"has-min-valid-disks": "no disk can be installed to: disk sda 4.3 GB is smaller than 8 GB",
		"hostname-valid":      "hostname localhost is forbidden; set spec.hostname",
	}
	for _, result := range a.Status.ValidationsInfo["hardware"] {
		if message, is := want[result.ID]; is && (result.Status != "failure" || result.Message != message) {
			t.Errorf("%s: %s %q, want %q", result.ID, result.Status, result.Message, message)
		}
	}
}
