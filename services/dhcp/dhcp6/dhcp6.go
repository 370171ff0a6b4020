// Package dhcp6 is one protocol: parse, decide, answer. It is DHCPv6 (RFC 8415) with network boot (RFC 5970).
//
// As with DHCPv4 a client is its hardware address, not its DUID: firmware, loader, live system and installed system of a
// machine differ in the DUID and must all get the same address. So a client has one address per network.
package dhcp6

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/slipway-io/slipway/services/dhcp"
	"github.com/slipway-io/slipway/services/dhcp/lease"
)

// Subnet is what clients of one network are given.
type Subnet struct {
	Prefix netip.Prefix
	// Ranges to give out; without them only reservations are served.
	Ranges []lease.Range
	DNS    []netip.Addr
	NTP    []netip.Addr
	Search []string
	// LeaseTime is the valid lifetime of an address; an hour when 0.
	LeaseTime time.Duration
}

// Config is the service on one interface.
type Config struct {
	Interface string
	// Address is the server's own on that interface, with the length of the network that it serves.
	Address   netip.Prefix
	Ranges    []lease.Range
	DNS       []netip.Addr
	NTP       []netip.Addr
	Search    []string
	LeaseTime time.Duration
	// Proxy tells clients that boot what to boot, and nobody anything else: addresses come from a server that is not ours.
	Proxy bool
	// Relayed are further networks, reached through relay agents that have an address in them.
	Relayed []Subnet
	// Dir keeps the lease log and the server's DUID; it is made if need be.
	Dir string
}

// Boot says what a client that boots from the network is given; the zero Offer means nothing to boot.
type Boot interface {
	Boot(dhcp.Client) dhcp.Offer
}

// Reservations are IPv6 addresses that belong to one MAC. They may lie inside or outside the ranges.
type Reservations interface {
	Reservation(mac net.HardwareAddr) (addr netip.Addr, hostname string, ok bool)
	// Reserved tells the addresses that no other client may get.
	Reserved(addr netip.Addr) bool
}

// subnets lists the interface's own network first.
func (c Config) subnets() []Subnet {
	own := Subnet{c.Address.Masked(), c.Ranges, c.DNS, c.NTP, c.Search, c.LeaseTime}
	list := append([]Subnet{own}, c.Relayed...)
	for i := range list {
		if list[i].LeaseTime == 0 {
			list[i].LeaseTime = time.Hour
		}
	}
	return list
}

// Validate joins every fault of the configuration.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.Interface == "" {
		fault("interface: is not named")
	}
	if !is6(c.Address.Addr()) {
		fault("address: %v is not an IPv6 address with a prefix length", c.Address)
		return errors.Join(faults...)
	}
	subnets := c.subnets()
	for i, s := range subnets {
		if !is6(s.Prefix.Addr()) {
			fault("subnet %v: is not an IPv6 network", s.Prefix)
			continue
		}
		for _, other := range subnets[:i] {
			if s.Prefix.Overlaps(other.Prefix) {
				fault("subnet %s: overlaps subnet %s", s.Prefix, other.Prefix)
			}
		}
		if err := s.validate(c.Address.Addr()); err != nil {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

func (s Subnet) validate(server netip.Addr) error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("subnet %s: "+format, append([]any{s.Prefix.Masked()}, args...)...))
	}
	for i, r := range s.Ranges {
		if !is6(r.From) || !is6(r.To) || r.To.Less(r.From) {
			fault("range %s: the first address must not be after the last", r)
			continue
		}
		if !s.Prefix.Contains(r.From) || !s.Prefix.Contains(r.To) {
			fault("range %s: lies outside the subnet", r)
			continue
		}
		for _, other := range s.Ranges[:i] {
			if r.Contains(other.From) || other.Contains(r.From) {
				fault("range %s: overlaps range %s", r, other)
			}
		}
		if r.Contains(server) {
			fault("range %s: contains the server's address %s", r, server)
		}
		if anycast := s.Prefix.Masked().Addr(); r.Contains(anycast) {
			fault("range %s: contains the routers' anycast address %s", r, anycast)
		}
	}
	for _, a := range slices.Concat(s.DNS, s.NTP) {
		if !is6(a) {
			fault("server %s: DHCPv6 carries IPv6 addresses only", a)
		}
	}
	if s.LeaseTime != 0 && (s.LeaseTime < time.Minute || s.LeaseTime > 365*24*time.Hour) {
		fault("lease time %s: must be between a minute and a year", s.LeaseTime)
	}
	return errors.Join(faults...)
}

func is6(a netip.Addr) bool { return a.Is6() && !a.Is4In6() && a.Zone() == "" }
