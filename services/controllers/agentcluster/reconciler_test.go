package agentcluster

import (
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	capiagentv1beta1 "github.com/slipway-io/slipway/services/api/capiagent/v1beta1"
)

func TestDecide(t *testing.T) {
	for _, c := range []struct {
		name               string
		endpoint           clusterv1.APIEndpoint
		before, reachable  bool
		ready, provisioned bool
		reason             string
	}{
		{name: "nothing", reason: "WaitingForControlPlaneEndpoint"},
		{name: "reachable without endpoint", reachable: true, reason: "WaitingForControlPlaneEndpoint"},
		{name: "endpoint", endpoint: clusterv1.APIEndpoint{Host: "10.7.0.2", Port: 30001}, ready: true, reason: "WaitingForControlPlane"},
		{name: "endpoint v6, reachable", endpoint: clusterv1.APIEndpoint{Host: "fd00::2", Port: 30001}, reachable: true,
			ready: true, provisioned: true, reason: "AsExpected"},
		{name: "stays provisioned", endpoint: clusterv1.APIEndpoint{Host: "api.demo", Port: 30001}, before: true,
			ready: true, provisioned: true, reason: "AsExpected"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cluster := &capiagentv1beta1.AgentCluster{}
			cluster.Spec.ControlPlaneEndpoint = c.endpoint
			if c.before {
				cluster.Status.Initialization.Provisioned = ptr.To(true)
			}
			decide(cluster, c.reachable)
			provisioned := ptr.Deref(cluster.Status.Initialization.Provisioned, false)
			if cluster.Status.Ready != c.ready || provisioned != c.provisioned {
				t.Errorf("ready %t, provisioned %t", cluster.Status.Ready, provisioned)
			}
			if got := meta.FindStatusCondition(cluster.Status.Conditions, conditionReady); got.Reason != c.reason {
				t.Errorf("reason %s, want %s", got.Reason, c.reason)
			}
		})
	}
}
