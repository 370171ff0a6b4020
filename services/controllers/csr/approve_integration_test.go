//go:build integration

package csr_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"os"
	"testing"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/slipway-io/slipway/assets/crds"
	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/controllers/crd"
	"github.com/slipway-io/slipway/services/controllers/csr"
	"github.com/slipway-io/slipway/services/controllers/guest"
	"github.com/slipway-io/slipway/services/controlplane/pki"
)

const (
	tokenID, tokenSecret = "abcdef", "0123456789abcdef"
	// refusalWait is how long a request that must not be approved is watched; an approval takes some 10 ms.
	refusalWait = 2 * time.Second
)

var cluster = types.NamespacedName{Namespace: "clusters-demo", Name: "demo"}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bench is a management API that is its own hosted cluster: the approver sees it through the kubeconfig of the control plane.
type bench struct {
	environment *envtest.Environment
	kube        client.Client
	guests      *guest.Clients
	kubeconfig  []byte
}

func start(t *testing.T) *bench {
	t.Helper()
	b := &bench{environment: &envtest.Environment{BinaryAssetsDirectory: os.Getenv("SLIPWAY_RELEASE_BIN")}}
	server := b.environment.ControlPlane.GetAPIServer().Configure()
	server.Set("authorization-mode", "Node", "RBAC").Set("enable-bootstrap-token-auth", "true")
	config, err := b.environment.Start()
	must(t, err)
	t.Cleanup(func() {
		if err := b.environment.Stop(); err != nil {
			t.Error(err)
		}
	})
	scheme, err := api.Scheme()
	must(t, err)
	b.kube, err = client.New(config, client.Options{Scheme: scheme})
	must(t, err)
	must(t, crd.Install(t.Context(), b.kube, crds.FS))
	b.kubeconfig = b.environment.KubeConfig
	mgr, err := ctrl.NewManager(config, ctrl.Options{Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}})
	must(t, err)
	b.guests = guest.New(mgr.GetClient())
	must(t, b.guests.SetupWithManager(mgr))
	must(t, (&csr.Reconciler{Client: mgr.GetClient(), Guests: b.guests}).SetupWithManager(mgr))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return b
}

// connect makes the control plane of the cluster and waits until the approver can look into it.
func (b *bench) connect(t *testing.T) {
	t.Helper()
	for _, name := range []string{cluster.Namespace, "slipway"} {
		must(t, b.kube.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	}
	must(t, b.kube.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: cluster.Namespace, Name: pki.LocalhostKubeconfig},
		Data:       map[string][]byte{pki.KeyKubeconfig: b.kubeconfig},
	}))
	plane := &hypershiftv1beta1.HostedControlPlane{
		ObjectMeta: metav1.ObjectMeta{Namespace: cluster.Namespace, Name: cluster.Name},
		Spec: hypershiftv1beta1.HostedControlPlaneSpec{
			ReleaseImage: "registry.slipway.io/release/release:1.36.3",
			Platform: hypershiftv1beta1.PlatformSpec{
				Type: hypershiftv1beta1.AgentPlatform, Agent: &hypershiftv1beta1.AgentPlatformSpec{AgentNamespace: "slipway"},
			},
			DNS: hypershiftv1beta1.DNSSpec{BaseDomain: "site.example"},
			Etcd: hypershiftv1beta1.EtcdSpec{ManagementType: hypershiftv1beta1.Managed, Managed: &hypershiftv1beta1.ManagedEtcdSpec{
				Storage: hypershiftv1beta1.ManagedEtcdStorageSpec{Type: hypershiftv1beta1.PersistentVolumeEtcdStorage},
			}},
		},
	}
	for _, service := range []hypershiftv1beta1.ServiceType{
		hypershiftv1beta1.APIServer, hypershiftv1beta1.Konnectivity, hypershiftv1beta1.OAuthServer, hypershiftv1beta1.Ignition,
	} {
		plane.Spec.Services = append(plane.Spec.Services, hypershiftv1beta1.ServicePublishingStrategyMapping{
			Service: service, ServicePublishingStrategy: hypershiftv1beta1.ServicePublishingStrategy{
				Type: hypershiftv1beta1.NodePort, NodePort: &hypershiftv1beta1.NodePortPublishingStrategy{Address: "10.7.0.2"},
			},
		})
	}
	must(t, b.kube.Create(t.Context(), plane))
	plane.Status.Initialized = true
	must(t, b.kube.Status().Update(t.Context(), plane))
	within(t, "connection", func() bool { _, err := b.guests.Client(cluster); return err == nil })
}

func within(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}

// agent makes an Agent that was given to the cluster.
func (b *bench) agent(t *testing.T, name, hostname, state string) *agentv1beta1.Agent {
	t.Helper()
	agent := &agentv1beta1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: "slipway", Name: name}}
	agent.Spec.Hostname = hostname
	agent.Spec.ClusterDeploymentName = &agentv1beta1.ClusterReference{Namespace: cluster.Namespace, Name: cluster.Name}
	must(t, b.kube.Create(t.Context(), agent))
	b.state(t, agent, state)
	return agent
}

func (b *bench) state(t *testing.T, agent *agentv1beta1.Agent, state string) {
	t.Helper()
	before := agent.DeepCopy()
	agent.Status.DebugInfo.State = state
	agent.Status.Inventory.Interfaces = []agentv1beta1.HostInterface{{
		Name: "eth0", IPV4Addresses: []string{"10.7.0.50/24"}, IPV6Addresses: []string{"fd07::50/64"}, Flags: []string{},
	}}
	agent.Status.Inventory.Disks = []agentv1beta1.HostDisk{}
	must(t, b.kube.Status().Patch(t.Context(), agent, client.MergeFrom(before)))
}

// kubelet is a client with a bootstrap token, or with the certificate of a node.
func (b *bench) kubelet(t *testing.T, node string) client.Client {
	t.Helper()
	config := rest.AnonymousClientConfig(b.environment.Config)
	config.BearerToken = tokenID + "." + tokenSecret
	if node != "" {
		user, err := b.environment.AddUser(envtest.User{Name: "system:node:" + node, Groups: []string{"system:nodes"}}, nil)
		must(t, err)
		config = user.Config()
	}
	kubelet, err := client.New(config, client.Options{})
	must(t, err)
	return kubelet
}

func ask(t *testing.T, kubelet client.Client, name, signer, node string, names []string, addresses ...string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "system:node:" + node, Organization: []string{"system:nodes"}}, DNSNames: names,
	}
	for _, address := range addresses {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(address))
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	must(t, err)
	purpose := certificatesv1.UsageClientAuth
	if signer == certificatesv1.KubeletServingSignerName {
		purpose = certificatesv1.UsageServerAuth
	}
	request := &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			SignerName: signer, Usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, purpose},
		},
	}
	// A token or a binding that was just made is known to the API server a moment later.
	within(t, "request "+name, func() bool {
		err = kubelet.Create(t.Context(), request)
		return err == nil
	})
}

func (b *bench) approved(t *testing.T, name string) bool {
	t.Helper()
	request := &certificatesv1.CertificateSigningRequest{}
	must(t, b.kube.Get(t.Context(), client.ObjectKey{Name: name}, request))
	for _, condition := range request.Status.Conditions {
		if condition.Type == certificatesv1.CertificateApproved {
			return true
		}
	}
	return false
}

func (b *bench) stays(t *testing.T, names ...string) {
	t.Helper()
	time.Sleep(refusalWait)
	for _, name := range names {
		if b.approved(t, name) {
			t.Errorf("%s is approved", name)
		}
	}
}

func TestIntegrationApproval(t *testing.T) {
	b := start(t)
	b.connect(t)
	for range 2 {
		must(t, b.guests.Bootstrap(t.Context(), b.kubeconfig))
	}
	must(t, b.guests.KeepToken(t.Context(), cluster, guest.Token{
		ID: tokenID, Secret: tokenSecret, Expires: time.Now().Add(time.Hour), Description: "NodePool clusters/demo",
	}))
	b.agent(t, "7c18df7e-0000-4000-8000-000000000000", "worker-0", api.StateInstallingInProgress)
	late := b.agent(t, "7c18df7e-0000-4000-8000-000000000001", "worker-1", api.StateKnown)
	identity, serving := certificatesv1.KubeAPIServerClientKubeletSignerName, certificatesv1.KubeletServingSignerName

	newcomer := b.kubelet(t, "")
	ask(t, newcomer, "first", identity, "worker-0", nil)
	within(t, "first identity", func() bool { return b.approved(t, "first") })
	ask(t, newcomer, "foreign", identity, "intruder", nil)
	ask(t, newcomer, "early", identity, "worker-1", nil)
	ask(t, newcomer, "masked", serving, "worker-0", []string{"worker-0"})

	node := b.kubelet(t, "worker-0")
	ask(t, node, "renewal", identity, "worker-0", nil)
	ask(t, node, "serving", serving, "worker-0", []string{"worker-0"}, "10.7.0.50", "fd07::50")
	for _, name := range []string{"renewal", "serving"} {
		within(t, name, func() bool { return b.approved(t, name) })
	}
	ask(t, node, "outside", serving, "worker-0", []string{"worker-0"}, "10.7.0.50", "10.7.0.2")
	ask(t, node, "elsewhere", serving, "worker-0", []string{"api.demo.site.example"}, "10.7.0.50")
	ask(t, node, "neighbour", identity, "worker-1", nil)
	b.stays(t, "foreign", "early", "masked", "outside", "elsewhere", "neighbour")

	// The request that came before the Agent's state was known is looked at again with the Agent.
	b.state(t, late, api.StateInstalling)
	within(t, "early", func() bool { return b.approved(t, "early") })
	b.stays(t, "foreign", "masked", "outside", "elsewhere", "neighbour")

	names(t, b)
}

// names: a Node whose kubelet says no providerID is given that of its Agent.
func names(t *testing.T, b *bench) {
	t.Helper()
	must(t, b.kube.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker-0"}}))
	within(t, "providerID", func() bool {
		seen := &corev1.Node{}
		must(t, b.kube.Get(t.Context(), client.ObjectKey{Name: "worker-0"}, seen))
		return seen.Spec.ProviderID == api.ProviderIDPrefix+"7c18df7e-0000-4000-8000-000000000000"
	})
}
