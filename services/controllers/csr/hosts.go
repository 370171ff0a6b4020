package csr

import (
	"net/netip"
	"slices"
	"strings"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/host"
)

// describe is what an Agent says of its host.
func describe(agent *agentv1beta1.Agent) Host {
	known := Host{
		Agent: agent.Name, NodeName: host.Hostname(agent), Addresses: addresses(agent), Joining: joining(host.State(agent)),
	}
	// A live system that nobody named is called localhost, and so are others.
	if name := agent.Status.Inventory.Hostname; name != "" && !strings.HasPrefix(name, "localhost") {
		known.Names = []string{name}
	}
	return known
}

// joining are the states in which a first certificate may be asked for. A host's own report that it restarts may be lost, so it
// counts from the moment when the disk is written; an installed node may have lost its certificate.
func joining(state string) bool {
	switch state {
	case api.StateInstalling, api.StateInstallingInProgress, api.StateInstallingPendingUser, api.StateAddedToExistingCluster:
		return true
	}
	return false
}

// addresses of the inventory, of both families; they are written with or without a prefix length.
func addresses(agent *agentv1beta1.Agent) []netip.Addr {
	var all []netip.Addr
	for _, nic := range agent.Status.Inventory.Interfaces {
		for _, text := range slices.Concat(nic.IPV4Addresses, nic.IPV6Addresses) {
			address, err := netip.ParseAddr(text)
			if err != nil {
				prefix, err := netip.ParsePrefix(text)
				if err != nil {
					continue
				}
				address = prefix.Addr()
			}
			// What is not unique on the site proves nothing.
			if !address.IsLoopback() && !address.IsUnspecified() && !address.IsLinkLocalUnicast() && !address.IsMulticast() {
				all = append(all, address.Unmap().WithZone(""))
			}
		}
	}
	return all
}
