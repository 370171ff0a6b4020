package hostedcluster

import (
	"errors"
	"strings"
	"testing"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	"github.com/openshift/hypershift/api/util/ipnet"
)

func networking(services, pods, machines string) hypershiftv1beta1.ClusterNetworking {
	out := hypershiftv1beta1.ClusterNetworking{}
	for _, text := range strings.Fields(services) {
		out.ServiceNetwork = append(out.ServiceNetwork, hypershiftv1beta1.ServiceNetworkEntry{CIDR: *ipnet.MustParseCIDR(text)})
	}
	for _, text := range strings.Fields(pods) {
		out.ClusterNetwork = append(out.ClusterNetwork, hypershiftv1beta1.ClusterNetworkEntry{CIDR: *ipnet.MustParseCIDR(text)})
	}
	for _, text := range strings.Fields(machines) {
		out.MachineNetwork = append(out.MachineNetwork, hypershiftv1beta1.MachineNetworkEntry{CIDR: *ipnet.MustParseCIDR(text)})
	}
	return out
}

func TestCheckNetworks(t *testing.T) {
	for _, c := range []struct {
		name                     string
		services, pods, machines string
		want                     string
	}{
		{"IPv4", "172.31.0.0/16", "10.132.0.0/14", "", ""},
		{"IPv6", "fd02::/112", "fd01::/48", "fd77::/64", ""},
		{"dual stack, IPv4 first", "172.31.0.0/16 fd02::/112", "10.132.0.0/14 fd01::/48", "10.7.0.0/24 fd07::/64", ""},
		{"dual stack, IPv6 first", "fd02::/112 172.31.0.0/16", "fd01::/48 10.132.0.0/14", "10.7.0.0/24", ""},
		{"no network", "172.31.0.0/16", "", "", ""},
		{"orders differ", "172.31.0.0/16 fd02::/112", "fd01::/48 10.132.0.0/14", "", "clusterNetwork[0].cidr: fd01::/48 is of another family"},
		{"families differ", "172.31.0.0/16", "fd01::/48", "", "of another family than 172.31.0.0/16 of spec.networking.serviceNetwork[0].cidr"},
		{"one family of pods only", "172.31.0.0/16 fd02::/112", "10.132.0.0/14", "", "2 service networks and 1 cluster networks"},
		{"twice a family", "fd02::/112 fd03::/112", "fd01::/48 10.132.0.0/14", "", "serviceNetwork[1].cidr: fd03::/112 is of the same family"},
		{"foreign machines", "fd02::/112", "fd01::/48", "10.7.0.0/24", "machineNetwork[0].cidr: 10.7.0.0/24 is of a family"},
		{"machines among pods", "fd02::/112", "fd01::/48", "fd01:0:0:7::/64", "overlaps fd01::/48 of spec.networking.clusterNetwork[0].cidr"},
		{"services among pods", "fd01:0:0:7::/112", "fd01::/48", "", "overlaps"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := errors.Join(checkNetworks(networking(c.services, c.pods, c.machines))...)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	broken := networking("fd02::/112", "fd01::/48", "")
	broken.ClusterNetwork[0].CIDR = ipnet.IPNet{}
	if err := errors.Join(checkNetworks(broken)...); err == nil || !strings.Contains(err.Error(), "clusterNetwork[0].cidr: is no network") {
		t.Error(err)
	}
}
