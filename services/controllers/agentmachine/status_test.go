package agentmachine

import (
	"testing"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	"github.com/openshift/assisted-service/models"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/ptr"

	"github.com/slipway-io/slipway/services/api"
	capiagentv1beta1 "github.com/slipway-io/slipway/services/api/capiagent/v1beta1"
)

func stage(stage models.HostStage) func(*agentv1beta1.Agent) {
	return func(a *agentv1beta1.Agent) { a.Status.Progress.CurrentStage = stage }
}

func TestFollow(t *testing.T) {
	installing := state(api.StateInstallingInProgress)
	for _, c := range []struct {
		name        string
		change      []func(*agentv1beta1.Agent)
		provisioned bool
		reason      string
	}{
		{name: "claimed", change: []func(*agentv1beta1.Agent){state(api.StateBinding)}, reason: reasonInstallationNotYet},
		{name: "not valid", change: []func(*agentv1beta1.Agent){state(api.StateInsufficient), condition(agentv1beta1.ValidatedCondition, corev1.ConditionFalse)},
			reason: "Test"},
		{name: "writing", change: []func(*agentv1beta1.Agent){installing, stage(models.HostStageWritingImageToDisk)}, reason: reasonInstallationNotYet},
		{name: "rebooting", change: []func(*agentv1beta1.Agent){installing, stage(models.HostStageRebooting)}, provisioned: true, reason: reasonAsExpected},
		{name: "joined", change: []func(*agentv1beta1.Agent){installing, stage(models.HostStageJoined)}, provisioned: true, reason: reasonAsExpected},
		{name: "wrong boot order", change: []func(*agentv1beta1.Agent){state(api.StateInstallingPendingUser)}, provisioned: true, reason: reasonAsExpected},
		{name: "done", change: []func(*agentv1beta1.Agent){state(api.StateAddedToExistingCluster)}, provisioned: true, reason: reasonAsExpected},
	} {
		t.Run(c.name, func(t *testing.T) {
			agent := free("a", 0, c.change...)
			machine := &capiagentv1beta1.AgentMachine{}
			follow(machine, &agent)
			if got := ptr.Deref(machine.Status.Initialization.Provisioned, false); got != c.provisioned || machine.Status.Ready != c.provisioned {
				t.Errorf("provisioned %t, ready %t", got, machine.Status.Ready)
			}
			if got := meta.FindStatusCondition(machine.Status.Conditions, conditionReady).Reason; got != c.reason {
				t.Errorf("reason %s, want %s", got, c.reason)
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	agent := free("a", 0)
	agent.Spec.Hostname = "node-1"
	agent.Status.Inventory.Interfaces = []agentv1beta1.HostInterface{{
		IPV4Addresses: []string{"10.7.0.50/24", "127.0.0.1/8", "nonsense"},
		IPV6Addresses: []string{"fd00::50/64", "fe80::1/64"},
	}}
	var got []string
	for _, address := range addresses(&agent) {
		got = append(got, string(address.Type)+"="+address.Address)
	}
	want := []string{"Hostname=node-1", "InternalDNS=node-1", "InternalIP=10.7.0.50", "InternalIP=fd00::50"}
	if len(got) != len(want) {
		t.Fatalf("got %v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %s, want %s", got[i], want[i])
		}
	}
}

func TestParseUserData(t *testing.T) {
	for _, c := range []struct{ name, data, token, pool, problem string }{
		{name: "good", token: "secret", pool: "clusters/demo",
			data: `{"ignition":{"config":{"merge":[{"source":"https://x/ignition","httpHeaders":[{"name":"Authorization","value":"Bearer c2VjcmV0"},{"name":"NodePool","value":"clusters/demo"}]}]}}}`},
		{name: "no JSON", data: `#cloud-config c2VjcmV0`, problem: "the bootstrap data is no Ignition configuration"},
		{name: "nothing merged", data: `{"ignition":{}}`, problem: "the bootstrap data merges no configuration"},
		{name: "no token", data: `{"ignition":{"config":{"merge":[{}]}}}`, problem: "the bootstrap data has no bearer token"},
		{name: "basic", data: `{"ignition":{"config":{"merge":[{"httpHeaders":[{"name":"authorization","value":"Basic c2VjcmV0"}]}]}}}`,
			problem: "the Authorization header of the bootstrap data is not a base64 bearer token"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseUserData([]byte(c.data))
			if (err == nil) != (c.problem == "") || err != nil && err.Error() != c.problem {
				t.Fatalf("error %v", err)
			}
			if string(got.token) != c.token || got.headers["NodePool"] != c.pool {
				t.Errorf("token %q, headers %v", got.token, got.headers)
			}
		})
	}
}
