//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/test/site"
)

// fullISO makes the InfraEnv whose discovery image brings its root file system along.
func fullISO(t *testing.T, ctx context.Context, r *site.Rehearsal) {
	envs := &agentv1beta1.InfraEnvList{}
	must(t, r.Management.List(ctx, envs))
	infraEnv := &agentv1beta1.InfraEnv{
		ObjectMeta: metav1.ObjectMeta{Namespace: envs.Items[0].Namespace, Name: "full", Annotations: map[string]string{api.ImageTypeAnnotation: "full-iso"}},
		Spec:       agentv1beta1.InfraEnvSpec{PullSecretRef: envs.Items[0].Spec.PullSecretRef},
	}
	must(t, r.Management.Create(ctx, infraEnv))
	must(t, r.Until(ctx, "InfraEnv with full ISO", time.Minute, func(ctx context.Context) (bool, string, error) {
		err := r.Management.Get(ctx, client.ObjectKeyFromObject(infraEnv), infraEnv)
		return strings.HasSuffix(infraEnv.Status.ISODownloadURL, "/full.iso"), infraEnv.Status.ISODownloadURL, err
	}))
}

// checkBoots: each machine came in by its own way, which its console shows, with the right architecture.
func checkBoots(t *testing.T, ctx context.Context, r *site.Rehearsal) {
	for i, way := range []struct{ path, shown string }{
		{"virtual media, minimal ISO", "UEFI QEMU QEMU CD-ROM"}, {"virtual media, full ISO", "ISOLINUX"}, {"PXE, iPXE", "initrd=initrd"},
	} {
		machine := r.Machines[i]
		agent, err := r.AgentOf(ctx, r.Management, machine)
		must(t, err)
		if got := agent.Status.Inventory.Cpu.Architecture; got != "x86_64" {
			t.Errorf("the Agent of %s has architecture %q", machine.Name, got)
		}
		console, err := os.ReadFile(machine.Console())
		must(t, err)
		if !bytes.Contains(console, []byte(way.shown)) {
			t.Errorf("the console of %s shows no %q: it came another way", machine.Name, way.shown)
		}
		r.Report.Say(machine.Name, "booted: firmware %s, %s, x86_64, %.0f s from power-on to Agent",
			machine.Firmware, way.path, agent.CreationTimestamp.Sub(machine.PoweredOn()).Seconds())
	}
}

// checkStarts: the BMC started each machine at least so often from its discovery image, in the way that it can.
func checkStarts(t *testing.T, r *site.Rehearsal, least int) {
	t.Helper()
	for i, want := range []string{"/minimal.iso", "/full.iso", "Pxe"} {
		machine := r.Machines[i]
		starts := machine.BMC.Scripted.Starts()
		for i, start := range starts {
			if from, url, isCD := strings.Cut(start, " "); isCD {
				// The path before the file's name has a token.
				starts[i] = from + " …" + url[strings.LastIndex(url, "/"):]
			}
		}
		t.Logf("%s was started by its BMC from %v", machine.Name, starts)
		discovery := slices.DeleteFunc(slices.Clone(starts), func(start string) bool { return !strings.HasSuffix(start, want) })
		if len(discovery) < least {
			t.Errorf("%s was started from %v, want %d times %s", machine.Name, starts, least, want)
		}
		if counts := machine.BMC.Scripted.Counts(); counts.AtOnce > 2 {
			t.Errorf("BMC of %s saw %d requests at a time", machine.Name, counts.AtOnce)
		}
	}
}
