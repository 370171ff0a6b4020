//go:build e2e

// Package e2e is the main job on a virtual site, with the faults that a site sees.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/test/site"
)

// The Makefile says where the binaries, the release and the machine OS are.
const (
	binEnv     = "SLIPWAY_E2E_BIN"
	releaseEnv = "SLIPWAY_E2E_RELEASE"
	osEnv      = "SLIPWAY_E2E_OS"
	dirEnv     = "SLIPWAY_E2E_DIR"
)

func TestMain(m *testing.M) {
	if site.Inside() {
		os.Exit(m.Run())
	}
	enter := outside
	if !site.Outside() {
		enter = func() (int, error) { return site.Enter(context.Background()) }
	}
	code, err := enter()
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
	}
	os.Exit(code)
}

// outside runs the tests in the site's namespaces and checks that nothing of them is left.
func outside() (int, error) {
	dir, err := os.MkdirTemp("", "slipway-e2e-")
	if err != nil {
		return 1, err
	}
	// What another user must not read is guarded by the state directory itself, not by what is around it.
	if err := errors.Join(os.Chmod(dir, 0o755), os.Setenv(dirEnv, dir)); err != nil {
		return 1, err
	}
	before, err := snapshot()
	if err != nil {
		return 1, err
	}
	code, err := site.Enter(context.Background())
	if err != nil {
		return 1, err
	}
	after, err := snapshot()
	if err != nil {
		return 1, err
	}
	if left := before.missing(after, dir); len(left) > 0 {
		return 1, fmt.Errorf("left behind: %v", left)
	}
	if code != 0 {
		fmt.Fprintf(os.Stderr, "e2e: the site's files are kept in %s\n", dir)
		return code, nil
	}
	return 0, os.RemoveAll(dir)
}

// TestFirmwareToReady is the spine: two empty machines become nodes while the appliance is killed in each phase,
// then they leave the cluster and come back.
func TestFirmwareToReady(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 45*time.Minute)
	defer cancel()
	r := open(t)
	must(t, r.Start(ctx))
	t.Run("ports", func(t *testing.T) { checkPorts(t) })
	t.Run("refusals", func(t *testing.T) { checkRefusals(t, ctx, r) })
	must(t, r.PowerOn())
	must(t, killAndRestart(ctx, r, "discovery"))
	must(t, r.Discover(ctx))
	must(t, r.CreateCluster(ctx, 2))
	poll := startPolling(ctx, r)
	must(t, r.Agents(ctx, r.Management, r.Report, "both agents are being installed", 5*time.Minute, installing))
	must(t, killAndRestart(ctx, r, "install"))
	must(t, r.Agents(ctx, r.Management, r.Report, "both agents reboot", 10*time.Minute, rebooting))
	must(t, killAndRestart(ctx, r, "join"))
	must(t, r.Join(ctx, 2))
	must(t, r.Pods(ctx))
	t.Run("secrets", func(t *testing.T) { checkSecrets(t, r) })
	t.Run("csr", func(t *testing.T) { checkForeignCSR(t, ctx, r) })
	t.Run("columns", func(t *testing.T) { checkColumns(t, ctx, r) })

	must(t, r.Scale(ctx, 0))
	must(t, r.NodesReady(ctx, r.Hosted, r.Report, 0, 5*time.Minute))
	must(t, r.Agents(ctx, r.Management, r.Report, "both agents are back in the inventory", 10*time.Minute, free))
	must(t, r.Scale(ctx, 2))
	must(t, r.Join(ctx, 2))
	must(t, r.Pods(ctx))
	poll.check(t)

	t.Run("node secrets", func(t *testing.T) { checkInstalledSecrets(t, r) })
	must(t, r.PowerOn())
	must(t, r.NodesReady(ctx, r.Hosted, r.Report, 2, 5*time.Minute))
	must(t, r.Verb(ctx, "destroy", "cluster", "agent", "--name", site.ClusterName, "--namespace", site.ClusterNamespace))
	must(t, r.Agents(ctx, r.Management, r.Report, "both agents are back after the cluster's end", 10*time.Minute, free))
	must(t, onlyManagementRuns(r))
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

func free(agent *agentv1beta1.Agent) bool {
	return agent.Status.DebugInfo.State == api.StateKnownUnbound && agent.Spec.ClusterDeploymentName == nil
}

func open(t *testing.T) *site.Rehearsal {
	t.Helper()
	opened, err := site.Open(site.Config{
		Dir:     os.Getenv(dirEnv),
		Slipway: filepath.Join(os.Getenv(binEnv), "slipway"),
		Release: os.Getenv(releaseEnv),
		OS:      os.Getenv(osEnv),
		Machines: []*site.Machine{
			{Name: "bios0", Firmware: site.BIOS},
			{Name: "uefi0", Firmware: site.UEFI},
		},
	})
	must(t, err)
	r := &site.Rehearsal{Site: opened, Report: site.NewReport(os.Stdout)}
	t.Cleanup(func() {
		if t.Failed() {
			explain(t, opened)
		}
	})
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// explain prints the ends of what a person would look at first.
func explain(t *testing.T, opened *site.Site) {
	t.Helper()
	files := []string{opened.ApplianceLog()}
	for _, machine := range opened.Machines {
		files = append(files, machine.Console())
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		t.Logf("end of %s:\n%s", file, text[max(0, len(text)-6000):])
	}
}
