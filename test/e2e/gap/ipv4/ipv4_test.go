//go:build e2e

// Package ipv4 carries images across the gap to a site of IPv4.
package ipv4

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"testing"

	"github.com/slipway-io/slipway/test/e2e/gap"
	"github.com/slipway-io/slipway/test/site"
)

func TestMain(m *testing.M) { os.Exit(site.Main(m.Run)) }

// TestGap installs a machine of UEFI that boots by PXE, TFTP and iPXE.
func TestGap(t *testing.T) {
	gap.Run(t, gap.Family{
		Segment: site.Segment{Name: "gap4", Addresses: site.Addresses(), DHCP: map[string]any{"mode": "server", "pool": "10.77.0.100-10.77.0.199"}},
		Machine: &site.Machine{Name: "gap4", Firmware: site.UEFI},
		Source:  netip.MustParseAddr("192.0.2.10"),
		Booted: func(_ context.Context, t *testing.T, _ *site.Rehearsal, machine *site.Machine) {
			console, err := os.ReadFile(machine.Console())
			if err != nil || !bytes.Contains(console, []byte("NBP filename is snponly.efi")) || !bytes.Contains(console, []byte("PXE over IPv4")) {
				t.Errorf("its console does not show PXE over IPv4: %v", err)
			}
		},
	})
}
