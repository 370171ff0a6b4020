package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	"github.com/openshift/hypershift/api/util/ipnet"
	"github.com/spf13/pflag"
)

// clusterNetworks are the networks of a hosted cluster, as the flags name them.
type clusterNetworks struct {
	service, cluster, machine []string
	dual                      bool
}

// Networks of a cluster that nobody chose any for: hcp's.
const (
	servicesIPv4, servicesIPv6 = "172.31.0.0/16", "fd02::/112"
	podsIPv4, podsIPv6         = "10.132.0.0/14", "fd01::/48"
)

func (n *clusterNetworks) add(flags *pflag.FlagSet) {
	flags.StringSliceVar(&n.service, "service-cidr", nil,
		"service network, once for each family (default 172.31.0.0/16, fd02::/112, or both, as the appliance has addresses)")
	flags.StringSliceVar(&n.cluster, "cluster-cidr", nil,
		"pod network, once for each family (default 10.132.0.0/14, fd01::/48, or both, as the appliance has addresses)")
	flags.StringSliceVar(&n.machine, "machine-cidr", nil, "network of the nodes' addresses, once for each family (default those by which they reach the hosted API)")
	flags.BoolVar(&n.dual, "default-dual", false, "the default networks of both families, IPv4 first")
}

// setDefaults follows the families of what was given, or else those of the appliance's addresses.
func (n *clusterNetworks) setDefaults(site []netip.Addr) error {
	if n.dual && len(n.service)+len(n.cluster) > 0 {
		return errors.New("--default-dual: leave it out, or --service-cidr and --cluster-cidr")
	}
	families, err := n.families(site)
	if err != nil {
		return err
	}
	var services, pods []string
	for _, six := range families {
		if six {
			services, pods = append(services, servicesIPv6), append(pods, podsIPv6)
		} else {
			services, pods = append(services, servicesIPv4), append(pods, podsIPv4)
		}
	}
	if len(n.service) == 0 {
		n.service = services
	}
	if len(n.cluster) == 0 {
		n.cluster = pods
	}
	return nil
}

// families in their order, true for IPv6.
func (n *clusterNetworks) families(site []netip.Addr) (families []bool, err error) {
	if n.dual {
		return []bool{false, true}, nil
	}
	for _, given := range [][]string{n.service, n.cluster} {
		for _, text := range given {
			prefix, err := netip.ParsePrefix(text)
			if err != nil {
				return nil, fmt.Errorf("network %q: %w: give it as fd01::/48 or 10.132.0.0/14", text, err)
			}
			families = append(families, prefix.Addr().Is6())
		}
		if len(families) > 0 {
			return families, nil
		}
	}
	for _, address := range site {
		families = append(families, address.Is6())
	}
	return families, nil
}

// address of the site at which a cluster with these networks publishes its API: of the family that its services have first.
func (n *clusterNetworks) address(site []netip.Addr) (string, error) {
	first, err := netip.ParsePrefix(n.service[0])
	if err != nil {
		return "", fmt.Errorf("--service-cidr: %w", err)
	}
	for _, address := range site {
		if address.Is6() == first.Addr().Is6() {
			return address.String(), nil
		}
	}
	return "", fmt.Errorf("--service-cidr: %s comes first, but the appliance has only the addresses %v: give its interface one of that family, or choose another network", first, site)
}

// put writes the networks into a HostedCluster.
func (n *clusterNetworks) put(into *hypershiftv1beta1.ClusterNetworking) error {
	for _, text := range n.cluster {
		cidr, err := ipnet.ParseCIDR(text)
		if err != nil {
			return fmt.Errorf("--cluster-cidr: %w", err)
		}
		into.ClusterNetwork = append(into.ClusterNetwork, hypershiftv1beta1.ClusterNetworkEntry{CIDR: *cidr})
	}
	for _, text := range n.service {
		cidr, err := ipnet.ParseCIDR(text)
		if err != nil {
			return fmt.Errorf("--service-cidr: %w", err)
		}
		into.ServiceNetwork = append(into.ServiceNetwork, hypershiftv1beta1.ServiceNetworkEntry{CIDR: *cidr})
	}
	for _, text := range n.machine {
		cidr, err := ipnet.ParseCIDR(text)
		if err != nil {
			return fmt.Errorf("--machine-cidr: %w", err)
		}
		into.MachineNetwork = append(into.MachineNetwork, hypershiftv1beta1.MachineNetworkEntry{CIDR: *cidr})
	}
	return nil
}

// siteAddresses that the appliance publishes for its verbs, the first of each family.
func siteAddresses(published map[string]string) (site []netip.Addr, err error) {
	for _, text := range strings.Split(published["addresses"], ",") {
		address, err := netip.ParseAddr(text)
		if err != nil {
			return nil, fmt.Errorf("read the site's addresses: %w: start this version of the appliance first", err)
		}
		site = append(site, address)
	}
	return site, nil
}
