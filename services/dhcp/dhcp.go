// Package dhcp is one protocol: parse, decide, answer.
//
// A client is its hardware address, not its client identifier: firmware, loader, live system and installed system of a
// machine differ in the identifier and must all get the same address.
package dhcp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/google/uuid"
)

// Subnet is what clients of one network are given.
type Subnet struct {
	Prefix    netip.Prefix
	Ranges    []Range // none: only reservations are served
	Gateway   netip.Addr
	DNS       []netip.Addr
	NTP       []netip.Addr
	Domain    string
	Search    []string
	MTU       int // bytes; hosts keep theirs when 0
	Routes    []Route
	LeaseTime time.Duration // an hour when 0
}

// Route sends a network through a router (option 121, RFC 3442).
type Route struct {
	To  netip.Prefix
	Via netip.Addr
}

// Config is the service on one interface.
type Config struct {
	Interface string
	// Address is the server's own on that interface, with the length of the network that it serves.
	Address   netip.Prefix
	Ranges    []Range
	Gateway   netip.Addr
	DNS       []netip.Addr
	NTP       []netip.Addr
	Domain    string
	Search    []string
	MTU       int
	Routes    []Route
	LeaseTime time.Duration
	// Proxy adds what to boot to the leases of a DHCP server that is not ours (PXE 2.1 §2.2.2) and gives no address itself.
	// What describes the network, but for the prefixes of Relayed, is not used then.
	Proxy bool
	// Relayed are further networks, reached through relay agents that have an address in them.
	Relayed []Subnet
	// Dir keeps the lease log; it is made if need be.
	Dir string
}

// Boot says what a client that boots from the network is given; the zero Offer means nothing to boot.
type Boot interface {
	Boot(Client) Offer
}

// Reservations are addresses that belong to one MAC. They may lie inside or outside the ranges. A MAC may be known without
// an address: what it once leased then goes to no other.
type Reservations interface {
	Reservation(mac net.HardwareAddr) (addr netip.Addr, hostname string, ok bool)
	// Reserved tells the addresses that no other client may get.
	Reserved(addr netip.Addr) bool
}

// Client is what a booting client told about itself.
type Client struct {
	MAC   net.HardwareAddr
	Arch  Arch
	UUID  uuid.UUID  // uuid.Nil when it sent none
	PXE   bool       // firmware or loader that wants a file to boot and says so in its vendor class
	HTTP  bool       // UEFI HTTP boot
	IPXE  bool       // user class iPXE
	SLOF  bool       // firmware of Power guests
	Local netip.Addr // the server's address that this client can reach
}

// Offer is what to boot.
type Offer struct {
	NextServer  netip.Addr // TFTP server
	BootFile    string     // file name or URL
	VendorClass string     // option 60; firmware ignores an offer without the class it sent
	ConfigFile  string     // option 209, for those who ask
	PathPrefix  string     // option 210, for those who ask
}

// subnets lists the interface's own network first.
func (c Config) subnets() []Subnet {
	own := Subnet{c.Address.Masked(), c.Ranges, c.Gateway, c.DNS, c.NTP, c.Domain, c.Search, c.MTU, c.Routes, c.LeaseTime}
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
	if !c.Address.IsValid() || !c.Address.Addr().Is4() {
		fault("address: %v is not an IPv4 address with a prefix length", c.Address)
		return errors.Join(faults...)
	}
	subnets := c.subnets()
	for i, s := range subnets {
		if !s.Prefix.IsValid() || !s.Prefix.Addr().Is4() || s.Prefix.Bits() < 8 || s.Prefix.Bits() > 31 {
			fault("subnet %v: is not an IPv4 network of /8 to /31", s.Prefix)
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
	faults = append(faults, s.validateRanges(server)...)
	if s.Gateway.IsValid() && !s.Prefix.Contains(s.Gateway) {
		fault("gateway %s: lies outside the subnet", s.Gateway)
	}
	if s.MTU != 0 && (s.MTU < 576 || s.MTU > 65535) {
		fault("mtu %d: must be between 576 and 65535 bytes", s.MTU)
	}
	for _, r := range s.Routes {
		if !r.To.IsValid() || !r.To.Addr().Is4() || !s.Prefix.Contains(r.Via) {
			fault("route to %s via %s: needs an IPv4 network and a router inside the subnet", r.To, r.Via)
		}
	}
	for _, a := range slices.Concat(s.DNS, s.NTP) {
		if !a.Is4() {
			fault("server %s: DHCPv4 carries IPv4 addresses only", a)
		}
	}
	if s.LeaseTime != 0 && (s.LeaseTime < time.Minute || s.LeaseTime > 365*24*time.Hour) {
		fault("lease time %s: must be between a minute and a year", s.LeaseTime)
	}
	return errors.Join(faults...)
}

func (s Subnet) validateRanges(server netip.Addr) []error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("subnet %s: "+format, append([]any{s.Prefix.Masked()}, args...)...))
	}
	for i, r := range s.Ranges {
		if !r.From.Is4() || !r.To.Is4() || r.To.Less(r.From) {
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
		if s.Prefix.Bits() < 31 {
			if network := s.Prefix.Masked().Addr(); r.Contains(network) {
				fault("range %s: contains the network's address %s", r, network)
			}
			if last := broadcast(s.Prefix); r.Contains(last) {
				fault("range %s: contains the broadcast address %s", r, last)
			}
		}
		if r.Contains(server) {
			fault("range %s: contains the server's address %s", r, server)
		}
		if s.Gateway.IsValid() && r.Contains(s.Gateway) {
			fault("range %s: contains the gateway %s", r, s.Gateway)
		}
	}
	return faults
}

// broadcast is the last address of an IPv4 network.
func broadcast(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		a[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(a)
}
