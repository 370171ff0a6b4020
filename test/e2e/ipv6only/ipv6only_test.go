//go:build e2e

// Package ipv6only is a site without a single IPv4 address: the appliance starts and machines come into its inventory.
package ipv6only

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/slipway-io/slipway/test/site"
)

func TestMain(m *testing.M) { os.Exit(site.Main(m.Run)) }

// TestIPv6Only boots over DHCPv6 and router advertisements, by UEFI PXE and by UEFI HTTP boot.
func TestIPv6Only(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Minute)
	defer cancel()
	config := site.Under()
	config.Segments = []site.Segment{{
		Name: "site6", Addresses: []netip.Prefix{netip.MustParsePrefix("fd77::2/64")},
		DHCP: map[string]any{"mode": "server", "pool": "fd77::1000-fd77::1fff"},
	}}
	pxe := &site.Machine{Name: "pxe6", Firmware: site.UEFI, MemoryMiB: 2048, NoPXE: []string{"IPv4"}}
	http := &site.Machine{Name: "http6", Firmware: site.UEFI, MemoryMiB: 2048, NoPXE: []string{"IPv4", "IPv6"}}
	config.Machines = []*site.Machine{pxe, http}
	opened, err := site.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	r := &site.Rehearsal{Site: opened, Report: site.NewReport(os.Stdout)}
	if err := r.Start(ctx); err != nil {
		opened.LastWords(t.Logf)
		t.Fatal(err)
	}
	t.Run("pxe6", func(t *testing.T) { boot(ctx, t, r, pxe, "NBP filename is snponly.efi") })
	t.Run("http6", func(t *testing.T) { boot(ctx, t, r, http, "URI: http://[fd77::2]:8080/loaders/snponly.efi") })
}

// boot powers the machine on and waits for its Agent, which has an address of the pool and none of IPv4.
func boot(ctx context.Context, t *testing.T, r *site.Rehearsal, machine *site.Machine, shown string) {
	start := time.Now()
	if err := machine.PowerOn(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if t.Failed() {
			r.LastWords(t.Logf)
		}
		if err := machine.PowerOff(); err != nil {
			t.Error(err)
		}
	}()
	err := r.Until(ctx, machine.Name+" registers", 6*time.Minute, func(ctx context.Context) (bool, string, error) {
		agent, err := r.AgentOf(ctx, r.Management, machine)
		if err != nil || agent == nil || len(agent.Status.Inventory.Interfaces) == 0 {
			return false, "no Agent", err
		}
		port := agent.Status.Inventory.Interfaces[0]
		if len(port.IPV4Addresses) > 0 {
			return false, "", fmt.Errorf("it has the IPv4 addresses %v", port.IPV4Addresses)
		}
		for _, address := range port.IPV6Addresses {
			if prefix, err := netip.ParsePrefix(address); err == nil && inPool(prefix.Addr()) {
				return true, "", nil
			}
		}
		return false, fmt.Sprint(port.IPV6Addresses), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	console, err := os.ReadFile(machine.Console())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(console, []byte(shown)) {
		t.Errorf("its console shows no %q: it came another way", shown)
	}
	r.Report.Say(machine.Name, "booted: firmware %s, %s, %.0f s from power-on to Agent", machine.Firmware, shown, time.Since(start).Seconds())
}

func inPool(a netip.Addr) bool {
	return netip.MustParseAddr("fd77::1000").Compare(a) <= 0 && a.Compare(netip.MustParseAddr("fd77::1fff")) <= 0
}
