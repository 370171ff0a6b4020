package host_test

import (
	"errors"
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

var (
	now  = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	need = host.DefaultRequirements()
)

func inventory() agentv1beta1.HostInventory {
	return agentv1beta1.HostInventory{
		Hostname: "worker-0", Cpu: agentv1beta1.HostCPU{Count: 2, Architecture: "x86_64"},
		Memory:     agentv1beta1.HostMemory{PhysicalBytes: 2 << 30},
		Interfaces: []agentv1beta1.HostInterface{{Name: "eth0", MacAddress: "52:54:00:00:00:01"}},
		Disks: []agentv1beta1.HostDisk{
			{ID: "/dev/sda", Name: "sda", Path: "/dev/sda", SizeBytes: 4_300_000_000},
			{ID: "/dev/disk/by-id/b", ByID: "/dev/disk/by-id/b", Name: "sdb", Path: "/dev/sdb", SizeBytes: 40_000_000_000},
			{ID: "/dev/sdc", Name: "sdc", Path: "/dev/sdc", SizeBytes: 20_000_000_000},
		},
	}
}

// in makes an Agent in a state, with an inventory; options bind it, set its stage and so on.
func in(state string, options ...func(*agentv1beta1.Agent)) *agentv1beta1.Agent {
	a := &agentv1beta1.Agent{ObjectMeta: metav1.ObjectMeta{Name: "c0ffee00-0000-4000-8000-000000000001"}}
	a.Spec.Role = models.HostRoleAutoAssign
	a.Status.DebugInfo.State = api.StateDiscoveringUnbound
	if err := host.SetInventory(a, inventory(), need, now); err != nil {
		panic(err)
	}
	a.Status.DebugInfo.State = state
	for _, option := range options {
		option(a)
	}
	return a
}

func bound(a *agentv1beta1.Agent) {
	a.Spec.ClusterDeploymentName = &agentv1beta1.ClusterReference{Namespace: "clusters-demo", Name: "demo"}
}
func approved(a *agentv1beta1.Agent) { a.Spec.Approved = true }
func withToken(a *agentv1beta1.Agent) {
	a.Spec.IgnitionEndpointTokenReference = &agentv1beta1.IgnitionEndpointTokenReference{Namespace: "clusters-demo", Name: "t"}
}
func blind(a *agentv1beta1.Agent) { a.Status.Inventory.ReportTime = nil }
func at(stage models.HostStage) func(*agentv1beta1.Agent) {
	return func(a *agentv1beta1.Agent) {
		started := metav1.NewTime(now)
		a.Status.Progress = agentv1beta1.HostProgressInfo{CurrentStage: stage, StageStartTime: &started, StageUpdateTime: &started}
	}
}

func here() host.Observed {
	return host.Observed{Now: now, Contact: host.Contact{At: now}, Need: need}
}

func TestRegister(t *testing.T) {
	for _, c := range []struct {
		name    string
		agent   *agentv1beta1.Agent
		want    string
		refused int
	}{
		{"new", &agentv1beta1.Agent{}, api.StateDiscoveringUnbound, 0},
		{"pool again", in(api.StateKnownUnbound), api.StateDiscoveringUnbound, 0},
		{"lost pool", in(api.StateDisconnectedUnbound), api.StateDiscoveringUnbound, 0},
		{"binding", in(api.StateBinding, bound), api.StateDiscovering, 0},
		{"known", in(api.StateKnown, bound), api.StateDiscovering, 0},
		{"unbinding", in(api.StateUnbinding), api.StateDiscoveringUnbound, 0},
		{"unbinding by hand", in(api.StateUnbindingPendingUserAction), api.StateDiscoveringUnbound, 0},
		{"reclaiming", in(api.StateReclaiming), api.StateDiscoveringUnbound, 0},
		{"reclaimed", in(api.StateReclaimingRebooting), api.StateDiscoveringUnbound, 0},
		{"power lost before writing", in(api.StateInstalling, bound), api.StateDiscovering, 0},
		{"power lost while writing", in(api.StateInstallingInProgress, bound, at(models.HostStageWritingImageToDisk)), api.StateDiscovering, 0},
		{"after an error", in(api.StateError, bound), api.StateDiscovering, 0},
		{"wrong boot order", in(api.StateInstallingInProgress, bound, at(models.HostStageRebooting)), api.StateInstallingPendingUser, 0},
		{"installed boots live", in(api.StateAddedToExistingCluster, bound, at(models.HostStageDone)), api.StateInstallingPendingUser, 0},
		{"wrong boot order again", in(api.StateInstallingPendingUser, bound, at(models.HostStageRebooting)), api.StateInstallingPendingUser, 403},
	} {
		err := host.Register(c.agent)
		var refusal *host.Refusal
		if got := errors.As(err, &refusal); got != (c.refused != 0) || got && refusal.Code != c.refused {
			t.Errorf("%s: error %v, want code %d", c.name, err, c.refused)
		}
		if host.State(c.agent) != c.want {
			t.Errorf("%s: state %s, want %s", c.name, host.State(c.agent), c.want)
		}
	}
}

func TestRefreshStates(t *testing.T) {
	silent := here()
	silent.Contact.At = now.Add(-host.MaxSilence - time.Second)
	twin := here()
	twin.SameHostname = "other"
	node, ready := here(), here()
	node.NodeExists = true
	ready.NodeExists, ready.NodeReady = true, true
	late := here()
	late.Now, late.Contact.At = now.Add(25*time.Hour), now.Add(25*time.Hour)
	small := func(a *agentv1beta1.Agent) { a.Status.Inventory.Cpu.Count = 1 }
	for _, c := range []struct {
		name  string
		agent *agentv1beta1.Agent
		seen  host.Observed
		want  string
	}{
		{"unregistered", in(""), here(), ""},
		{"waits for inventory", in(api.StateDiscoveringUnbound, blind), here(), api.StateDiscoveringUnbound},
		{"inventory came", in(api.StateDiscoveringUnbound), here(), api.StateKnownUnbound},
		{"too small", in(api.StateDiscoveringUnbound, small), here(), api.StateInsufficientUnbound},
		{"grew", in(api.StateInsufficientUnbound), here(), api.StateKnownUnbound},
		{"silent in the pool", in(api.StateKnownUnbound), silent, api.StateDisconnectedUnbound},
		{"claimed", in(api.StateKnownUnbound, bound), here(), api.StateBinding},
		{"claim of a small one waits", in(api.StateInsufficientUnbound, bound, small), here(), api.StateInsufficientUnbound},
		{"claim withdrawn", in(api.StateBinding), here(), api.StateUnbinding},
		{"bound, waits for inventory", in(api.StateDiscovering, bound, blind), here(), api.StateDiscovering},
		{"bound, not approved", in(api.StateDiscovering, bound, withToken), here(), api.StateKnown},
		{"bound, no token", in(api.StateDiscovering, bound, approved), here(), api.StateKnown},
		{"installs at once", in(api.StateDiscovering, bound, approved, withToken), here(), api.StateInstalling},
		{"same hostname", in(api.StateDiscovering, bound, approved, withToken), twin, api.StateInsufficient},
		{"silent when bound", in(api.StateKnown, bound), silent, api.StateDisconnected},
		{"silent while installing stays", in(api.StateInstallingInProgress, bound, at(models.HostStageInstalling)), silent, api.StateInstallingInProgress},
		{"stage too long", in(api.StateInstallingInProgress, bound, at(models.HostStageWritingImageToDisk)), late, api.StateError},
		{"does not come back", in(api.StateInstallingInProgress, bound, at(models.HostStageRebooting)), late, api.StateInstallingPendingUser},
		{"node too early", in(api.StateInstallingInProgress, bound, at(models.HostStageInstalling)), ready, api.StateInstallingInProgress},
		{"node", in(api.StateInstallingInProgress, bound, at(models.HostStageRebooting)), node, api.StateInstallingInProgress},
		{"ready node", in(api.StateInstallingInProgress, bound, at(models.HostStageJoined)), ready, api.StateAddedToExistingCluster},
		{"boot order mended", in(api.StateInstallingPendingUser, bound, at(models.HostStageRebooting)), ready, api.StateAddedToExistingCluster},
		{"unbound before install", in(api.StateKnown), here(), api.StateUnbinding},
		{"unbound while installing", in(api.StateInstallingInProgress, at(models.HostStageWritingImageToDisk)), here(), api.StateReclaiming},
		{"unbound after install", in(api.StateAddedToExistingCluster, at(models.HostStageDone)), here(), api.StateReclaiming},
		{"unbound after an error", in(api.StateError), here(), api.StateReclaiming},
		{"never comes back", in(api.StateReclaimingRebooting, at("")), late, api.StateUnbindingPendingUserAction},
	} {
		host.Refresh(c.agent, c.seen)
		if got := host.State(c.agent); got != c.want {
			t.Errorf("%s: state %q (%s), want %q", c.name, got, c.agent.Status.DebugInfo.StateInfo, c.want)
		}
		before := c.agent.DeepCopy()
		host.Refresh(c.agent, c.seen)
		if got := host.State(c.agent); got == host.State(before) && len(before.Status.Conditions) != 6 {
			t.Errorf("%s: %d conditions", c.name, len(before.Status.Conditions))
		}
	}
}

func TestRefreshIsStable(t *testing.T) {
	a := in(api.StateDiscoveringUnbound)
	host.Refresh(a, here())
	before := a.DeepCopy()
	later := here()
	later.Now, later.Contact.At = now.Add(time.Minute), now.Add(time.Minute)
	host.Refresh(a, later)
	if a.Status.Conditions[0] != before.Status.Conditions[0] || a.Status.DebugInfo != before.Status.DebugInfo {
		t.Errorf("nothing happened, yet the status changed from %+v to %+v", before.Status, a.Status)
	}
}

func TestConditions(t *testing.T) {
	for _, c := range []struct {
		agent *agentv1beta1.Agent
		want  string
	}{
		{in(""), "SpecSynced?NotAvailable Connected?NotAvailable RequirementsMet?NotAvailable Validated?NotAvailable Installed?NotAvailable Bound?NotAvailable"},
		{in(api.StateKnownUnbound), "SpecSynced+SyncOK Connected+AgentIsConnected RequirementsMet-AgentIsNotApproved Validated+ValidationsPassing Installed-InstallationNotStarted Bound-Unbound"},
		{in(api.StateKnownUnbound, approved), "SpecSynced+SyncOK Connected+AgentIsConnected RequirementsMet+AgentIsReady Validated+ValidationsPassing Installed-InstallationNotStarted Bound-Unbound"},
		{in(api.StateKnownUnbound, bound), "SpecSynced+SyncOK Connected+AgentIsConnected RequirementsMet-Binding Validated-Binding Installed-Binding Bound-Binding"},
		{in(api.StateInstallingInProgress, bound, at(models.HostStageInstalling)), "SpecSynced+SyncOK Connected+AgentIsConnected RequirementsMet+AgentAlreadyInstalling Validated+ValidationsPassing Installed-InstallationInProgress Bound+Bound"},
		{in(api.StateAddedToExistingCluster, bound, at(models.HostStageDone)), "SpecSynced+SyncOK Connected+AgentIsConnected RequirementsMet+AgentInstallationStopped Validated+ValidationsPassing Installed+InstallationCompleted Bound+Bound"},
		{in(api.StateError, bound), "SpecSynced+SyncOK Connected+AgentIsConnected RequirementsMet+AgentInstallationStopped Validated+ValidationsPassing Installed-InstallationFailed Bound+Bound"},
		{in(api.StateKnown), "SpecSynced+SyncOK Connected+AgentIsConnected RequirementsMet-Unbinding Validated-Unbinding Installed-Unbinding Bound-Unbinding"},
	} {
		host.Refresh(c.agent, here())
		var got []string
		for _, condition := range c.agent.Status.Conditions {
			got = append(got, string(condition.Type)+map[string]string{"True": "+", "False": "-", "Unknown": "?"}[string(condition.Status)]+condition.Reason)
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("state %s:\n got %s\nwant %s", host.State(c.agent), text, c.want)
		}
	}
}

func TestInstallationDisk(t *testing.T) {
	for _, c := range []struct{ asked, want, problem string }{
		{"", "/dev/sdc", ""},
		{"sdb", "/dev/disk/by-id/b", ""},
		{"/dev/sdb", "/dev/disk/by-id/b", ""},
		{"/dev/disk/by-id/b", "/dev/disk/by-id/b", ""},
		{"/dev/nvme0n1", "", `installation_disk_id "/dev/nvme0n1" is none of the host's disks (/dev/sda, /dev/disk/by-id/b, /dev/sdc)`},
		{host.NoDisk, "", `spec.rootDeviceHints of the host's BareMetalHost fit none of its disks (/dev/sda, /dev/disk/by-id/b, /dev/sdc)`},
		{"/dev/sda", "", `installation_disk_id "/dev/sda" cannot be installed to: disk sda 4.3 GB is smaller than 8 GB`},
	} {
		a := in(api.StateDiscovering, bound, approved, withToken)
		a.Spec.InstallationDiskID = c.asked
		host.Refresh(a, here())
		if a.Status.InstallationDiskID != c.want {
			t.Errorf("%q: disk %q, want %q", c.asked, a.Status.InstallationDiskID, c.want)
		}
		// No cluster takes a host whose disk is not to be found.
		if state := host.State(a); (state == api.StateInsufficient) != (c.problem != "") {
			t.Errorf("%q: state %s, %s", c.asked, state, a.Status.DebugInfo.StateInfo)
		}
		synced := conditionsv1.FindStatusCondition(a.Status.Conditions, agentv1beta1.SpecSyncedCondition)
		if c.problem != "" && (synced.Reason != agentv1beta1.InputErrorReason || !strings.HasSuffix(synced.Message, c.problem)) {
			t.Errorf("%q: %s %q", c.asked, synced.Reason, synced.Message)
		}
		if installs := host.State(a) == api.StateInstalling; installs != (c.problem == "") {
			t.Errorf("%q: state %s", c.asked, host.State(a))
		}
	}
}

func TestInputErrors(t *testing.T) {
	for _, change := range []func(*agentv1beta1.Agent){
		func(a *agentv1beta1.Agent) { a.Spec.Hostname = "Not_A_Name" },
		func(a *agentv1beta1.Agent) { a.Spec.Hostname = "localhost" },
		func(a *agentv1beta1.Agent) { a.Spec.InstallerArgs = `["--append-karg","x"]` },
		func(a *agentv1beta1.Agent) { a.Spec.IgnitionConfigOverrides = "{" },
		func(a *agentv1beta1.Agent) { a.Spec.IgnitionConfigOverrides = "{}" },
	} {
		a := in(api.StateKnown, bound, approved, withToken, change)
		host.Refresh(a, here())
		synced := conditionsv1.FindStatusCondition(a.Status.Conditions, agentv1beta1.SpecSyncedCondition)
		if synced.Reason != agentv1beta1.InputErrorReason || host.State(a) == api.StateInstalling {
			t.Errorf("%+v: state %s, %s %s", a.Spec, host.State(a), synced.Reason, synced.Message)
		}
	}
}
