package hostedcluster

import (
	"fmt"
	"net/netip"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
)

// network of one field of a HostedCluster.
type network struct {
	path   string
	prefix netip.Prefix
}

// checkNetworks says what keeps the networks of one or two families from working together.
func checkNetworks(networking hypershiftv1beta1.ClusterNetworking) (faults []error) {
	var services, pods, machines []network
	for i, entry := range networking.ServiceNetwork {
		services = append(services, parsed("serviceNetwork", i, entry.CIDR.String()))
	}
	for i, entry := range networking.ClusterNetwork {
		pods = append(pods, parsed("clusterNetwork", i, entry.CIDR.String()))
	}
	for i, entry := range networking.MachineNetwork {
		machines = append(machines, parsed("machineNetwork", i, entry.CIDR.String()))
	}
	var all []network
	for _, list := range [][]network{services, pods, machines} {
		for i, one := range list {
			if !one.prefix.IsValid() {
				return append(faults, fmt.Errorf("%s: is no network: give it as fd01::/48 or 10.132.0.0/14", one.path))
			}
			if i > 0 && one.six() == list[0].six() {
				faults = append(faults, fmt.Errorf("%s: %s is of the same family as %s: at most one for IPv4 and one for IPv6", one.path, one.prefix, list[0].prefix))
			}
		}
		all = append(all, list...)
	}
	faults = append(faults, checkFamilies(services, pods, machines)...)
	for i, one := range all {
		for _, other := range all[:i] {
			if one.prefix.Overlaps(other.prefix) {
				faults = append(faults, fmt.Errorf("%s: %s overlaps %s of %s", one.path, one.prefix, other.prefix, other.path))
			}
		}
	}
	return faults
}

// checkFamilies wants pods and services of the same families, the same first; the first is that of a pod's main address.
func checkFamilies(services, pods, machines []network) (faults []error) {
	if len(services) != len(pods) && len(services) > 0 && len(pods) > 0 {
		faults = append(faults, fmt.Errorf("spec.networking: %d service networks and %d cluster networks: both need one for each family of the cluster", len(services), len(pods)))
	}
	for i := range min(len(services), len(pods)) {
		if services[i].six() != pods[i].six() {
			faults = append(faults, fmt.Errorf("%s: %s is of another family than %s of %s: name the families in the same order", pods[i].path, pods[i].prefix, services[i].prefix, services[i].path))
		}
	}
	for _, machine := range machines {
		found := len(pods) == 0
		for _, pod := range pods {
			found = found || pod.six() == machine.six()
		}
		if !found {
			faults = append(faults, fmt.Errorf("%s: %s is of a family that the cluster has no network for pods of", machine.path, machine.prefix))
		}
	}
	return faults
}

func (n network) six() bool { return n.prefix.Addr().Is6() }

// parsed has no valid prefix when the text is no network.
func parsed(field string, index int, text string) network {
	n := network{path: fmt.Sprintf("spec.networking.%s[%d].cidr", field, index)}
	if prefix, err := netip.ParsePrefix(text); err == nil {
		n.prefix = prefix.Masked()
	}
	return n
}
