//go:build integration

package nodepool_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	"github.com/openshift/assisted-service/models"
	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	"github.com/openshift/hypershift/api/util/ipnet"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/services/api"
	capiagentv1beta1 "github.com/slipway-io/slipway/services/api/capiagent/v1beta1"
	"github.com/slipway-io/slipway/services/controllers/agentcluster"
	"github.com/slipway-io/slipway/services/controllers/agentmachine"
	"github.com/slipway-io/slipway/services/controllers/capi"
	"github.com/slipway-io/slipway/services/controllers/guest"
	"github.com/slipway-io/slipway/services/controllers/nodepool"
	"github.com/slipway-io/slipway/test/world"
)

const (
	agentNamespace = "slipway"
	planeNamespace = "clusters-demo"
)

// releases has one release, whose images all look the same.
type releases struct{}

func (releases) ReleaseComponents(_ context.Context, _, image string) (string, map[string]string, error) {
	if image != "registry.slipway.io/release/release:1.36.3" {
		return "", nil, errors.New("there is no such release image")
	}
	components := map[string]string{}
	for _, name := range []string{"kubernetes", "containerd", "cni-plugins", "pause"} {
		components[name] = "registry.slipway.io/release/" + name + "@sha256:" + strings.Repeat("a", 64)
	}
	return "1.36.3", components, nil
}

func (releases) Content(context.Context, string) (string, []string, error) {
	return "release/image", []string{"sha256:" + strings.Repeat("b", 64)}, nil
}

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// scene is a management API that is at the same time the hosted one, with the controllers running.
type scene struct {
	*world.World
	pools *nodepool.Reconciler
}

func start(t *testing.T) *scene {
	t.Helper()
	w := &scene{World: world.Start(t, "clusters", planeNamespace, agentNamespace)}
	mgr := w.Manager(world.Log(t))
	guests := guest.New(mgr.GetClient())
	w.pools = &nodepool.Reconciler{
		Client: mgr.GetClient(), Releases: releases{}, Guests: guests, Now: time.Now,
		Site: nodepool.Site{IgnitionURL: "https://10.7.0.2:8443/ignition", CA: certificate(t), Registry: "registry.site.example:5000"},
	}
	w.Must(guests.SetupWithManager(mgr))
	w.Must(capi.Setup(t.Context(), mgr, capi.Options{}))
	w.Must((&agentcluster.Reconciler{Client: mgr.GetClient()}).SetupWithManager(mgr))
	w.Must((&agentmachine.Reconciler{Client: mgr.GetClient(), Live: mgr.GetAPIReader()}).SetupWithManager(mgr))
	w.Must(w.pools.SetupWithManager(mgr))
	w.Manage(mgr)
	for _, name := range []string{"root-ca", "kubelet-client-ca"} {
		w.Must(w.Create(t.Context(), &corev1.Secret{ObjectMeta: inPlane(name), Data: map[string][]byte{"ca.crt": w.pools.Site.CA}}))
	}
	login := &corev1.Secret{ObjectMeta: inPlane("pull-secret"), Type: corev1.SecretTypeDockerConfigJson}
	login.Data = map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{"registry.site.example:5000":{"auth":"bm9kZTpwdWxs"}}}`)}
	w.Must(w.Create(t.Context(), login))
	w.Must(w.Create(t.Context(), &corev1.Secret{ObjectMeta: inPlane("localhost-kubeconfig"), Data: map[string][]byte{"kubeconfig": w.Kubeconfig}}))
	own := &corev1.Secret{ObjectMeta: inPlane("demo-kubeconfig"), Type: clusterv1.ClusterSecretType, Data: map[string][]byte{"value": w.Kubeconfig}}
	own.Labels = map[string]string{clusterv1.ClusterNameLabel: "demo"}
	w.Must(w.Create(t.Context(), own))
	return w
}

func inPlane(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: planeNamespace, Name: name, Annotations: map[string]string{api.HostedClusterAnnotation: "clusters/demo"}}
}

// makeCluster stands for the controllers of HostedCluster and HostedControlPlane.
func (w *scene) makeCluster() {
	var services []hypershiftv1beta1.ServicePublishingStrategyMapping
	for _, service := range []hypershiftv1beta1.ServiceType{
		hypershiftv1beta1.APIServer, hypershiftv1beta1.OAuthServer, hypershiftv1beta1.Konnectivity, hypershiftv1beta1.Ignition,
	} {
		services = append(services, hypershiftv1beta1.ServicePublishingStrategyMapping{
			Service: service,
			ServicePublishingStrategy: hypershiftv1beta1.ServicePublishingStrategy{
				Type: hypershiftv1beta1.NodePort, NodePort: &hypershiftv1beta1.NodePortPublishingStrategy{Address: "api.demo.site.example"},
			},
		})
	}
	platform := hypershiftv1beta1.PlatformSpec{Type: hypershiftv1beta1.AgentPlatform, Agent: &hypershiftv1beta1.AgentPlatformSpec{AgentNamespace: agentNamespace}}
	etcd := hypershiftv1beta1.EtcdSpec{ManagementType: hypershiftv1beta1.Managed, Managed: &hypershiftv1beta1.ManagedEtcdSpec{
		Storage: hypershiftv1beta1.ManagedEtcdStorageSpec{Type: hypershiftv1beta1.PersistentVolumeEtcdStorage},
	}}
	networking := hypershiftv1beta1.ClusterNetworking{
		NetworkType:    hypershiftv1beta1.Other,
		ClusterNetwork: []hypershiftv1beta1.ClusterNetworkEntry{{CIDR: *ipnet.MustParseCIDR("10.132.0.0/14")}},
		ServiceNetwork: []hypershiftv1beta1.ServiceNetworkEntry{{CIDR: *ipnet.MustParseCIDR("172.31.0.0/16")}},
	}
	image := "registry.slipway.io/release/release:1.36.3"
	dns := hypershiftv1beta1.DNSSpec{BaseDomain: "site.example"}
	hosted := &hypershiftv1beta1.HostedCluster{ObjectMeta: metav1.ObjectMeta{Namespace: "clusters", Name: "demo"}}
	hosted.Spec = hypershiftv1beta1.HostedClusterSpec{
		Release: hypershiftv1beta1.Release{Image: image}, Platform: platform, Networking: networking, DNS: dns, Services: services, Etcd: etcd,
		PullSecret: corev1.LocalObjectReference{Name: "pull-secret"},
	}
	w.Must(w.Create(w.Context(), hosted))
	plane := &hypershiftv1beta1.HostedControlPlane{ObjectMeta: inPlane("demo")}
	plane.Spec = hypershiftv1beta1.HostedControlPlaneSpec{
		ReleaseImage: image, Platform: platform, Networking: networking, DNS: dns, Services: services, Etcd: etcd, InfraID: "demo",
		PullSecret: corev1.LocalObjectReference{Name: "pull-secret"}, IssuerURL: "https://kubernetes.default.svc",
	}
	w.Must(w.Create(w.Context(), plane))
	w.EditStatus(plane, func() {
		plane.Status.ControlPlaneEndpoint = hypershiftv1beta1.APIEndpoint{Host: "10.7.0.2", Port: 30000}
		plane.Status.Ready, plane.Status.Initialized, plane.Status.ExternalManagedControlPlane = true, true, ptr.To(true)
		meta.SetStatusCondition(&plane.Status.Conditions, metav1.Condition{
			Type: string(hypershiftv1beta1.KubeAPIServerAvailable), Status: metav1.ConditionTrue, Reason: "AsExpected",
		})
	})
	endpoint := clusterv1.APIEndpoint{Host: "10.7.0.2", Port: 30000}
	infrastructure := &capiagentv1beta1.AgentCluster{ObjectMeta: inPlane("demo")}
	infrastructure.Spec.ControlPlaneEndpoint = endpoint
	w.Must(w.Create(w.Context(), infrastructure))
	cluster := &clusterv1.Cluster{ObjectMeta: inPlane("demo")}
	cluster.Spec.ControlPlaneEndpoint = endpoint
	cluster.Spec.ControlPlaneRef = clusterv1.ContractVersionedObjectReference{
		APIGroup: hypershiftv1beta1.GroupVersion.Group, Kind: "HostedControlPlane", Name: "demo",
	}
	cluster.Spec.InfrastructureRef = clusterv1.ContractVersionedObjectReference{
		APIGroup: capiagentv1beta1.GroupVersion.Group, Kind: "AgentCluster", Name: "demo",
	}
	w.Must(w.Create(w.Context(), cluster))
	w.eventually("the cluster is initialized", func() bool {
		w.Read(cluster)
		done := cluster.Status.Initialization
		return ptr.Deref(done.InfrastructureProvisioned, false) && ptr.Deref(done.ControlPlaneInitialized, false)
	})
}

func (w *scene) state(agent *agentv1beta1.Agent, state string, stage models.HostStage) {
	w.Helper()
	w.EditStatus(agent, func() { agent.Status.DebugInfo.State, agent.Status.Progress.CurrentStage = state, stage })
}

func (w *scene) scale(pool *hypershiftv1beta1.NodePool, to int32) {
	w.Helper()
	w.Edit(pool, func() { pool.Spec.Replicas = ptr.To(to) })
}

func (w *scene) machines() []clusterv1.Machine {
	w.Helper()
	machines := &clusterv1.MachineList{}
	w.Must(w.List(w.Context(), machines, client.InNamespace(planeNamespace)))
	return machines.Items
}

func (w *scene) eventually(what string, is func() bool) {
	w.Helper()
	began := time.Now()
	w.Eventually(what, is, w.told)
	w.Logf("%s after %s", what, time.Since(began).Round(time.Millisecond))
}

// told is what the conditions say that are not true.
func (w *scene) told() string {
	var out strings.Builder
	pools, machines := &hypershiftv1beta1.NodePoolList{}, w.machines()
	w.Must(w.List(w.Context(), pools))
	for i := range pools.Items {
		for _, c := range pools.Items[i].Status.Conditions {
			fmt.Fprintf(&out, "\nNodePool %s: %s %s %s", c.Type, c.Status, c.Reason, c.Message)
		}
	}
	for i := range machines {
		for _, c := range machines[i].Status.Conditions {
			fmt.Fprintf(&out, "\nMachine %s: %s %s %s", c.Type, c.Status, c.Reason, c.Message)
		}
	}
	return out.String()
}

func isTrue(pool *hypershiftv1beta1.NodePool, kind string) bool {
	for _, condition := range pool.Status.Conditions {
		if condition.Type == kind {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// certificate is a self-signed CA.
func certificate(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
