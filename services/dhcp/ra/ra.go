// Package ra is one protocol: parse, decide, answer. It is router advertisement (RFC 4861) as far as it brings hosts to
// their addresses: that there is DHCPv6, which prefix is on the link, and who answers DNS (RFC 8106).
//
// The appliance is no router unless it is told to be the gateway: a router lifetime of zero. Where a router of the site
// advertises, only what it leaves out is added.
package ra

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/mdlayher/ndp"
)

// Config is what is advertised on one interface. With nothing but the name, solicitations are answered with "no router, no
// prefix, no DHCPv6", which spares iPXE a wait of 17 seconds on a network without IPv6.
type Config struct {
	Interface string
	// Managed says that addresses come by DHCPv6, Other that the rest does.
	Managed, Other bool
	// Prefix is on the link; hosts make addresses in it by themselves when it is Autonomous, which takes a /64.
	Prefix     netip.Prefix
	Autonomous bool
	// RouterLifetime is that of the default route through the appliance; 0 when it is none.
	RouterLifetime time.Duration
	MTU            int // bytes; 0 says nothing
	DNS            []netip.Addr
	Search         []string
}

// Lifetimes of what is advertised: those of RFC 4861 §6.2.1 for prefixes, three intervals for DNS (RFC 8106 §5.1).
const (
	prefixValid     = 30 * 24 * time.Hour
	prefixPreferred = 7 * 24 * time.Hour
	dnsLifetime     = 3 * intervalMost
)

// Validate joins every fault of the configuration.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if c.Interface == "" {
		fault("interface: is not named")
	}
	if c.Prefix.IsValid() && (!c.Prefix.Addr().Is6() || c.Prefix.Addr().Is4In6()) {
		fault("prefix %s: is not of IPv6", c.Prefix)
	}
	if c.Autonomous && c.Prefix.Bits() != 64 {
		fault("prefix %s: hosts make addresses by themselves in a /64 only", c.Prefix)
	}
	if c.RouterLifetime < 0 || c.RouterLifetime > 9000*time.Second {
		fault("router lifetime %s: must be between 0 and 2h30m", c.RouterLifetime)
	}
	if c.MTU != 0 && (c.MTU < 1280 || c.MTU > 65535) {
		fault("MTU %d: must be between 1280 and 65535", c.MTU)
	}
	if len(c.DNS) > 16 || len(c.Search) > 16 {
		fault("%d DNS servers and %d search domains: an advertisement carries 16 of each", len(c.DNS), len(c.Search))
	}
	for _, a := range c.DNS {
		if !a.Is6() || a.Is4In6() {
			fault("DNS server %s: is not an IPv6 address", a)
		}
	}
	return errors.Join(faults...)
}

// says tells whether there is anything to advertise unasked.
func (c Config) says() bool {
	return c.Managed || c.Other || c.RouterLifetime > 0 || c.adds()
}

func (c Config) adds() bool {
	return c.Prefix.IsValid() || c.MTU != 0 || len(c.DNS) > 0 || len(c.Search) > 0
}

// beside is what is left to say beside the advertisements of others; false when that is nothing. Flags are joined, because
// hosts act on those that they heard last.
func (c Config) beside(others []*ndp.RouterAdvertisement) (Config, bool) {
	if len(others) == 0 {
		return c, true
	}
	left := c
	left.DNS, left.Search = slices.Clone(c.DNS), slices.Clone(c.Search)
	var managed, other bool
	for _, o := range others {
		managed, other = managed || o.ManagedConfiguration, other || o.OtherConfiguration || o.ManagedConfiguration
		left.subtract(o.Options)
	}
	if !left.adds() && left.RouterLifetime == 0 && (managed || !c.Managed) && (other || !c.Other) {
		return Config{}, false
	}
	left.Managed, left.Other = c.Managed || managed, c.Other || other
	return left, true
}

func (c *Config) subtract(options []ndp.Option) {
	for _, option := range options {
		switch o := option.(type) {
		case *ndp.PrefixInformation:
			if o.OnLink && netip.PrefixFrom(o.Prefix, int(o.PrefixLength)).Masked() == c.Prefix.Masked() {
				c.Prefix, c.Autonomous = netip.Prefix{}, false
			}
		case *ndp.MTU:
			c.MTU = 0
		case *ndp.RecursiveDNSServer:
			c.DNS = slices.DeleteFunc(c.DNS, func(a netip.Addr) bool { return slices.Contains(o.Servers, a) })
		case *ndp.DNSSearchList:
			c.Search = slices.DeleteFunc(c.Search, func(domain string) bool {
				return slices.ContainsFunc(o.DomainNames, func(other string) bool { return strings.EqualFold(domain, other) })
			})
		}
	}
}

// advertisement renders the message; its checksum is the kernel's.
func (c Config) advertisement(mac net.HardwareAddr) ([]byte, error) {
	m := &ndp.RouterAdvertisement{
		ManagedConfiguration: c.Managed, OtherConfiguration: c.Other, RouterLifetime: c.RouterLifetime,
	}
	if c.says() {
		m.CurrentHopLimit = 64
	}
	if len(mac) == 6 {
		m.Options = append(m.Options, &ndp.LinkLayerAddress{Direction: ndp.Source, Addr: mac})
	}
	if c.MTU != 0 {
		m.Options = append(m.Options, ndp.NewMTU(uint32(c.MTU)))
	}
	if c.Prefix.IsValid() {
		m.Options = append(m.Options, &ndp.PrefixInformation{
			Prefix: c.Prefix.Masked().Addr(), PrefixLength: uint8(c.Prefix.Bits()), OnLink: true,
			AutonomousAddressConfiguration: c.Autonomous, ValidLifetime: prefixValid, PreferredLifetime: prefixPreferred,
		})
	}
	if len(c.DNS) > 0 {
		m.Options = append(m.Options, &ndp.RecursiveDNSServer{Lifetime: dnsLifetime, Servers: c.DNS})
	}
	if len(c.Search) > 0 {
		m.Options = append(m.Options, &ndp.DNSSearchList{Lifetime: dnsLifetime, DomainNames: c.Search})
	}
	raw, err := ndp.MarshalMessage(m)
	if err != nil {
		return nil, fmt.Errorf("encode router advertisement: %w", err)
	}
	return raw, nil
}
