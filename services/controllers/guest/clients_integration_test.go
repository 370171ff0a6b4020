//go:build integration

package guest_test

import (
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
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/services/controllers/dnsrecords"
	"github.com/slipway-io/slipway/services/controllers/guest"
	"github.com/slipway-io/slipway/services/controlplane/pki"
	"github.com/slipway-io/slipway/test/world"
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

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// site is a management API with the controllers under test.
type site struct {
	*world.World
	guests *guest.Clients
	names  *zones
}

func start(t *testing.T, hosts ...netip.Addr) *site {
	t.Helper()
	s := &site{World: world.Start(t, cluster().Namespace), names: &zones{}}
	mgr := s.Manager(world.Log(t))
	s.guests = guest.New(mgr.GetClient())
	s.Must(s.guests.SetupWithManager(mgr))
	s.Must((&dnsrecords.Reconciler{Client: mgr.GetClient(), Guests: s.guests, Zones: s.names, Site: hosts}).SetupWithManager(mgr))
	s.Manage(mgr)
	return s
}

func (s *site) eventually(what string, is func() bool) {
	s.Helper()
	began := time.Now()
	s.Eventually(what, is, func() string { return "" })
	s.Logf("%s after %s", what, time.Since(began).Round(time.Millisecond))
}

func cluster() types.NamespacedName {
	return types.NamespacedName{Namespace: "clusters-demo", Name: "demo"}
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
		ObjectMeta: metav1.ObjectMeta{Namespace: cluster().Namespace, Name: cluster().Name},
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
	s, hosted := start(t, host), world.Start(t)
	ctx := t.Context()
	kubeconfig := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: cluster().Namespace, Name: pki.LocalhostKubeconfig},
		Data:       map[string][]byte{pki.KeyKubeconfig: hosted.Kubeconfig},
	}
	s.Must(s.Create(ctx, kubeconfig))
	control := plane()
	s.Must(s.Create(ctx, control))
	s.eventually("names of the API", func() bool { return s.names.has("api.demo.site.example", host) })
	if _, err := s.guests.Client(cluster()); !errors.Is(err, guest.ErrNotConnected) {
		t.Fatalf("a control plane that is not up: %v", err)
	}
	s.EditStatus(control, func() { control.Status.Initialized = true })
	s.eventually("connection", func() bool { _, err := s.guests.Client(cluster()); return err == nil })

	s.prepares(hosted)
	s.followsNode(hosted, worker)
	s.eventually("names of apps", func() bool { return s.names.has("*.apps.demo.site.example", worker) })

	before, err := s.guests.Client(cluster())
	s.Must(err)
	renewed, err := hosted.User("renewed", "system:masters").KubeConfig()
	s.Must(err)
	s.Edit(kubeconfig, func() { kubeconfig.Data[pki.KeyKubeconfig] = renewed })
	s.eventually("new connection after the kubeconfig was renewed", func() bool {
		now, err := s.guests.Client(cluster())
		return err == nil && now != before
	})

	s.Must(s.Delete(ctx, control))
	s.eventually("end of the connection", func() bool {
		_, err := s.guests.Client(cluster())
		return errors.Is(err, guest.ErrNotConnected)
	})
	s.eventually("end of the names", func() bool {
		return s.names.has("api.demo.site.example") && s.names.has("*.apps.demo.site.example")
	})
}

func (s *site) prepares(hosted *world.World) {
	s.Helper()
	for range 2 {
		s.Must(s.guests.Bootstrap(s.Context(), hosted.Kubeconfig))
	}
	for name, group := range map[string]string{"slipway:node-bootstrapper": guest.Bootstrappers, "slipway:node-proxier": "system:nodes"} {
		binding := &rbacv1.ClusterRoleBinding{}
		s.Must(hosted.Get(s.Context(), client.ObjectKey{Name: name}, binding))
		if len(binding.Subjects) != 1 || binding.Subjects[0].Name != group {
			s.Errorf("%s is bound to %v", name, binding.Subjects)
		}
	}
	token := guest.Token{ID: "abcdef", Secret: "0123456789abcdef", Expires: time.Now().Add(time.Hour), Description: "clusters/demo"}
	key, secret := client.ObjectKey{Namespace: "kube-system", Name: "bootstrap-token-abcdef"}, &corev1.Secret{}
	for range 2 {
		token.Expires = token.Expires.Add(time.Hour)
		s.Must(s.guests.KeepToken(s.Context(), cluster(), token))
	}
	s.Must(hosted.Get(s.Context(), key, secret))
	if got := string(secret.Data["expiration"]); got != token.Expires.UTC().Format(time.RFC3339) {
		s.Errorf("token expires %s", got)
	}
	for range 2 {
		s.Must(s.guests.DropToken(s.Context(), cluster(), token.ID))
	}
	if err := hosted.Get(s.Context(), key, secret); client.IgnoreNotFound(err) != nil || err == nil {
		s.Errorf("dropped token: %v", err)
	}
}

func (s *site) followsNode(hosted *world.World, address netip.Addr) {
	s.Helper()
	ctx := s.Context()
	sees := func(exists, ready bool) func() bool {
		return func() bool {
			e, r, err := s.guests.NodeReady(ctx, cluster(), "worker-0")
			return err == nil && e == exists && r == ready
		}
	}
	s.eventually("no node", sees(false, false))
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker-0"}}
	s.Must(hosted.Create(ctx, node))
	s.eventually("node", sees(true, false))
	hosted.EditStatus(node, func() {
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
		node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address.String()}}
	})
	s.eventually("ready node", sees(true, true))
}
