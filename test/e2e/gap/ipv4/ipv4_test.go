//go:build e2e

// Package ipv4 carries images across the gap to a site of IPv4.
package ipv4

import (
	"net/netip"
	"os"
	"testing"

	"github.com/slipway-io/slipway/test/e2e/gap"
	"github.com/slipway-io/slipway/test/site"
)

func TestMain(m *testing.M) { os.Exit(site.Main(m.Run)) }

func TestGap(t *testing.T) {
	gap.Run(t, gap.Family{
		Segment: site.Segment{Name: "gap4", Addresses: site.Addresses(), DHCP: map[string]any{"mode": "server", "pool": "10.77.0.100-10.77.0.199"}},
		Machine: &site.Machine{Name: "gap4", Firmware: site.BIOS},
		Source:  netip.MustParseAddr("192.0.2.10"),
	})
}
