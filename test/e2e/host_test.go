//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-io/slipway/test/site"
)

// controlPlanes lists the processes of every control plane by number and program: a restart of one changes its number.
func controlPlanes(r *site.Rehearsal) ([]string, error) {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	var found []string
	for _, path := range lines {
		// A process may end between the two looks.
		text, err := os.ReadFile(path)
		program, _, _ := strings.Cut(string(text), "\x00")
		if err == nil && strings.HasPrefix(program, filepath.Join(r.StateDir(), "content")) {
			found = append(found, filepath.Base(filepath.Dir(path))+" "+filepath.Base(program))
		}
	}
	slices.Sort(found)
	return found, nil
}

// killAndRestart kills the appliance and starts it again; the control planes must not notice.
func killAndRestart(ctx context.Context, r *site.Rehearsal, phase string) error {
	before, err := controlPlanes(r)
	if err != nil {
		return err
	}
	r.Report.Say("appliance", "kill -9 during %s", phase)
	if err := r.KillAppliance(); err != nil {
		return err
	}
	if err := r.Start(ctx); err != nil {
		return err
	}
	after, err := controlPlanes(r)
	if err != nil {
		return err
	}
	if len(before) < 3 || !slices.Equal(before, after) {
		return fmt.Errorf("kill -9 during %s: control planes were %v and are %v", phase, before, after)
	}
	return nil
}

// onlyManagementRuns: etcd, kube-apiserver and kube-controller-manager of the appliance's own API are left.
func onlyManagementRuns(r *site.Rehearsal) error {
	left, err := controlPlanes(r)
	if err == nil && len(left) != 3 {
		err = fmt.Errorf("after the cluster's end there run %v", left)
	}
	return err
}

// checkInstalledSecrets looks at a node's disk as somebody who has an account on it.
func checkInstalledSecrets(t *testing.T, ctx context.Context, r *site.Rehearsal) {
	machine := r.Machines[0]
	must(t, r.SetOnline(ctx, machine, false))
	defer func() { must(t, r.SetOnline(ctx, machine, true)) }()
	out, err := exec.Command("sfdisk", "--json", machine.Disk()).Output()
	must(t, err)
	var table struct {
		PartitionTable struct {
			Partitions []struct {
				Start int64
				Name  string
			}
		}
	}
	must(t, json.Unmarshal(out, &table))
	partitions := table.PartitionTable.Partitions
	if len(partitions) == 0 {
		t.Fatalf("no partitions: %s", out)
	}
	root := partitions[len(partitions)-1]
	mount := filepath.Join(r.Dir, "node")
	must(t, os.Mkdir(mount, 0o755))
	// Writable, so that the journal of a machine whose plug was pulled is replayed.
	options := fmt.Sprintf("loop,offset=%d", root.Start*512)
	if out, err := exec.Command("mount", "-o", options, machine.Disk(), mount).CombinedOutput(); err != nil {
		t.Fatalf("mount %s: %v: %s", machine.Disk(), err, out)
	}
	defer func() {
		if out, err := exec.Command("umount", mount).CombinedOutput(); err != nil {
			t.Errorf("unmount: %v: %s", err, out)
		}
	}()
	for _, secret := range []string{"etc/kubernetes", "etc/slipway", "var/lib/kubelet/pki"} {
		dir := filepath.Join(mount, secret)
		if entries, err := os.ReadDir(dir); err != nil || len(entries) == 0 {
			t.Errorf("nothing to protect in %s: %v", secret, err)
		}
		out, _ := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "grep", "-rlE", "PRIVATE KEY|token|Bearer", dir).Output()
		if len(bytes.TrimSpace(out)) > 0 {
			t.Errorf("another user of the node reads secrets in: %s", out)
		}
	}
	if _, err := os.Stat(filepath.Join(mount, "boot/ignition/config.ign")); err == nil {
		t.Error("the first boot's Ignition is still there")
	}
}
