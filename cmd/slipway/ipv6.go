package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/dhcp"
	"github.com/slipway-io/slipway/services/dhcp/dhcp6"
	"github.com/slipway-io/slipway/services/dhcp/lease"
	"github.com/slipway-io/slipway/services/dhcp/ra"
	"github.com/slipway-io/slipway/services/run"
)

// gatewayLifetime of the default route through the appliance: RFC 4861 has three times the longest interval, and this is more.
const gatewayLifetime = 30 * time.Minute

// listenIPv6 binds DHCPv6 and router advertisements of an interface that does DHCP.
func (a *appliance) listenIPv6(ctx context.Context, name string, nic api.Interface, boots dhcp.Boot, registry *prometheus.Registry, group *run.Group) error {
	address, ok := nic.IPv6()
	if !ok {
		a.listenNoIPv6(ctx, name, nic, registry, group)
		return nil
	}
	config, err := a.dhcp6Config(name, nic, address)
	if err != nil {
		return err
	}
	served := []netip.Prefix{config.Address.Masked()}
	for _, relayed := range config.Relayed {
		served = append(served, relayed.Prefix)
	}
	kept, err := reserved(name, nic, netip.Addr.Is6, served)
	if err != nil {
		return err
	}
	server, err := dhcp6.Listen(ctx, config, boots, kept, registry, a.log)
	if err != nil {
		return err
	}
	a.inventory.add(kept)
	group.Add("dhcp6 on "+name, server.Run)
	if config.Proxy {
		return nil // the site's router says where the other server is
	}
	advertiser, err := ra.Listen(ctx, a.advertised(name, nic, address, config.Search), registry, a.log)
	if err != nil {
		return err
	}
	group.Add("router advertisements on "+name, advertiser.Run)
	return nil
}

// listenNoIPv6 tells loaders on a network without IPv6 not to wait for it. They boot without, but later.
func (a *appliance) listenNoIPv6(ctx context.Context, name string, nic api.Interface, registry *prometheus.Registry, group *run.Group) {
	if nic.DHCP.Mode != api.DHCPServer {
		return
	}
	advertiser, err := ra.Listen(ctx, ra.Config{Interface: name}, registry, a.log)
	if err != nil {
		a.log.Warn("router solicitations stay unanswered, loaders wait for them", "interface", name, "err", err)
		return
	}
	group.Add("router advertisements on "+name, advertiser.Run)
}

// advertised is what hosts hear on a network whose DHCP server is the appliance.
func (a *appliance) advertised(name string, nic api.Interface, address netip.Prefix, search []string) ra.Config {
	d := nic.DHCP
	config := ra.Config{
		Interface: name, Managed: d.Managed(), Other: true, Prefix: address.Masked(), DNS: []netip.Addr{address.Addr()}, Search: search,
	}
	config.Autonomous = !config.Managed && address.Bits() == 64
	if d.SLAAC != nil {
		config.Autonomous = *d.SLAAC
	}
	if d.MTU >= 1280 { // the least of IPv6; a smaller one is for IPv4
		config.MTU = d.MTU
	}
	if d.Gateway == address.Addr() {
		config.RouterLifetime = gatewayLifetime
	}
	return config
}

// dhcp6Config is what the configuration file says about IPv6 on an interface.
func (a *appliance) dhcp6Config(name string, nic api.Interface, address netip.Prefix) (dhcp6.Config, error) {
	d := nic.DHCP
	own, err := a.subnet6(api.Relayed{Subnet: address.Masked(), Pool: d.Pool, NTP: d.NTP, Search: d.Search, LeaseTime: d.LeaseTime}, address.Addr())
	if err != nil {
		return dhcp6.Config{}, fmt.Errorf("interfaces.%s.dhcp.pool: %w", name, err)
	}
	config := dhcp6.Config{
		Interface: name, Address: address, Proxy: d.Mode == api.DHCPProxy,
		Ranges: own.Ranges, DNS: own.DNS, NTP: own.NTP, Search: own.Search, LeaseTime: own.LeaseTime, Dir: a.path("leases/ipv6"),
	}
	for i, relayed := range d.Relayed {
		if !relayed.Subnet.Addr().Is6() {
			continue
		}
		subnet, err := a.subnet6(relayed, address.Addr())
		if err != nil {
			return dhcp6.Config{}, fmt.Errorf("interfaces.%s.dhcp.relayed[%d].pool: %w", name, i, err)
		}
		config.Relayed = append(config.Relayed, subnet)
	}
	return config, nil
}

// subnet6 takes what is of IPv6; names are answered by the appliance.
func (a *appliance) subnet6(r api.Relayed, dns netip.Addr) (dhcp6.Subnet, error) {
	subnet := dhcp6.Subnet{
		Prefix: r.Subnet, DNS: []netip.Addr{dns}, Search: r.Search, LeaseTime: r.LeaseTime.Duration.Truncate(time.Second),
	}
	if len(r.Search) == 0 {
		subnet.Search = []string{a.config.Domain}
	}
	for _, server := range r.NTP {
		if server.Is6() {
			subnet.NTP = append(subnet.NTP, server)
		}
	}
	ranges, err := r.Ranges()
	if err != nil {
		return subnet, err
	}
	for _, pair := range api.IPv6Ranges(ranges) {
		subnet.Ranges = append(subnet.Ranges, lease.Range{From: pair[0], To: pair[1]})
	}
	return subnet, nil
}
