//go:build integration

package agentapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	conditionsv1 "github.com/openshift/custom-resource-status/conditions/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/services/agentapi"
	"github.com/slipway-io/slipway/services/agentapi/wire"
	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/controllers/agent"
	"github.com/slipway-io/slipway/services/controllers/infraenv"
	"github.com/slipway-io/slipway/services/host"
	"github.com/slipway-io/slipway/test/world"
)

type ready struct{}

func (ready) NodeReady(context.Context, types.NamespacedName, string) (exists, ready bool, err error) {
	return true, true, nil
}

func (tokens) InfraEnv(uid string) string { return "env:" + uid }

func (s *site) ISO(context.Context, *agentv1beta1.InfraEnv, string, string, string) (bool, error) {
	return false, nil
}

func (s *site) Version(arch, _ string) (string, error) {
	if arch != "x86_64" {
		return "", errors.New("no such machine OS")
	}
	return "1", nil
}

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// kube is a site on a real management API.
type kube struct {
	*site
	world *world.World
	mgr   ctrl.Manager
	env   string
}

func startKube(t *testing.T) *kube {
	t.Helper()
	k := &kube{site: &site{t: t}, world: world.Start(t, "slipway", "clusters-demo")}
	k.mgr = k.world.Manager(world.Log(t))
	k.must(agentapi.Index(t.Context(), k.mgr.GetFieldIndexer()))
	k.serve()
	k.must((&agent.Reconciler{
		Client: k.mgr.GetClient(), Seen: k.server, Nodes: ready{}, Requirements: host.DefaultRequirements(),
	}).SetupWithManager(k.mgr))
	k.must((&infraenv.Reconciler{
		Client: k.mgr.GetClient(), URLs: infraenv.URLs{HTTP: "http://10.7.0.2:8080", HTTPS: "https://10.7.0.2:8443"}, Tokens: tokens{}, Images: k.site,
	}).SetupWithManager(k.mgr))
	k.world.Manage(k.mgr)
	return k
}

// serve starts the protocol, again when it is called again, as after a kill.
func (k *kube) serve() {
	store := agentapi.Kube{Client: k.mgr.GetClient(), Reader: k.mgr.GetAPIReader()}
	k.server = agentapi.New(agentapi.Config{
		Tokens: tokens{}, InfraEnvs: infraenv.Lookup{Client: k.mgr.GetClient()}, Agents: store, Secrets: store, Images: k.site, Ignition: k.site,
		Requirements: host.DefaultRequirements(), Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	k.must(k.server.Follow(k.t.Context(), k.mgr.GetCache()))
	k.web = httptest.NewServer(k.server)
	k.t.Cleanup(k.web.Close)
}

func (k *kube) must(err error) {
	k.t.Helper()
	k.world.Must(err)
}

func (k *kube) agent() *agentv1beta1.Agent {
	k.t.Helper()
	found := &agentv1beta1.Agent{}
	k.must(k.world.Get(k.t.Context(), client.ObjectKey{Namespace: "slipway", Name: host1}, found))
	return found
}

func (k *kube) await(what string, is func() bool) {
	k.t.Helper()
	k.world.Eventually(what, is, func() string { return "" })
}

func (k *kube) state(state string) {
	k.t.Helper()
	k.await(state, func() bool { return host.State(k.agent()) == state })
}

func (k *kube) user(change func(*agentv1beta1.Agent)) {
	k.t.Helper()
	found := k.agent()
	k.world.Edit(found, func() { change(found) })
}

func (k *kube) register() {
	k.t.Helper()
	k.code(k.site.register(k.env, host1), 201)
	steps := k.poll("env:" + k.env)
	if len(steps.Instructions) != 1 || steps.Instructions[0].Type != "inventory" {
		k.t.Fatalf("first steps %+v", steps)
	}
	k.code(k.call("POST", at(k.env, host1, "/instructions"), "env:"+k.env, reply("inventory", 0, inventory, "")), 204)
}

func (k *kube) poll(token string) wire.Steps {
	k.t.Helper()
	return k.call("GET", at(k.env, host1, "/instructions"), token, "", wire.PreferHeader, "wait=20").steps(k.t)
}

func (k *kube) stage(stage string) {
	k.t.Helper()
	k.code(k.call("PUT", at(k.env, host1, "/progress"), "env:"+k.env, `{"current_stage":"`+stage+`"}`), 200)
}

func (k *kube) infraEnv() {
	k.t.Helper()
	env := &agentv1beta1.InfraEnv{ObjectMeta: metav1.ObjectMeta{Namespace: "slipway", Name: "default"}}
	env.Spec.PullSecretRef = &corev1.LocalObjectReference{Name: "pull"}
	k.must(k.world.Create(k.t.Context(), env))
	condition := func() conditionsv1.Condition {
		k.must(k.world.Get(k.t.Context(), client.ObjectKeyFromObject(env), env))
		if len(env.Status.Conditions) == 0 {
			return conditionsv1.Condition{}
		}
		return env.Status.Conditions[0]
	}
	k.await("no pull secret", func() bool { return condition().Reason == agentv1beta1.ImageCreationErrorReason })
	k.must(k.world.Create(k.t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "slipway", Name: "pull"}, Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{}}`)},
	}))
	k.await("image", func() bool { return condition().Reason == agentv1beta1.ImageCreatedReason })
	k.must(k.world.Create(k.t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "clusters-demo", Name: "token"}, Data: map[string][]byte{"ignition-token": []byte("t")},
	}))
	k.env = string(env.UID)
}

func TestIntegrationHost(t *testing.T) {
	k := startKube(t)
	k.infraEnv()
	begin := time.Now()
	k.register()
	k.state(api.StateKnownUnbound)
	k.await("labels", func() bool {
		return k.agent().Labels["inventory.agent-install.openshift.io/cpu-architecture"] == "x86_64"
	})
	k.user(claim)
	if steps := k.poll("env:" + k.env); steps.PostStep != wire.PostStepExit {
		t.Fatalf("after the claim: %+v", steps)
	}
	k.register()
	steps := k.poll("env:" + k.env)
	var install wire.InstallRequest
	if err := json.Unmarshal([]byte(steps.Instructions[0].Args[0]), &install); err != nil || install.BootDevice != "/dev/disk/by-id/d" {
		t.Fatalf("install: %v %+v", err, steps)
	}
	k.stage("Starting installation")
	// The appliance is killed and comes back: the host goes on.
	k.web.Close()
	k.serve()
	k.code(k.call("GET", at(k.env, host1, "/downloads/ignition"), "env:"+k.env, ""), 200)
	k.stage("Writing image to disk")
	k.stage("Rebooting")
	k.code(k.call("GET", at(k.env, host1, "/instructions"), "host:"+host1, ""), 200)
	k.state(api.StateAddedToExistingCluster)
	t.Logf("%s from registration to Done", time.Since(begin))
	for _, kind := range []conditionsv1.ConditionType{
		agentv1beta1.SpecSyncedCondition, agentv1beta1.ConnectedCondition, agentv1beta1.RequirementsMetCondition,
		agentv1beta1.ValidatedCondition, agentv1beta1.BoundCondition, agentv1beta1.InstalledCondition,
	} {
		if !conditionsv1.IsStatusConditionTrue(k.agent().Status.Conditions, kind) {
			t.Errorf("condition %s is not true", kind)
		}
	}
	k.user(func(a *agentv1beta1.Agent) { a.Spec.ClusterDeploymentName = nil })
	steps = k.poll("host:" + host1)
	if len(steps.Instructions) != 1 || steps.Instructions[0].Type != "reboot-for-reclaim" {
		t.Fatalf("reclaim: %+v", steps)
	}
	k.code(k.call("POST", at(k.env, host1, "/instructions"), "host:"+host1, reply("reboot-for-reclaim", 0, "", "")), 204)
	k.register()
	k.state(api.StateKnownUnbound)
	k.must(k.world.Delete(t.Context(), k.agent()))
	k.code(k.call("GET", at(k.env, host1, "/instructions"), "env:"+k.env, "", wire.PreferHeader, "wait=20"), 404)
}
