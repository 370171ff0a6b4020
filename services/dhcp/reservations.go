package dhcp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
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

// Host is what the inventory knows of one network port. Without a MAC its addresses are kept from everybody; without an
// address the port is told its host's name, and what it once leased goes to no other.
type Host struct {
	MAC       net.HardwareAddr
	Addresses []netip.Addr // of either family
	Hostname  string
}

// Set is reservations that may be replaced while the service runs.
type Set struct {
	fixed  []Reservation
	served []netip.Prefix
	now    atomic.Pointer[Fixed]
}

// NewSet starts with the reservations of the configuration file, which win over those of the inventory. Of a host's
// addresses the first one counts that is in a served network.
func NewSet(served []netip.Prefix, fixed ...Reservation) (*Set, error) {
	start, err := NewFixed(fixed...)
	if err != nil {
		return nil, err
	}
	s := &Set{fixed: fixed, served: served}
	s.now.Store(&start)
	return s, nil
}

// Replace takes what the inventory knows in place of what it knew before.
func (s *Set) Replace(hosts []Host) {
	merged := Fixed{make(map[string]Reservation, len(hosts)+len(s.fixed)), map[netip.Addr]struct{}{}}
	for _, r := range s.fixed {
		merged.byMAC[r.MAC.String()], merged.byAddr[r.Address] = r, struct{}{}
	}
	for _, h := range hosts {
		merged.add(h, s.served)
	}
	s.now.Store(&merged)
}

func (f Fixed) add(h Host, served []netip.Prefix) {
	mac := h.MAC.String()
	r, known := f.byMAC[mac]
	if !known {
		r = Reservation{MAC: h.MAC}
	}
	if r.Hostname == "" {
		r.Hostname = h.Hostname
	}
	for _, a := range h.Addresses {
		if !slices.ContainsFunc(served, func(p netip.Prefix) bool { return p.Contains(a) }) {
			continue
		}
		if _, taken := f.byAddr[a]; taken {
			continue
		}
		f.byAddr[a] = struct{}{}
		if !r.Address.IsValid() {
			r.Address = a
		}
	}
	if len(h.MAC) > 0 {
		f.byMAC[mac] = r
	}
}

// Reservation finds what belongs to a MAC; the address is not valid where only the name is known.
func (s *Set) Reservation(mac net.HardwareAddr) (netip.Addr, string, bool) {
	return s.now.Load().Reservation(mac)
}

// Reserved tells whether an address has an owner.
func (s *Set) Reserved(addr netip.Addr) bool { return s.now.Load().Reserved(addr) }
