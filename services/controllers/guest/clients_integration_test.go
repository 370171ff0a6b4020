//go:build integration

package guest_test

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/slipway-io/slipway/assets/crds"
	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/controllers/crd"
	"github.com/slipway-io/slipway/services/controllers/dnsrecords"
	"github.com/slipway-io/slipway/services/controllers/guest"
	"github.com/slipway-io/slipway/services/controlplane/pki"
)

// zones remembers what it was given last.
type zones struct {
	mu    sync.Mutex
	names map[string][]netip.Addr
}

func (z *zones) Set(clusters map[string]map[string][]netip.Addr) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.names = map[string][]netip.Addr{}
	for _, zone := range clusters {
		maps.Copy(z.names, zone)
	}
	return nil
}

func (z *zones) has(name string, addresses ...netip.Addr) bool {
	z.mu.Lock()
	defer z.mu.Unlock()
	return slices.Equal(z.names[name], addresses)
}

func start(t *testing.T) *envtest.Environment {
	t.Helper()
	environment := &envtest.Environment{BinaryAssetsDirectory: os.Getenv("SLIPWAY_RELEASE_BIN")}
	if _, err := environment.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := environment.Stop(); err != nil {
			t.Error(err)
		}
	})
	return environment
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	began := time.Now()
	defer func() { t.Logf("%s after %s", what, time.Since(began).Round(time.Millisecond)) }()
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 30 s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// site is a management API with the controllers under test.
func site(t *testing.T, hosts []netip.Addr) (client.Client, *guest.Clients, *zones) {
	t.Helper()
	environment := start(t)
	scheme, err := api.Scheme()
	must(t, err)
	kube, err := client.New(environment.Config, client.Options{Scheme: scheme})
	must(t, err)
	must(t, crd.Install(t.Context(), kube, crds.FS))
	mgr, err := ctrl.NewManager(environment.Config, ctrl.Options{Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}})
	must(t, err)
	guests, names := guest.New(mgr.GetClient()), &zones{}
	must(t, guests.SetupWithManager(mgr))
	must(t, (&dnsrecords.Reconciler{Client: mgr.GetClient(), Guests: guests, Zones: names, Site: hosts}).SetupWithManager(mgr))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return kube, guests, names
}

func plane() *hypershiftv1beta1.HostedControlPlane {
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
	return &hypershiftv1beta1.HostedControlPlane{
		ObjectMeta: metav1.ObjectMeta{Namespace: "clusters-demo", Name: "demo"},
		Spec: hypershiftv1beta1.HostedControlPlaneSpec{
			ReleaseImage: "registry.slipway.io/release/release:1.36.3",
			Platform: hypershiftv1beta1.PlatformSpec{
				Type: hypershiftv1beta1.AgentPlatform, Agent: &hypershiftv1beta1.AgentPlatformSpec{AgentNamespace: "slipway"},
			},
			DNS:      hypershiftv1beta1.DNSSpec{BaseDomain: "site.example"},
			Services: services,
			Etcd: hypershiftv1beta1.EtcdSpec{
				ManagementType: hypershiftv1beta1.Managed,
				Managed: &hypershiftv1beta1.ManagedEtcdSpec{
					Storage: hypershiftv1beta1.ManagedEtcdStorageSpec{Type: hypershiftv1beta1.PersistentVolumeEtcdStorage},
				},
			},
		},
	}
}

func TestIntegrationClients(t *testing.T) {
	host, worker := netip.MustParseAddr("10.7.0.2"), netip.MustParseAddr("10.7.0.50")
	cluster := types.NamespacedName{Namespace: "clusters-demo", Name: "demo"}
	kube, guests, names := site(t, []netip.Addr{host})
	hosted := start(t)
	direct, err := client.New(hosted.Config, client.Options{})
	must(t, err)
	ctx := t.Context()

	must(t, kube.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: cluster.Namespace}}))
	kubeconfig := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: cluster.Namespace, Name: pki.LocalhostKubeconfig},
		Data:       map[string][]byte{pki.KeyKubeconfig: hosted.KubeConfig},
	}
	must(t, kube.Create(ctx, kubeconfig))
	control := plane()
	must(t, kube.Create(ctx, control))
	eventually(t, "names of the API", func() bool { return names.has("api.demo.site.example", host) })
	if _, err := guests.Client(cluster); !errors.Is(err, guest.ErrNotConnected) {
		t.Fatalf("a control plane that is not up: %v", err)
	}
	control.Status.Initialized = true
	must(t, kube.Status().Update(ctx, control))
	eventually(t, "connection", func() bool { _, err := guests.Client(cluster); return err == nil })

	prepares(t, guests, direct, cluster, hosted.KubeConfig)
	followsNode(t, guests, direct, cluster, worker)
	eventually(t, "names of apps", func() bool { return names.has("*.apps.demo.site.example", worker) })

	before, err := guests.Client(cluster)
	must(t, err)
	user, err := hosted.AddUser(envtest.User{Name: "renewed", Groups: []string{"system:masters"}}, nil)
	must(t, err)
	kubeconfig.Data[pki.KeyKubeconfig], err = user.KubeConfig()
	must(t, err)
	must(t, kube.Update(ctx, kubeconfig))
	eventually(t, "new connection after the kubeconfig was renewed", func() bool {
		now, err := guests.Client(cluster)
		return err == nil && now != before
	})

	must(t, kube.Delete(ctx, control))
	eventually(t, "end of the connection", func() bool {
		_, err := guests.Client(cluster)
		return errors.Is(err, guest.ErrNotConnected)
	})
	eventually(t, "end of the names", func() bool { return names.has("api.demo.site.example") && names.has("*.apps.demo.site.example") })
}

func prepares(t *testing.T, guests *guest.Clients, direct client.Client, cluster types.NamespacedName, kubeconfig []byte) {
	t.Helper()
	for range 2 {
		must(t, guests.Bootstrap(t.Context(), kubeconfig))
	}
	for name, group := range map[string]string{"slipway:node-bootstrapper": guest.Bootstrappers, "slipway:node-proxier": "system:nodes"} {
		binding := &rbacv1.ClusterRoleBinding{}
		must(t, direct.Get(t.Context(), client.ObjectKey{Name: name}, binding))
		if len(binding.Subjects) != 1 || binding.Subjects[0].Name != group {
			t.Errorf("%s is bound to %v", name, binding.Subjects)
		}
	}
	token := guest.Token{ID: "abcdef", Secret: "0123456789abcdef", Expires: time.Now().Add(time.Hour), Description: "clusters/demo"}
	key, secret := client.ObjectKey{Namespace: "kube-system", Name: "bootstrap-token-abcdef"}, &corev1.Secret{}
	for range 2 {
		token.Expires = token.Expires.Add(time.Hour)
		must(t, guests.KeepToken(t.Context(), cluster, token))
	}
	must(t, direct.Get(t.Context(), key, secret))
	if got := string(secret.Data["expiration"]); got != token.Expires.UTC().Format(time.RFC3339) {
		t.Errorf("token expires %s", got)
	}
	for range 2 {
		must(t, guests.DropToken(t.Context(), cluster, token.ID))
	}
	if err := direct.Get(t.Context(), key, secret); client.IgnoreNotFound(err) != nil || err == nil {
		t.Errorf("dropped token: %v", err)
	}
}

func followsNode(t *testing.T, guests *guest.Clients, direct client.Client, cluster types.NamespacedName, address netip.Addr) {
	t.Helper()
	ctx := t.Context()
	sees := func(exists, ready bool) func() bool {
		return func() bool {
			e, r, err := guests.NodeReady(ctx, cluster, "worker-0")
			return err == nil && e == exists && r == ready
		}
	}
	eventually(t, "no node", sees(false, false))
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker-0"}}
	must(t, direct.Create(ctx, node))
	eventually(t, "node", sees(true, false))
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address.String()}}
	must(t, direct.Status().Update(ctx, node))
	eventually(t, "ready node", sees(true, true))
}
