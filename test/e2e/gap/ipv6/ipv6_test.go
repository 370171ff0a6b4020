//go:build e2e

// Package ipv6 carries images across the gap to a site without a single IPv4 address.
package ipv6

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
		Segment: site.Segment{
			Name: "gap6", Addresses: []netip.Prefix{netip.MustParsePrefix("fd77::2/64")},
			DHCP: map[string]any{"mode": "server", "pool": "fd77::1000-fd77::1fff"},
		},
		Machine: &site.Machine{Name: "gap6", Firmware: site.UEFI, NoPXE: []string{"IPv4"}},
		Source:  netip.MustParseAddr("2001:db8::10"),
	})
}
