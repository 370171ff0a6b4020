package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/controllers/reservations"
	"github.com/slipway-io/slipway/services/dhcp"
	"github.com/slipway-io/slipway/services/run"
)

func (a *appliance) listenDHCP(ctx context.Context, name string, nic api.Interface, boots dhcp.Boot, registry *prometheus.Registry, group *run.Group) error {
	config, err := a.dhcpConfig(name, nic)
	if err != nil {
		return err
	}
	served := []netip.Prefix{config.Address.Masked()}
	for _, relayed := range config.Relayed {
		served = append(served, relayed.Prefix)
	}
	kept, err := reserved(name, nic, netip.Addr.Is4, served)
	if err != nil {
		return err
	}
	server, err := dhcp.Listen(ctx, config, boots, kept, registry, a.log)
	if err != nil {
		return err
	}
	a.inventory.add(kept)
	group.Add("dhcp on "+name, server.Run)
	return nil
}

// reserved are the configuration's reservations of one family.
func reserved(name string, nic api.Interface, family func(netip.Addr) bool, served []netip.Prefix) (*dhcp.Set, error) {
	var fixed []dhcp.Reservation
	for _, reservation := range nic.DHCP.Reservations {
		mac, err := net.ParseMAC(reservation.MAC)
		if err != nil {
			return nil, fmt.Errorf("interfaces.%s.dhcp.reservations: %w", name, err)
		}
		if family(reservation.Address) {
			fixed = append(fixed, dhcp.Reservation{MAC: mac, Address: reservation.Address, Hostname: reservation.Hostname})
		}
	}
	set, err := dhcp.NewSet(served, fixed...)
	if err != nil {
		return nil, fmt.Errorf("interfaces.%s.dhcp.reservations: %w", name, err)
	}
	return set, nil
}

// inventory hands what is known of hosts to every DHCP service, whichever of the two comes first.
type inventory struct {
	mu    sync.Mutex
	sets  []*dhcp.Set
	hosts []dhcp.Host
}

func (i *inventory) add(set *dhcp.Set) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.sets = append(i.sets, set)
	set.Replace(i.hosts)
}

// Set implements reservations.Leases.
func (i *inventory) Set(hosts []reservations.Host) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.hosts = nil
	for _, host := range hosts {
		mac, err := net.ParseMAC(host.MAC)
		if err != nil {
			mac = nil // its addresses are kept from everybody
		}
		i.hosts = append(i.hosts, dhcp.Host{MAC: mac, Addresses: host.Addresses, Hostname: host.Hostname})
	}
	for _, set := range i.sets {
		set.Replace(i.hosts)
	}
}

// dhcpConfig is what the configuration file says about IPv4 on an interface.
func (a *appliance) dhcpConfig(name string, nic api.Interface) (dhcp.Config, error) {
	address, _ := nic.IPv4()
	d := nic.DHCP
	own, err := a.subnet(api.Relayed{
		Subnet: address.Masked(), Pool: d.Pool, Gateway: d.Gateway, NTP: d.NTP, MTU: d.MTU, Routes: d.Routes, Search: d.Search,
		LeaseTime: d.LeaseTime,
	}, address.Addr())
	if err != nil {
		return dhcp.Config{}, fmt.Errorf("interfaces.%s.dhcp.pool: %w", name, err)
	}
	config := dhcp.Config{
		Interface: name, Address: address, Proxy: d.Mode == api.DHCPProxy,
		Ranges: own.Ranges, Gateway: own.Gateway, DNS: own.DNS, NTP: own.NTP, Domain: own.Domain, Search: own.Search,
		MTU: own.MTU, Routes: own.Routes, LeaseTime: own.LeaseTime,
		Dir: a.path("leases"),
	}
	for i, relayed := range d.Relayed {
		if !relayed.Subnet.Addr().Is4() {
			continue
		}
		subnet, err := a.subnet(relayed, address.Addr())
		if err != nil {
			return dhcp.Config{}, fmt.Errorf("interfaces.%s.dhcp.relayed[%d].pool: %w", name, i, err)
		}
		config.Relayed = append(config.Relayed, subnet)
	}
	return config, nil
}

// subnet takes what is of IPv4; names are answered by the appliance.
func (a *appliance) subnet(r api.Relayed, dns netip.Addr) (dhcp.Subnet, error) {
	subnet := dhcp.Subnet{
		Prefix: r.Subnet, DNS: []netip.Addr{dns}, Domain: a.config.Domain, Search: r.Search, MTU: r.MTU,
		LeaseTime: r.LeaseTime.Duration.Truncate(time.Second),
	}
	if len(r.Search) == 0 {
		subnet.Search = []string{a.config.Domain}
	}
	if r.Gateway.Is4() {
		subnet.Gateway = r.Gateway
	}
	for _, server := range r.NTP {
		if server.Is4() {
			subnet.NTP = append(subnet.NTP, server)
		}
	}
	for _, route := range r.Routes {
		if route.To.Addr().Is4() {
			subnet.Routes = append(subnet.Routes, dhcp.Route{To: route.To, Via: route.Via})
		}
	}
	ranges, err := r.Ranges()
	if err != nil {
		return subnet, err
	}
	for _, pair := range api.IPv4Ranges(ranges) {
		subnet.Ranges = append(subnet.Ranges, dhcp.Range{From: pair[0], To: pair[1]})
	}
	return subnet, nil
}

// chain is what DHCP tells firmware to boot from.
func (a *appliance) chain(signed dhcp.Signed) dhcp.Chain {
	return dhcp.Chain{HTTPPort: uint16(a.bootPort()), Secure: a.config.HTTP.Off(), Signed: signed}
}
