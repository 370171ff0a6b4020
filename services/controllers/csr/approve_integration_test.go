//go:build integration

package csr_test

import (
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
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/controllers/csr"
	"github.com/slipway-io/slipway/services/controllers/guest"
	"github.com/slipway-io/slipway/services/controlplane/pki"
	"github.com/slipway-io/slipway/test/world"
)

const (
	tokenID, tokenSecret = "abcdef", "0123456789abcdef"
	// refusalWait is how long a request that must not be approved is watched; an approval takes some 10 ms.
	refusalWait = 2 * time.Second
)

var cluster = types.NamespacedName{Namespace: "clusters-demo", Name: "demo"}

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// scene is a management API that is its own hosted cluster: the approver sees it through the kubeconfig of the control plane.
type scene struct {
	*world.World
	guests *guest.Clients
}

func start(t *testing.T) *scene {
	t.Helper()
	s := &scene{World: world.Start(t, cluster.Namespace, "slipway")}
	mgr := s.Manager(world.Log(t))
	s.guests = guest.New(mgr.GetClient())
	s.Must(s.guests.SetupWithManager(mgr))
	s.Must((&csr.Reconciler{Client: mgr.GetClient(), Guests: s.guests}).SetupWithManager(mgr))
	s.Manage(mgr)
	return s
}

// connect makes the control plane of the cluster and waits until the approver can look into it.
func (s *scene) connect() {
	s.Helper()
	s.Must(s.Create(s.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: cluster.Namespace, Name: pki.LocalhostKubeconfig},
		Data:       map[string][]byte{pki.KeyKubeconfig: s.Kubeconfig},
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
	s.Must(s.Create(s.Context(), plane))
	s.EditStatus(plane, func() { plane.Status.Initialized = true })
	s.within("connection", func() bool { _, err := s.guests.Client(cluster); return err == nil })
}

func (s *scene) within(what string, is func() bool) {
	s.Helper()
	s.Eventually(what, is, func() string { return "" })
}

// agent makes an Agent that was given to the cluster.
func (s *scene) agent(name, hostname, state string) *agentv1beta1.Agent {
	s.Helper()
	agent := &agentv1beta1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: "slipway", Name: name}}
	agent.Spec.Hostname = hostname
	agent.Spec.ClusterDeploymentName = &agentv1beta1.ClusterReference{Namespace: cluster.Namespace, Name: cluster.Name}
	s.Must(s.Create(s.Context(), agent))
	s.state(agent, state)
	return agent
}

func (s *scene) state(agent *agentv1beta1.Agent, state string) {
	s.Helper()
	s.EditStatus(agent, func() {
		agent.Status.DebugInfo.State = state
		agent.Status.Inventory.Interfaces = []agentv1beta1.HostInterface{{
			Name: "eth0", IPV4Addresses: []string{"10.7.0.50/24"}, IPV6Addresses: []string{"fd07::50/64"}, Flags: []string{},
		}}
		agent.Status.Inventory.Disks = []agentv1beta1.HostDisk{}
	})
}

// kubelet is a client with a bootstrap token, or with the certificate of a node.
func (s *scene) kubelet(node string) client.Client {
	s.Helper()
	config := rest.AnonymousClientConfig(s.Config)
	config.BearerToken = tokenID + "." + tokenSecret
	if node != "" {
		config = s.User("system:node:"+node, "system:nodes").Config()
	}
	kubelet, err := client.New(config, client.Options{})
	s.Must(err)
	return kubelet
}

func (s *scene) ask(kubelet client.Client, name, signer, node string, names []string, addresses ...string) {
	s.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.Must(err)
	template := &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "system:node:" + node, Organization: []string{"system:nodes"}}, DNSNames: names,
	}
	for _, address := range addresses {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(address))
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	s.Must(err)
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
	s.within("request "+name, func() bool {
		err = kubelet.Create(s.Context(), request)
		return err == nil
	})
}

func (s *scene) approved(name string) bool {
	s.Helper()
	request := &certificatesv1.CertificateSigningRequest{}
	s.Must(s.Get(s.Context(), client.ObjectKey{Name: name}, request))
	for _, condition := range request.Status.Conditions {
		if condition.Type == certificatesv1.CertificateApproved {
			return true
		}
	}
	return false
}

func (s *scene) stays(names ...string) {
	s.Helper()
	time.Sleep(refusalWait)
	for _, name := range names {
		if s.approved(name) {
			s.Errorf("%s is approved", name)
		}
	}
}

func TestIntegrationApproval(t *testing.T) {
	s := start(t)
	s.connect()
	for range 2 {
		s.Must(s.guests.Bootstrap(t.Context(), s.Kubeconfig))
	}
	s.Must(s.guests.KeepToken(t.Context(), cluster, guest.Token{
		ID: tokenID, Secret: tokenSecret, Expires: time.Now().Add(time.Hour), Description: "NodePool clusters/demo",
	}))
	s.agent("7c18df7e-0000-4000-8000-000000000000", "worker-0", api.StateInstallingInProgress)
	late := s.agent("7c18df7e-0000-4000-8000-000000000001", "worker-1", api.StateKnown)
	identity, serving := certificatesv1.KubeAPIServerClientKubeletSignerName, certificatesv1.KubeletServingSignerName

	newcomer := s.kubelet("")
	s.ask(newcomer, "first", identity, "worker-0", nil)
	s.within("first identity", func() bool { return s.approved("first") })
	s.ask(newcomer, "foreign", identity, "intruder", nil)
	s.ask(newcomer, "early", identity, "worker-1", nil)
	s.ask(newcomer, "masked", serving, "worker-0", []string{"worker-0"})

	node := s.kubelet("worker-0")
	s.ask(node, "renewal", identity, "worker-0", nil)
	s.ask(node, "serving", serving, "worker-0", []string{"worker-0"}, "10.7.0.50", "fd07::50")
	for _, name := range []string{"renewal", "serving"} {
		s.within(name, func() bool { return s.approved(name) })
	}
	s.ask(node, "outside", serving, "worker-0", []string{"worker-0"}, "10.7.0.50", "10.7.0.2")
	s.ask(node, "elsewhere", serving, "worker-0", []string{"api.demo.site.example"}, "10.7.0.50")
	s.ask(node, "neighbour", identity, "worker-1", nil)
	s.stays("foreign", "early", "masked", "outside", "elsewhere", "neighbour")

	// The request that came before the Agent's state was known is looked at again with the Agent.
	s.state(late, api.StateInstalling)
	s.within("early", func() bool { return s.approved("early") })
	s.stays("foreign", "masked", "outside", "elsewhere", "neighbour")

	s.names()
}

// names: a Node whose kubelet says no providerID is given that of its Agent.
func (s *scene) names() {
	s.Helper()
	s.Must(s.Create(s.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker-0"}}))
	s.within("providerID", func() bool {
		seen := &corev1.Node{}
		s.Must(s.Get(s.Context(), client.ObjectKey{Name: "worker-0"}, seen))
		return seen.Spec.ProviderID == api.ProviderIDPrefix+"7c18df7e-0000-4000-8000-000000000000"
	})
}
