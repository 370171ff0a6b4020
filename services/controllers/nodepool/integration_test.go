//go:build integration

package nodepool_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	"github.com/openshift/assisted-service/models"
	conditionsv1 "github.com/openshift/custom-resource-status/conditions/v1"
	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/ignition"
)

func TestIntegrationNodePool(t *testing.T) {
	w := start(t)
	w.makeCluster()
	w.makeAgent("11111111-1111-1111-1111-111111111111")
	pool := &hypershiftv1beta1.NodePool{ObjectMeta: metav1.ObjectMeta{Namespace: "clusters", Name: "workers"}}
	pool.Spec = hypershiftv1beta1.NodePoolSpec{
		ClusterName: "demo", Replicas: ptr.To(int32(1)),
		Release:    hypershiftv1beta1.Release{Image: "registry.slipway.io/release/release:1.36.3"},
		Management: hypershiftv1beta1.NodePoolManagement{UpgradeType: hypershiftv1beta1.UpgradeTypeReplace},
		Platform: hypershiftv1beta1.NodePoolPlatform{Type: hypershiftv1beta1.AgentPlatform, Agent: &hypershiftv1beta1.AgentNodePoolPlatform{
			AgentLabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"size": "large"}},
		}},
	}
	w.Must(w.Create(t.Context(), pool))
	agent := w.claimed()
	w.fetchesIgnition(agent)
	w.install(agent)
	w.eventually("the pool is ready", func() bool {
		w.Read(pool)
		return isTrue(pool, hypershiftv1beta1.NodePoolReadyConditionType) && isTrue(pool, hypershiftv1beta1.NodePoolAllNodesHealthyConditionType) &&
			isTrue(pool, hypershiftv1beta1.NodePoolAllMachinesReadyConditionType) && isTrue(pool, hypershiftv1beta1.NodePoolReachedIgnitionEndpoint) &&
			pool.Status.Replicas == 1 && pool.Status.Version == "1.36.3"
	})

	w.scale(pool, 0)
	w.releases(agent)
	w.eventually("the pool is empty", func() bool {
		w.Read(pool)
		return pool.Status.Replicas == 0 && isTrue(pool, hypershiftv1beta1.NodePoolReadyConditionType)
	})

	w.scale(pool, 1)
	agent = w.claimed()
	w.Must(w.Delete(t.Context(), pool))
	w.releases(agent)
	w.Gone(pool, w.told)
	secrets := &corev1.SecretList{}
	w.Must(w.List(t.Context(), secrets, client.InNamespace(planeNamespace), client.MatchingLabels{hypershiftv1beta1.NodePoolLabel: pool.Name}))
	if len(secrets.Items) > 0 {
		t.Errorf("%d secrets are left", len(secrets.Items))
	}
}

func TestIntegrationClusterGoes(t *testing.T) {
	w := start(t)
	w.makeCluster()
	w.makeAgent("22222222-2222-2222-2222-222222222222")
	pool := &hypershiftv1beta1.NodePool{ObjectMeta: metav1.ObjectMeta{Namespace: "clusters", Name: "workers"}}
	pool.Spec = hypershiftv1beta1.NodePoolSpec{
		ClusterName: "demo", Replicas: ptr.To(int32(1)), Release: hypershiftv1beta1.Release{Image: "registry.slipway.io/release/release:1.36.3"},
		Management: hypershiftv1beta1.NodePoolManagement{UpgradeType: hypershiftv1beta1.UpgradeTypeInPlace},
		Platform:   hypershiftv1beta1.NodePoolPlatform{Type: hypershiftv1beta1.AgentPlatform},
	}
	w.Must(w.Create(t.Context(), pool))
	agent := w.claimed()
	w.state(agent, api.StateInstalling, "")
	hosted := &hypershiftv1beta1.HostedCluster{ObjectMeta: metav1.ObjectMeta{Namespace: "clusters", Name: "demo"}}
	w.Edit(hosted, func() { hosted.Finalizers = []string{api.Finalizer} })
	w.Must(w.Delete(t.Context(), hosted))
	w.Must(w.Delete(t.Context(), pool))
	// The host is still installing, and nobody waits for it.
	w.Gone(pool, w.told)
	w.Read(agent)
	if agent.Spec.ClusterDeploymentName != nil {
		t.Error("the agent is still bound")
	}
	cluster := &clusterv1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: planeNamespace, Name: "demo"}}
	w.Must(w.Delete(t.Context(), cluster))
	w.Gone(cluster, w.told)
}

func (w *scene) makeAgent(name string) {
	agent := &agentv1beta1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: agentNamespace, Name: name, Labels: map[string]string{"size": "large"}}}
	agent.Spec.Approved, agent.Spec.Hostname, agent.Spec.Role = true, "node-1", models.HostRoleAutoAssign
	w.Must(w.Create(w.Context(), agent))
	for _, kind := range []conditionsv1.ConditionType{agentv1beta1.ConnectedCondition, agentv1beta1.ValidatedCondition} {
		conditionsv1.SetStatusConditionNoHeartbeat(&agent.Status.Conditions, conditionsv1.Condition{Type: kind, Status: corev1.ConditionTrue, Reason: "Test"})
	}
	agent.Status.DebugInfo.State = api.StateKnownUnbound
	w.Must(w.Status().Update(w.Context(), agent))
}

// claimed waits for the claim of the only Agent.
func (w *scene) claimed() *agentv1beta1.Agent {
	w.Helper()
	agents := &agentv1beta1.AgentList{}
	w.eventually("the agent is claimed", func() bool {
		w.Must(w.List(w.Context(), agents, client.InNamespace(agentNamespace)))
		return agents.Items[0].Spec.ClusterDeploymentName != nil
	})
	agent := &agents.Items[0]
	if got := *agent.Spec.ClusterDeploymentName; got.Namespace != planeNamespace || got.Name != "demo" {
		w.Errorf("bound to %s", got)
	}
	if agent.Spec.MachineConfigPool != "workers" || agent.Spec.IgnitionEndpointHTTPHeaders["NodePool"] != "clusters/workers" {
		w.Errorf("pool %q, headers %v", agent.Spec.MachineConfigPool, agent.Spec.IgnitionEndpointHTTPHeaders)
	}
	return agent
}

func (w *scene) fetchesIgnition(agent *agentv1beta1.Agent) {
	w.Helper()
	secret := &corev1.Secret{}
	ref := agent.Spec.IgnitionEndpointTokenReference
	w.Must(w.Get(w.Context(), client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, secret))
	token := secret.Data["ignition-token"]
	payload, err := w.pools.Payload(w.Context(), token, "clusters/workers")
	w.Must(err)
	if !bytes.Contains(payload, []byte("kubelet.service")) {
		w.Error("the payload does not start a kubelet")
	}
	if !bytes.Contains(payload, []byte("/var/lib/kubelet/config.json")) {
		w.Error("the nodes do not get the cluster's pull secret")
	}
	for name, try := range map[string]struct{ token, pool string }{
		"another token": {"nonsense", "clusters/workers"}, "no token": {"", ""}, "another pool": {string(token), "clusters/other"},
	} {
		if _, err := w.pools.Payload(w.Context(), []byte(try.token), try.pool); !errors.Is(err, ignition.ErrForbidden) {
			w.Errorf("%s: %v", name, err)
		}
	}
}

// install stands for the host: it reboots from its disk, and its kubelet joins.
func (w *scene) install(agent *agentv1beta1.Agent) {
	w.Helper()
	w.state(agent, api.StateInstalling, "")
	w.state(agent, api.StateInstallingInProgress, models.HostStageRebooting)
	w.eventually("the machine is provisioned", func() bool {
		machines := w.machines()
		return len(machines) == 1 && ptr.Deref(machines[0].Status.Initialization.InfrastructureProvisioned, false)
	})
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}, Spec: corev1.NodeSpec{ProviderID: api.ProviderIDPrefix + agent.Name}}
	w.Must(w.Create(w.Context(), node))
	before := node.DeepCopy()
	for _, kind := range []corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		status := corev1.ConditionFalse
		if kind == corev1.NodeReady {
			status = corev1.ConditionTrue
		}
		node.Status.Conditions = append(node.Status.Conditions, corev1.NodeCondition{Type: kind, Status: status, Reason: "Test"})
	}
	// Others write to a Node as soon as there is one, so it is patched, as a kubelet does.
	w.Must(w.Status().Patch(w.Context(), node, client.MergeFrom(before)))
	w.state(agent, api.StateAddedToExistingCluster, models.HostStageDone)
	w.eventually("the machine has its node", func() bool {
		machines := w.machines()
		return len(machines) == 1 && machines[0].Status.NodeRef.Name == "node-1" && machines[0].Status.Phase == string(clusterv1.MachinePhaseRunning)
	})
}

// releases follows an Agent back into the inventory.
func (w *scene) releases(agent *agentv1beta1.Agent) {
	w.Helper()
	w.eventually("the agent is unbound", func() bool {
		w.Read(agent)
		return agent.Spec.ClusterDeploymentName == nil
	})
	if agent.Labels[api.AgentMachineRefLabel] != "" || agent.Spec.IgnitionEndpointTokenReference != nil {
		w.Error("the agent keeps something of its machine")
	}
	w.state(agent, api.StateReclaiming, "")
	time.Sleep(time.Second)
	if len(w.machines()) != 1 {
		w.Error("the machine did not wait for its host")
	}
	w.state(agent, api.StateKnownUnbound, "")
	w.eventually("the machine is gone", func() bool { return len(w.machines()) == 0 })
	if err := w.Get(w.Context(), client.ObjectKey{Name: "node-1"}, &corev1.Node{}); !apierrors.IsNotFound(err) {
		w.Errorf("the node is left: %v", err)
	}
}
