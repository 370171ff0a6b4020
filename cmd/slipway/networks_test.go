package main

import (
	"slices"
	"strings"
	"testing"
)

func TestClusterNetworks(t *testing.T) {
	const four, six, dual = "10.7.0.2", "fd07::2", "10.7.0.2,fd07::2"
	for _, c := range []struct {
		name           string
		site           string
		given          clusterNetworks
		services, pods string
		api, want      string
	}{
		{"IPv4 site", four, clusterNetworks{}, "172.31.0.0/16", "10.132.0.0/14", "10.7.0.2", ""},
		{"IPv6 site", six, clusterNetworks{}, "fd02::/112", "fd01::/48", "fd07::2", ""},
		{"dual-stack site", dual, clusterNetworks{}, "172.31.0.0/16 fd02::/112", "10.132.0.0/14 fd01::/48", "10.7.0.2", ""},
		{"asked for dual stack", six + "," + four, clusterNetworks{dual: true}, "172.31.0.0/16 fd02::/112", "10.132.0.0/14 fd01::/48", "10.7.0.2", ""},
		{"IPv6 on a dual-stack site", dual, clusterNetworks{service: []string{"fd55::/112"}}, "fd55::/112", "fd01::/48", "fd07::2", ""},
		{
			"pods of IPv6 first", dual, clusterNetworks{cluster: []string{"fd66::/48", "10.66.0.0/16"}},
			"fd02::/112 172.31.0.0/16", "fd66::/48 10.66.0.0/16", "fd07::2", "",
		},
		{"both given", four, clusterNetworks{service: []string{"172.30.0.0/16"}, cluster: []string{"10.66.0.0/16"}}, "172.30.0.0/16", "10.66.0.0/16", "10.7.0.2", ""},
		{"dual and given", dual, clusterNetworks{dual: true, service: []string{"fd55::/112"}}, "", "", "", "--default-dual: leave it out"},
		{"not a network", dual, clusterNetworks{cluster: []string{"fd66::"}}, "", "", "", `network "fd66::"`},
		{"no address of the family", six, clusterNetworks{service: []string{"172.30.0.0/16"}}, "172.30.0.0/16", "10.132.0.0/14", "", "the appliance has only the addresses [fd07::2]"},
		{"an older appliance", "", clusterNetworks{}, "", "", "", "start this version of the appliance"},
	} {
		t.Run(c.name, func(t *testing.T) {
			api, err := c.given.resolved(c.site)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v, want %q", err, c.want)
			}
			if services := strings.Fields(c.services); len(services) > 0 && !slices.Equal(c.given.service, services) {
				t.Errorf("services are %v, want %v", c.given.service, services)
			}
			if pods := strings.Fields(c.pods); len(pods) > 0 && !slices.Equal(c.given.cluster, pods) {
				t.Errorf("pods are %v, want %v", c.given.cluster, pods)
			}
			if api != c.api {
				t.Errorf("the API is at %s, want %s", api, c.api)
			}
		})
	}
}

// resolved fills in the networks and says where the API is then.
func (n *clusterNetworks) resolved(published string) (string, error) {
	site, err := siteAddresses(map[string]string{"addresses": published})
	if err != nil {
		return "", err
	}
	if err := n.setDefaults(site); err != nil {
		return "", err
	}
	return n.address(site)
}

func TestClusterNetworksManifest(t *testing.T) {
	f := &clusterFlags{name: "demo", namespace: "clusters"}
	f.networks.machine = []string{"fd07::/64"}
	if err := f.setDefaults(map[string]string{"addresses": "10.7.0.2,fd07::2", "domain": "site.example"}); err != nil {
		t.Fatal(err)
	}
	cluster, err := f.hostedCluster()
	if err != nil {
		t.Fatal(err)
	}
	networks := cluster.Spec.Networking
	var got []string
	for _, entry := range networks.ServiceNetwork {
		got = append(got, entry.CIDR.String())
	}
	for _, entry := range networks.ClusterNetwork {
		got = append(got, entry.CIDR.String())
	}
	for _, entry := range networks.MachineNetwork {
		got = append(got, entry.CIDR.String())
	}
	if want := []string{"172.31.0.0/16", "fd02::/112", "10.132.0.0/14", "fd01::/48", "fd07::/64"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if at := cluster.Spec.Services[0].NodePort.Address; at != "10.7.0.2" {
		t.Errorf("the API is published at %s", at)
	}
}
