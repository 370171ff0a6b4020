//go:build e2e

package boot

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/test/site"
)

// signedNetwork starts x86 machines by shim and GRUB.
const signedNetwork = "site-signed"

func foreignWays() []way {
	return []way{
		{machine: &site.Machine{Name: "z", Firmware: site.Z}, path: ".ins over TFTP", architecture: "s390x", shown: "Network boot starting"},
		{machine: &site.Machine{Name: "arm", Firmware: site.ArmUEFI}, path: "PXE, TFTP, GRUB", architecture: "aarch64", shown: "Starting the live system"},
		{machine: &site.Machine{Name: "power", Firmware: site.Power}, path: "SLOF, PXELINUX configuration over TFTP", architecture: "ppc64le", shown: "Trying pxelinux.cfg files"},
		{machine: &site.Machine{Name: "signed", Firmware: site.SecureBoot, Segment: signedNetwork}, path: "PXE, TFTP, shim, GRUB", architecture: "x86_64", shown: "Starting the live system"},
	}
}

// TestArchitectures boots machines of IBM Z, Arm and Power, and an x86 machine with Secure Boot, one after the other.
// SLIPWAY_E2E_MACHINES names some of them.
func TestArchitectures(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	config := site.Under()
	config.Segments = []site.Segment{
		{Name: "site0", Addresses: site.Addresses(), DHCP: map[string]any{"mode": "server", "pool": "10.77.0.100-10.77.0.199"}},
		{Name: signedNetwork, Addresses: []netip.Prefix{netip.MustParsePrefix("10.89.0.2/24")},
			DHCP: map[string]any{"mode": "server", "pool": "10.89.0.100-10.89.0.199", "secureBoot": true}},
	}
	ways := foreignWays()
	if only := strings.Fields(os.Getenv("SLIPWAY_E2E_MACHINES")); len(only) > 0 {
		ways = slices.DeleteFunc(ways, func(w way) bool { return !slices.Contains(only, w.machine.Name) })
	}
	for _, way := range ways {
		way.machine.MemoryMiB = 2048
		config.Machines = append(config.Machines, way.machine)
	}
	opened, err := site.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	r := &site.Rehearsal{Site: opened, Report: site.NewReport(os.Stdout)}
	if err := r.Start(ctx); err != nil {
		opened.LastWords(t.Logf)
		t.Fatal(err)
	}
	for _, way := range ways {
		t.Run(way.machine.Name, func(t *testing.T) {
			if way.architecture != "x86_64" {
				infraEnvOf(t, r.Management, way.architecture)
			}
			way.boot(t, ctx, r)
		})
	}
	if t.Failed() {
		opened.LastWords(t.Logf)
	}
}

// infraEnvOf makes an InfraEnv of an architecture like the one that the appliance made for x86_64.
func infraEnvOf(t *testing.T, management client.Client, architecture string) {
	t.Helper()
	all := &agentv1beta1.InfraEnvList{}
	if err := management.List(t.Context(), all); err != nil || len(all.Items) == 0 {
		t.Fatal(len(all.Items), err)
	}
	infraEnv := &agentv1beta1.InfraEnv{
		ObjectMeta: metav1.ObjectMeta{Namespace: all.Items[0].Namespace, Name: architecture},
		Spec:       all.Items[0].Spec,
	}
	infraEnv.Spec.CpuArchitecture, infraEnv.Spec.OSImageVersion = architecture, ""
	if err := management.Create(t.Context(), infraEnv); err != nil {
		t.Fatal(err)
	}
}
