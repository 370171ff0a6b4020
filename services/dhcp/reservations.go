package dhcp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// Reservation fixes the address of one MAC.
type Reservation struct {
	MAC      net.HardwareAddr
	Address  netip.Addr
	Hostname string
}

// Fixed is a list of reservations that does not change.
type Fixed struct {
	byMAC  map[string]Reservation
	byAddr map[netip.Addr]struct{}
}

// NewFixed refuses two reservations of one MAC or one address.
func NewFixed(list ...Reservation) (Fixed, error) {
	f := Fixed{map[string]Reservation{}, map[netip.Addr]struct{}{}}
	var faults []error
	for _, r := range list {
		if len(r.MAC) == 0 || !r.Address.IsValid() {
			faults = append(faults, fmt.Errorf("reservation of %s for %s: needs a MAC and an address", r.Address, r.MAC))
		}
		if other, taken := f.byMAC[r.MAC.String()]; taken {
			faults = append(faults, fmt.Errorf("reservation of %s: %s has %s already", r.Address, r.MAC, other.Address))
		}
		if _, taken := f.byAddr[r.Address]; taken {
			faults = append(faults, fmt.Errorf("reservation of %s for %s: is reserved for another MAC", r.Address, r.MAC))
		}
		f.byMAC[r.MAC.String()], f.byAddr[r.Address] = r, struct{}{}
	}
	return f, errors.Join(faults...)
}

// Reservation finds the address of a MAC.
func (f Fixed) Reservation(mac net.HardwareAddr) (netip.Addr, string, bool) {
	r, ok := f.byMAC[mac.String()]
	return r.Address, r.Hostname, ok
}

// Reserved tells whether an address has an owner.
func (f Fixed) Reserved(addr netip.Addr) bool {
	_, ok := f.byAddr[addr]
	return ok
}
