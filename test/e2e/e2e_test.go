//go:build e2e

// Package e2e is the main job on a virtual site, with the faults that a site sees.
package e2e

import (
	"context"
	"os"
	"testing"
	"time"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	conditionsv1 "github.com/openshift/custom-resource-status/conditions/v1"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/test/site"
)

func TestMain(m *testing.M) { os.Exit(site.Main(m.Run)) }

// TestFirmwareToReady is the spine: three BareMetalHosts become nodes while the appliance is killed in each phase, leave the cluster
// and come back; nobody touches a machine.
func TestFirmwareToReady(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 45*time.Minute)
	defer cancel()
	r := open(t)
	must(t, r.Start(ctx))
	t.Run("ports", func(t *testing.T) { checkPorts(t) })
	t.Run("refusals", func(t *testing.T) { checkRefusals(t, ctx, r) })
	describeNetwork(t, ctx, r, networked(r))
	fullISO(t, ctx, r)
	must(t, r.Declare(ctx))
	must(t, r.HostsAre(ctx, 2*time.Minute, metal3v1alpha1.StateProvisioning, metal3v1alpha1.StateProvisioned))
	must(t, killAndRestart(ctx, r, "discovery"))
	must(t, r.Inventoried(ctx, 10*time.Minute))
	t.Run("static network, live", func(t *testing.T) { checkLiveNetwork(t, ctx, r, networked(r)) })
	checkStarts(t, r, 1)
	t.Run("boots", func(t *testing.T) { checkBoots(t, ctx, r) })
	must(t, r.CreateCluster(ctx, 3))
	poll := startPolling(ctx, r)
	must(t, r.Agents(ctx, r.Management, r.Report, "all agents are being installed", 5*time.Minute, installing))
	must(t, killAndRestart(ctx, r, "install"))
	must(t, r.Agents(ctx, r.Management, r.Report, "all agents reboot", 10*time.Minute, rebooting))
	must(t, killAndRestart(ctx, r, "join"))
	must(t, r.Join(ctx, 3))
	must(t, r.Pods(ctx))
	t.Run("secrets", func(t *testing.T) { checkSecrets(t, r) })
	t.Run("csr", func(t *testing.T) { checkForeignCSR(t, ctx, r) })
	t.Run("static network, installed", func(t *testing.T) { checkInstalledNetwork(t, ctx, r, networked(r)) })
	t.Run("columns", func(t *testing.T) { checkColumns(t, ctx, r) })
	checkStarts(t, r, 1)

	must(t, r.Scale(ctx, 1))
	must(t, r.NodesReady(ctx, r.Hosted, r.Report, 1, 5*time.Minute))
	must(t, r.SomeAgents(ctx, r.Management, r.Report, 2, "two agents are back in the inventory", 10*time.Minute, free))
	must(t, r.Scale(ctx, 3))
	must(t, r.Join(ctx, 3))
	must(t, r.Pods(ctx))
	poll.check(t)

	t.Run("node secrets", func(t *testing.T) { checkInstalledSecrets(t, ctx, r) })
	must(t, r.NodesReady(ctx, r.Hosted, r.Report, 3, 5*time.Minute))
	must(t, r.Verb(ctx, "destroy", "cluster", "agent", "--name", site.ClusterName, "--namespace", site.ClusterNamespace))
	must(t, r.Agents(ctx, r.Management, r.Report, "all agents are back after the cluster's end", 10*time.Minute, free))
	checkStarts(t, r, 2)
	must(t, onlyManagementRuns(r))
	must(t, r.Remove(ctx, r.Machines[0], time.Minute))
	t.Run("BMC passwords", func(t *testing.T) { checkBMCPasswords(t, ctx, r) })
}

func installing(agent *agentv1beta1.Agent) bool {
	return agent.Status.Progress.CurrentStage == "Writing image to disk" || rebooting(agent)
}

func rebooting(agent *agentv1beta1.Agent) bool {
	switch agent.Status.Progress.CurrentStage {
	case "Rebooting", "Waiting for ignition", "Configuring", "Joined", "Done":
		return true
	}
	return false
}

// free for the next cluster, its disk wiped of what the last one left.
func free(agent *agentv1beta1.Agent) bool {
	return agent.Status.DebugInfo.State == api.StateKnownUnbound && agent.Spec.ClusterDeploymentName == nil &&
		conditionsv1.IsStatusConditionTrue(agent.Status.Conditions, api.DiskCleanedCondition)
}

func open(t *testing.T) *site.Rehearsal {
	t.Helper()
	config := site.Under()
	config.Machines = []*site.Machine{
		{Name: "uefi0", Firmware: site.UEFI, BMC: &site.BMC{Profile: "iDRAC9", Scheme: "idrac-virtualmedia"}},
		{Name: "bios0", Firmware: site.BIOS, BMC: &site.BMC{Profile: "Supermicro X12", IPv6: true, InfraEnv: "full"}},
		{Name: "pxe0", Firmware: site.BIOS, NICs: 2, BMC: &site.BMC{NoMedia: true, NoHTTP: true, Scheme: "redfish"}},
	}
	opened, err := site.Open(config)
	must(t, err)
	r := &site.Rehearsal{Site: opened, Report: site.NewReport(os.Stdout)}
	t.Cleanup(func() {
		if t.Failed() {
			opened.LastWords(t.Logf)
		}
	})
	return r
}

// networked is the machine with a bond and a VLAN.
func networked(r *site.Rehearsal) *site.Machine { return r.Machines[2] }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
