//go:build e2e

// Package boot is every firmware's way into the inventory, on one virtual site with several networks.
package boot

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/test/site"
)

func TestMain(m *testing.M) { os.Exit(site.Main(m.Run)) }

// way is how one machine comes into the inventory.
type way struct {
	machine *site.Machine
	path    string
	// architecture that its Agent must have; x86_64 when empty.
	architecture string
	// iso is the kind of discovery ISO in its drive, none when empty.
	iso string
	// shown has to be on the machine's console: that the firmware went this way and no other.
	shown string
}

// ways are those that no other test's machines show. The rest:
//
//	UEFI, virtual media, minimal ISO; BIOS, virtual media, full ISO; BIOS, PXE, iPXE    test/e2e, the main job
//	UEFI, PXE, TFTP, iPXE                                                              test/e2e/gap/ipv4
//	UEFI over IPv6 only, PXE, TFTP, iPXE; UEFI over IPv6 only, HTTP boot               test/e2e/gap/ipv6
func ways() []way {
	return []way{
		{machine: &site.Machine{Name: "http", Firmware: site.UEFI, NoPXE: []string{"IPv4", "IPv6"}}, path: "UEFI HTTP boot, iPXE", shown: "UEFI HTTPv4"},
		{machine: &site.Machine{Name: "signed", Firmware: site.SecureBoot, Segment: signed}, path: "PXE, TFTP, shim, GRUB", shown: "Starting the live system"},
		{machine: &site.Machine{Name: "proxy", Firmware: site.UEFI, Segment: proxied}, path: "ProxyDHCP beside dnsmasq, TFTP, iPXE", shown: "NBP filename is snponly.efi"},
		{machine: &site.Machine{Name: "cd-uefi", Firmware: site.UEFI}, path: "CD, full ISO", iso: "full", shown: "UEFI QEMU QEMU CD-ROM"},
		{machine: &site.Machine{Name: "cdmin-bios", Firmware: site.BIOS}, path: "CD, minimal ISO", iso: "minimal", shown: "ISOLINUX"},
		{machine: &site.Machine{Name: "z", Firmware: site.Z}, path: ".ins over TFTP", architecture: "s390x", shown: "Network boot starting"},
		{machine: &site.Machine{Name: "arm", Firmware: site.ArmUEFI}, path: "PXE, TFTP, GRUB", architecture: "aarch64", shown: "Starting the live system"},
		{machine: &site.Machine{Name: "power", Firmware: site.Power}, path: "SLOF, PXELINUX configuration over TFTP", architecture: "ppc64le", shown: "Trying pxelinux.cfg files"},
	}
}

// The site's networks beside its first one: proxied has a DHCP server already, signed starts x86 machines by shim and GRUB.
const (
	proxied = "site1"
	signed  = "site2"
)

func segments() []site.Segment {
	return []site.Segment{
		{Name: "site0", Addresses: site.Addresses(), DHCP: map[string]any{"mode": "server", "pool": "10.77.0.100-10.77.0.199"}},
		{Name: proxied, Addresses: []netip.Prefix{netip.MustParsePrefix("10.88.0.2/24")}, DHCP: map[string]any{"mode": "proxy"}},
		{Name: signed, Addresses: []netip.Prefix{netip.MustParsePrefix("10.89.0.2/24")},
			DHCP: map[string]any{"mode": "server", "pool": "10.89.0.100-10.89.0.199", "secureBoot": true}},
	}
}

// atOnce is how many machines have power at a time: each wants a processor for itself.
const atOnce = 2

// TestFirmware boots each machine, two at a time, until it registers.
func TestFirmware(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	config := site.Under()
	config.Segments = segments()
	all := ways()
	for _, way := range all {
		way.machine.MemoryMiB, way.machine.CPUs = 2048, 1
		config.Machines = append(config.Machines, way.machine)
	}
	opened, err := site.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	err = opened.ForeignDHCP(proxied, netip.MustParsePrefix("10.88.0.1/24"), [2]netip.Addr{netip.MustParseAddr("10.88.0.50"), netip.MustParseAddr("10.88.0.99")})
	if err != nil {
		t.Fatal(err)
	}
	r := &site.Rehearsal{Site: opened, Report: site.NewReport(os.Stdout)}
	if err := r.Start(ctx); err != nil {
		opened.LastWords(t.Logf)
		t.Fatal(err)
	}
	for i, way := range all {
		if way.architecture == "" {
			all[i].architecture = "x86_64"
			continue
		}
		infraEnvOf(t, r.Management, way.architecture)
	}
	power := make(chan struct{}, atOnce)
	var wait sync.WaitGroup
	for _, way := range all {
		wait.Go(func() {
			power <- struct{}{}
			defer func() { <-power }()
			t.Run(way.machine.Name, func(t *testing.T) { way.boot(t, ctx, r) })
		})
	}
	wait.Wait()
	t.Run("approve", func(t *testing.T) { checkApproval(t, ctx, r) })
}

// checkApproval: machines that nobody declared wait for a person, who approves one.
func checkApproval(t *testing.T, ctx context.Context, r *site.Rehearsal) {
	approved := func() (names, yes []string) {
		agents := &agentv1beta1.AgentList{}
		if err := r.Management.List(ctx, agents); err != nil {
			t.Fatal(err)
		}
		for _, agent := range agents.Items {
			names = append(names, agent.Name)
			if agent.Spec.Approved {
				yes = append(yes, agent.Name)
			}
		}
		return names, yes
	}
	names, yes := approved()
	if len(names) == 0 || len(yes) > 0 {
		t.Fatalf("of %v nobody approved, and approved are %v", names, yes)
	}
	if err := r.Verb(ctx, "approve", names[0]); err != nil {
		t.Fatal(err)
	}
	if _, yes := approved(); !slices.Equal(yes, names[:1]) {
		t.Errorf("%s was approved, and approved are %v", names[0], yes)
	}
}

// boot powers the machine on and waits for its Agent.
func (w way) boot(t *testing.T, ctx context.Context, r *site.Rehearsal) {
	if w.iso != "" {
		w.machine.Media = discoveryISO(t, ctx, r, w.iso)
	}
	start := time.Now()
	if err := w.machine.PowerOn(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if t.Failed() {
			w.lastWords(t)
		}
		if err := w.machine.PowerOff(); err != nil {
			t.Error(err)
		}
	}()
	err := r.Until(ctx, w.machine.Name+" registers", 8*time.Minute, func(ctx context.Context) (bool, string, error) {
		agent, err := r.AgentOf(ctx, r.Management, w.machine)
		if err != nil || agent == nil {
			return false, "no Agent", err
		}
		if got := agent.Status.Inventory.Cpu.Architecture; got != w.architecture {
			return false, "", fmt.Errorf("its Agent has architecture %q, not %s", got, w.architecture)
		}
		return true, "", nil
	})
	if err != nil {
		t.Fatal(err)
	}
	console, err := os.ReadFile(w.machine.Console())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(console, []byte(w.shown)) {
		t.Errorf("its console shows no %q: it came another way", w.shown)
	}
	spent, err := w.machine.CPU()
	if err != nil {
		t.Fatal(err)
	}
	r.Report.Say(w.machine.Name, "booted: firmware %s, %s, %s, %.0f s from power-on to Agent, %.0f s of a processor",
		w.machine.Firmware, w.path, w.architecture, time.Since(start).Seconds(), spent.Seconds())
}

// discoveryISO is the URL of the InfraEnv's ISO of a kind.
func discoveryISO(t *testing.T, ctx context.Context, r *site.Rehearsal, kind string) string {
	envs := &agentv1beta1.InfraEnvList{}
	if err := r.Management.List(ctx, envs); err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(envs.Items, func(e agentv1beta1.InfraEnv) bool { return e.Status.ISODownloadURL != "" })
	if at < 0 {
		t.Fatalf("no InfraEnv with an ISO: %+v", envs.Items)
	}
	url := envs.Items[at].Status.ISODownloadURL
	return url[:strings.LastIndex(url, "/")] + "/" + kind + ".iso"
}

func (w way) lastWords(t *testing.T) {
	text, err := os.ReadFile(w.machine.Console())
	if err != nil {
		t.Log(err)
		return
	}
	t.Logf("end of its console:\n%s", text[max(0, len(text)-4000):])
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
