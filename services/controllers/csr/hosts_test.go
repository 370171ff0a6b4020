package csr

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"

	"github.com/slipway-io/slipway/services/api"
)

func TestDescribe(t *testing.T) {
	agent := &agentv1beta1.Agent{}
	agent.Name = "7c18df7e"
	agent.Spec.Hostname = "worker-0"
	agent.Status.DebugInfo.State = api.StateInstallingInProgress
	agent.Status.Inventory.Hostname = "rack1-u7"
	agent.Status.Inventory.Interfaces = []agentv1beta1.HostInterface{
		{IPV4Addresses: []string{"127.0.0.1/8"}, IPV6Addresses: []string{"::1/128"}},
		{IPV4Addresses: []string{"10.7.0.50/24", "junk", "169.254.3.4/16", "0.0.0.0"}, IPV6Addresses: []string{"fd07::50/64", "fe80::1"}},
	}
	want := Host{
		Agent: "7c18df7e", NodeName: "worker-0", Names: []string{"rack1-u7"}, Joining: true,
		Addresses: []netip.Addr{netip.MustParseAddr("10.7.0.50"), netip.MustParseAddr("fd07::50")},
	}
	equal := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	if diff := cmp.Diff(want, describe(agent), equal); diff != "" {
		t.Error(diff)
	}
	agent.Status.Inventory.Hostname = "localhost.localdomain"
	if names := describe(agent).Names; len(names) > 0 {
		t.Errorf("a host may show itself as %v", names)
	}
}

func TestJoining(t *testing.T) {
	for state, want := range map[string]bool{
		"": false, api.StateKnownUnbound: false, api.StateBinding: false, api.StateKnown: false, api.StateInstalling: true,
		api.StateInstallingInProgress: true, api.StateInstallingPendingUser: true, api.StateAddedToExistingCluster: true,
		api.StateUnbinding: false, api.StateReclaiming: false, api.StateReclaimingRebooting: false, api.StateError: false,
	} {
		if got := joining(state); got != want {
			t.Errorf("%s: %t", state, got)
		}
	}
}
