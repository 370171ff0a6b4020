package dhcp

import "github.com/slipway-io/slipway/services/dhcp/lease"

// What both families share, so that users of this package need not know where it is kept.
type (
	Lease = lease.Lease
	Range = lease.Range
)

func newTable(subnets []Subnet) *lease.Table {
	var ranges [][]Range
	for _, s := range subnets {
		ranges = append(ranges, s.Ranges)
	}
	return lease.NewTable(ranges)
}
