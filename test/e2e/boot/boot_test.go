//go:build e2e

// Package boot is every firmware's way into the inventory, on one virtual site with several networks.
package boot

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"

	"github.com/slipway-io/slipway/test/site"
)

func TestMain(m *testing.M) { os.Exit(site.Main(m.Run)) }

// way is how one machine comes into the inventory.
type way struct {
	machine *site.Machine
	path    string
	// architecture that its Agent must have.
	architecture string
	// iso is the kind of discovery ISO in its drive, none when empty.
	iso string
	// shown has to be on the machine's console: that the firmware went this way and no other.
	shown string
}

func ways() []way {
	return []way{
		{&site.Machine{Name: "bios", Firmware: site.BIOS}, "PXE, iPXE", "x86_64", "", "iPXE"},
		{&site.Machine{Name: "uefi", Firmware: site.UEFI}, "PXE, TFTP, iPXE", "x86_64", "", "NBP filename is snponly.efi"},
		{&site.Machine{Name: "http", Firmware: site.UEFI, NoPXE: []string{"IPv4", "IPv6"}}, "UEFI HTTP boot, iPXE", "x86_64", "", "UEFI HTTPv4"},
		{&site.Machine{Name: "cd-bios", Firmware: site.BIOS}, "CD, full ISO", "x86_64", "full", "ISOLINUX"},
		{&site.Machine{Name: "cd-uefi", Firmware: site.UEFI}, "CD, full ISO", "x86_64", "full", "UEFI QEMU QEMU CD-ROM"},
		{&site.Machine{Name: "cdmin-bios", Firmware: site.BIOS}, "CD, minimal ISO", "x86_64", "minimal", "ISOLINUX"},
		{&site.Machine{Name: "cdmin-uefi", Firmware: site.UEFI}, "CD, minimal ISO", "x86_64", "minimal", "UEFI QEMU QEMU CD-ROM"},
		{&site.Machine{Name: "proxy", Firmware: site.UEFI, Segment: proxied}, "ProxyDHCP beside dnsmasq, TFTP, iPXE", "x86_64", "", "NBP filename is snponly.efi"},
	}
}

const (
	proxied = "site1"
)

func segments() []site.Segment {
	return []site.Segment{
		{Name: "site0", Addresses: site.Addresses(), DHCP: map[string]any{"mode": "server", "pool": "10.77.0.100-10.77.0.199"}},
		{Name: proxied, Addresses: []netip.Prefix{netip.MustParsePrefix("10.88.0.2/24")}, DHCP: map[string]any{"mode": "proxy"}},
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
		way.machine.MemoryMiB = 2048
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
	err := r.Until(ctx, w.machine.Name+" registers", 5*time.Minute, func(ctx context.Context) (bool, string, error) {
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
	r.Report.Say(w.machine.Name, "booted: firmware %s, %s, %s, %.0f s from power-on to Agent",
		w.machine.Firmware, w.path, w.architecture, time.Since(start).Seconds())
}

// discoveryISO is the URL of the InfraEnv's ISO of a kind.
func discoveryISO(t *testing.T, ctx context.Context, r *site.Rehearsal, kind string) string {
	envs := &agentv1beta1.InfraEnvList{}
	if err := r.Management.List(ctx, envs); err != nil {
		t.Fatal(err)
	}
	if len(envs.Items) != 1 || envs.Items[0].Status.ISODownloadURL == "" {
		t.Fatalf("not one InfraEnv with an ISO: %+v", envs.Items)
	}
	url := envs.Items[0].Status.ISODownloadURL
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
