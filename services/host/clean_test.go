package host_test

import (
	"slices"
	"strings"
	"testing"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/host"
)

func toClean(a *agentv1beta1.Agent) {
	a.Annotations = map[string]string{api.CleaningAnnotation: "metadata"}
}

func given(a *agentv1beta1.Agent) (steps []host.StepType) {
	for _, step := range host.NextSteps(a).Steps {
		steps = append(steps, step.Type)
	}
	return steps
}

// TestClean is a host's life with a disk that is wiped before every cluster.
func TestClean(t *testing.T) {
	expect := func(what string, a *agentv1beta1.Agent, state string, clean bool) {
		t.Helper()
		host.Refresh(a, here())
		if host.State(a) != state || slices.Contains(given(a), host.StepClean) != clean {
			t.Fatalf("%s: state %s (%s), steps %v", what, host.State(a), a.Status.DebugInfo.StateInfo, given(a))
		}
	}
	a := in(api.StateDiscoveringUnbound, toClean)
	expect("discovered", a, api.StateDiscoveringUnbound, true)
	disk := a.Status.InstallationDiskID
	host.CleanEnded(a, "", false, "it is in use", now)
	expect("in use", a, api.StateInsufficientUnbound, true)
	if info := a.Status.DebugInfo.StateInfo; !strings.Contains(info, "it is in use") || !strings.Contains(info, "automatedCleaningMode") {
		t.Errorf("info %q", info)
	}
	host.CleanEnded(a, disk, true, "", now)
	expect("cleaned", a, api.StateKnownUnbound, false)
	// Another disk is another matter.
	a.Spec.InstallationDiskID = "/dev/disk/by-id/b"
	expect("another disk", a, api.StateDiscoveringUnbound, true)
	host.CleanEnded(a, a.Status.InstallationDiskID, true, "", now)
	expect("cleaned too", a, api.StateKnownUnbound, false)
	// Once it is written it has to be wiped again.
	bound(a)
	a.Spec.Approved = true
	withToken(a)
	host.Refresh(a, here())
	if err := host.Register(a); err != nil {
		t.Fatal(err)
	}
	if err := host.SetInventory(a, inventory(), need, now); err != nil {
		t.Fatal(err)
	}
	expect("installs", a, api.StateInstalling, false)
	a.Spec.ClusterDeploymentName = nil
	expect("given up", a, api.StateReclaiming, false)
	if err := host.Register(a); err != nil {
		t.Fatal(err)
	}
	if err := host.SetInventory(a, inventory(), need, now); err != nil {
		t.Fatal(err)
	}
	expect("back", a, api.StateDiscoveringUnbound, true)
}

func TestCleanNot(t *testing.T) {
	small := func(a *agentv1beta1.Agent) { a.Status.Inventory.Cpu.Count = 1 }
	for _, c := range []struct {
		name  string
		agent *agentv1beta1.Agent
		state string
	}{
		{"disabled", in(api.StateDiscoveringUnbound), api.StateKnownUnbound},
		{"bound", in(api.StateDiscovering, toClean, bound), api.StateKnown},
		{"not fit anyway", in(api.StateDiscoveringUnbound, toClean, small), api.StateInsufficientUnbound},
		{"blind", in(api.StateDiscoveringUnbound, toClean, blind), api.StateDiscoveringUnbound},
		{"installed", in(api.StateAddedToExistingCluster, toClean, bound), api.StateAddedToExistingCluster},
	} {
		host.Refresh(c.agent, here())
		if host.State(c.agent) != c.state || slices.Contains(given(c.agent), host.StepClean) {
			t.Errorf("%s: state %s, steps %v", c.name, host.State(c.agent), given(c.agent))
		}
	}
}
