package agent_test

import (
	"context"
	"errors"
	"testing"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	"github.com/openshift/assisted-service/models"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/controllers/agent"
	"github.com/slipway-io/slipway/services/host"
)

type seen struct{ at time.Time }

func (s seen) Seen(string) host.Contact { return host.Contact{At: s.at} }

type nodes struct {
	asked         string
	exists, ready bool
	err           error
}

func (n *nodes) NodeReady(_ context.Context, cluster types.NamespacedName, node string) (exists, ready bool, err error) {
	n.asked = cluster.String() + " " + node
	return n.exists, n.ready, n.err
}

var need = host.Requirements{CPUs: 1, MemoryBytes: 1, DiskBytes: 1}

func made(t *testing.T, name, state string, bound bool) *agentv1beta1.Agent {
	t.Helper()
	a := &agentv1beta1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: "slipway", Name: name, Labels: map[string]string{"mine": "stays"}}}
	a.Status.DebugInfo.State = api.StateDiscoveringUnbound
	err := host.SetInventory(a, agentv1beta1.HostInventory{
		Hostname: "twin", Cpu: agentv1beta1.HostCPU{Count: 2, Architecture: "x86_64"}, Memory: agentv1beta1.HostMemory{PhysicalBytes: 1 << 31},
		Disks:        []agentv1beta1.HostDisk{{ID: "/dev/vda", Name: "vda", SizeBytes: 1 << 34, DriveType: "SSD"}},
		SystemVendor: agentv1beta1.HostSystemVendor{Manufacturer: "Maker & Sons (Ltd.)"},
	}, need, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	a.Status.DebugInfo.State = state
	if bound {
		a.Spec.ClusterDeploymentName = &agentv1beta1.ClusterReference{Namespace: "clusters-demo", Name: "demo"}
	}
	return a
}

// reconcile gives the Agent as it is after one pass.
func reconcile(t *testing.T, r *agent.Reconciler, name string, objects ...client.Object) (*agentv1beta1.Agent, ctrl.Result) {
	t.Helper()
	scheme, err := api.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	r.Client = fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(&agentv1beta1.Agent{}).WithObjects(objects...).Build()
	if r.Seen == nil {
		r.Seen = seen{time.Now()}
	}
	r.Requirements = need
	key := types.NamespacedName{Namespace: "slipway", Name: name}
	result, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: key})
	if err != nil {
		t.Fatal(err)
	}
	found := &agentv1beta1.Agent{}
	if err := r.Client.Get(t.Context(), key, found); err != nil {
		t.Fatal(err)
	}
	return found, result
}

func TestPool(t *testing.T) {
	found, result := reconcile(t, &agent.Reconciler{}, "a", made(t, "a", api.StateDiscoveringUnbound, false), made(t, "b", api.StateKnownUnbound, false))
	if host.State(found) != api.StateKnownUnbound || found.Status.InstallationDiskID != "/dev/vda" || found.Status.Role != models.HostRoleWorker {
		t.Errorf("%+v", found.Status)
	}
	if result.RequeueAfter < host.MaxSilence-10*time.Second || result.RequeueAfter > host.MaxSilence+10*time.Second {
		t.Errorf("looks again in %s", result.RequeueAfter)
	}
	for key, value := range map[string]string{
		"mine": "stays", "inventory.agent-install.openshift.io/cpu-architecture": "x86_64",
		"inventory.agent-install.openshift.io/storage-hasnonrotationaldisk": "true",
		"inventory.agent-install.openshift.io/host-manufacturer":            "MakerSonsLtd",
	} {
		if found.Labels[key] != value {
			t.Errorf("label %s is %q", key, found.Labels[key])
		}
	}
}

func TestSilence(t *testing.T) {
	found, _ := reconcile(t, &agent.Reconciler{Seen: seen{time.Now().Add(-4 * time.Minute)}}, "a", made(t, "a", api.StateKnownUnbound, false))
	if host.State(found) != api.StateDisconnectedUnbound {
		t.Errorf("state %s", host.State(found))
	}
}

func TestTwinsInOneCluster(t *testing.T) {
	found, _ := reconcile(t, &agent.Reconciler{}, "a", made(t, "a", api.StateDiscovering, true), made(t, "b", api.StateKnown, true))
	if host.State(found) != api.StateInsufficient {
		t.Errorf("state %s", host.State(found))
	}
}

func TestNode(t *testing.T) {
	for _, c := range []struct {
		nodes nodes
		want  models.HostStage
		state string
	}{
		{nodes{err: errors.New("the hosted API restarts")}, models.HostStageRebooting, api.StateInstallingInProgress},
		{nodes{}, models.HostStageRebooting, api.StateInstallingInProgress},
		{nodes{exists: true}, models.HostStageJoined, api.StateInstallingInProgress},
		{nodes{exists: true, ready: true}, models.HostStageDone, api.StateAddedToExistingCluster},
	} {
		a := made(t, "a", api.StateInstallingInProgress, true)
		a.Status.Progress.CurrentStage = models.HostStageRebooting
		found, result := reconcile(t, &agent.Reconciler{Nodes: &c.nodes}, "a", a)
		if found.Status.Progress.CurrentStage != c.want || host.State(found) != c.state || c.nodes.asked != "clusters-demo/demo twin" {
			t.Errorf("%+v: %s %s", c.nodes, host.State(found), found.Status.Progress.CurrentStage)
		}
		if waits := c.state == api.StateInstallingInProgress; waits && result.RequeueAfter != time.Second {
			t.Errorf("%+v: looks again in %s", c.nodes, result.RequeueAfter)
		}
	}
}

func TestIgnitionIsJudged(t *testing.T) {
	a := made(t, "a", api.StateKnown, true)
	a.Spec.Approved, a.Spec.IgnitionConfigOverrides = true, `{"ignition":{"version":"9.9.9"}}`
	a.Spec.IgnitionEndpointTokenReference = &agentv1beta1.IgnitionEndpointTokenReference{Name: "t"}
	found, _ := reconcile(t, &agent.Reconciler{CheckIgnition: func([]byte) error { return errors.New("no such version") }}, "a", a)
	if host.State(found) != api.StateKnown || found.Status.Conditions[0].Reason != agentv1beta1.InputErrorReason {
		t.Errorf("state %s, %+v", host.State(found), found.Status.Conditions[0])
	}
}
