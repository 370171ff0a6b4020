//go:build integration

package bmac_test

import (
	"context"
	"encoding/pem"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	"github.com/openshift/assisted-service/models"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/bmc"
	"github.com/slipway-io/slipway/services/bmc/redfish"
	"github.com/slipway-io/slipway/services/bmc/scripted"
	"github.com/slipway-io/slipway/services/controllers/agent"
	"github.com/slipway-io/slipway/services/controllers/approval"
	"github.com/slipway-io/slipway/services/controllers/baremetalhost"
	"github.com/slipway-io/slipway/services/controllers/bmac"
	"github.com/slipway-io/slipway/services/controllers/infraenv"
	"github.com/slipway-io/slipway/services/host"
	"github.com/slipway-io/slipway/test/world"
)

const (
	namespace = "slipway"
	hostID    = "c0ffee00-0000-4000-8000-000000000001"
	mac       = "52:54:01:00:00:01"
)

type site struct{}

func (site) InfraEnv(uid string) string { return "token" }

func (site) Version(_, want string) (string, error) {
	if want == "" {
		want = "1"
	}
	return want, nil
}

func (site) ISO(context.Context, *agentv1beta1.InfraEnv, string, string, string) (bool, error) {
	return true, nil
}

func (site) Seen(string) host.Contact { return host.Contact{At: time.Now()} }

func (site) Peer(string) (netip.Addr, string) { return netip.MustParseAddr("10.7.0.9"), "" }

var need = host.Requirements{CPUs: 1, MemoryBytes: 1, DiskBytes: 1}

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// scene has the controllers of the hosts running, and one machine with a scripted BMC.
type scene struct {
	*world.World
	bmc    *scripted.BMC
	host   *metal3v1alpha1.BareMetalHost
	lookup bmac.Lookup
}

func start(t *testing.T) *scene {
	t.Helper()
	w := &scene{World: world.Start(t, namespace)}
	w.run()
	w.Must(w.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "pull"}, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte("{}")},
	}))
	w.Must(w.Create(t.Context(), &agentv1beta1.InfraEnv{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "default"},
		Spec:       agentv1beta1.InfraEnvSpec{PullSecretRef: &corev1.LocalObjectReference{Name: "pull"}},
	}))
	return w
}

func (w *scene) run() {
	w.Helper()
	log := world.Log(w.T)
	mgr := w.Manager(log)
	w.Must(baremetalhost.Index(w.Context(), mgr.GetFieldIndexer()))
	kube := mgr.GetClient()
	w.lookup = bmac.Lookup{Client: kube}
	hosts := baremetalhost.New(kube, bmc.NewPool(redfish.Open, time.Minute), mgr.GetEventRecorder("test"), baremetalhost.NewMetrics(), baremetalhost.Options{
		Access: &baremetalhost.Access{Client: kube, Namespace: "slipway-system", Log: log, Wait: world.Hurry}, Poll: time.Second, Log: log,
	})
	for _, one := range []interface{ SetupWithManager(ctrl.Manager) error }{
		hosts,
		&bmac.Reconciler{Client: kube, Events: mgr.GetEventRecorder("bmac"), Now: time.Now},
		&agent.Reconciler{Client: kube, Seen: site{}, Powers: w.lookup, Requirements: need},
		&approval.Reconciler{Client: kube, Peers: site{}, Events: mgr.GetEventRecorder("approval")},
		&infraenv.Reconciler{Client: kube, Tokens: site{}, Images: site{}, URLs: infraenv.URLs{HTTP: "http://192.0.2.1:8080", HTTPS: "https://192.0.2.1:8443"}},
	} {
		w.Must(one.SetupWithManager(mgr))
	}
	w.Manage(mgr)
}

// declare a machine with a BMC.
func (w *scene) declare(change func(*metal3v1alpha1.BareMetalHost)) {
	w.Helper()
	w.bmc = scripted.New(scripted.Profiles()[0], scripted.Options{Seed: 1})
	listener, err := net.Listen("tcp", "[::1]:0")
	w.Must(err)
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- w.bmc.Serve(ctx, listener, true) }()
	w.Cleanup(func() { stop(); <-served })
	certificate, err := w.bmc.Certificate()
	w.Must(err)
	w.Must(w.Create(w.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "ca"},
		Data:       map[string]string{"ca.crt": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}))},
	}))
	w.Must(w.Create(w.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "w0-bmc"},
		Data:       map[string][]byte{"username": []byte("admin"), "password": []byte("scripted-password")},
	}))
	w.host = &metal3v1alpha1.BareMetalHost{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: "w0", Labels: map[string]string{api.InfraEnvLabel: "default"},
		Annotations: map[string]string{api.BMCCAAnnotation: "ca", "bmac.agent-install.openshift.io/hostname": "rack1-w0"},
	}}
	w.host.Spec.AutomatedCleaningMode = metal3v1alpha1.CleaningModeDisabled
	w.host.Spec.BMC = metal3v1alpha1.BMCDetails{Address: "redfish-virtualmedia://" + listener.Addr().String(), CredentialsName: "w0-bmc"}
	w.host.Spec.BootMACAddress = mac
	w.host.Spec.RootDeviceHints = &metal3v1alpha1.RootDeviceHints{DeviceName: "/dev/vdb"}
	if change != nil {
		change(w.host)
	}
	w.Must(w.Create(w.Context(), w.host))
}

// agent changes the machine's Agent as agentapi does, from its first registration.
func (w *scene) agent(change func(*agentv1beta1.Agent) error) {
	w.Helper()
	w.eventually("agent written", func() bool {
		a := &agentv1beta1.Agent{}
		if err := w.Get(w.Context(), client.ObjectKey{Namespace: namespace, Name: hostID}, a); err != nil {
			w.Must(client.IgnoreNotFound(err))
			*a = agentv1beta1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: hostID, Labels: map[string]string{api.InfraEnvLabel: "default"}}}
			a.Spec.Role = models.HostRoleAutoAssign
			w.Must(w.Create(w.Context(), a))
		}
		before := a.DeepCopy()
		w.Must(change(a))
		return w.Client.Status().Patch(w.Context(), a, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})) == nil
	})
}

// discover registers the machine from the discovery image.
func (w *scene) discover() {
	w.Helper()
	w.agent(host.Register)
	w.agent(func(a *agentv1beta1.Agent) error {
		return host.SetInventory(a, agentv1beta1.HostInventory{
			Hostname: "localhost", Cpu: agentv1beta1.HostCPU{Count: 2, Architecture: "x86_64", Flags: []string{}}, Memory: agentv1beta1.HostMemory{PhysicalBytes: 1 << 31},
			Interfaces: []agentv1beta1.HostInterface{{Name: "eth0", MacAddress: mac, Flags: []string{}, IPV4Addresses: []string{}, IPV6Addresses: []string{}}},
			Disks: []agentv1beta1.HostDisk{
				{ID: "id-a", Name: "vda", Path: "/dev/vda", SizeBytes: 1 << 34, DriveType: "SSD"}, {ID: "id-b", Name: "vdb", Path: "/dev/vdb", SizeBytes: 1 << 35, DriveType: "SSD"},
			},
		}, need, time.Now())
	})
}

// bind the Agent and write its disk, up to its reboot.
func (w *scene) install() {
	w.Helper()
	w.edit(func(a *agentv1beta1.Agent) {
		a.Spec.ClusterDeploymentName = &agentv1beta1.ClusterReference{Namespace: "clusters-demo", Name: "demo"}
		a.Spec.IgnitionEndpointTokenReference = &agentv1beta1.IgnitionEndpointTokenReference{Namespace: "clusters-demo", Name: "token"}
	})
	w.state(api.StateBinding)
	w.discover()
	w.state(api.StateInstalling)
	w.agent(func(a *agentv1beta1.Agent) error { return host.Progress(a, models.HostStageRebooting, "", time.Now()) })
}

// edit the Agent's spec as users and the AgentMachine controller do.
func (w *scene) edit(change func(*agentv1beta1.Agent)) {
	w.Helper()
	a := &agentv1beta1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: hostID}}
	w.Edit(a, func() { change(a) })
}

func (w *scene) state(want string) *agentv1beta1.Agent {
	w.Helper()
	a := &agentv1beta1.Agent{}
	w.eventually("state "+want, func() bool {
		w.Must(w.Get(w.Context(), client.ObjectKey{Namespace: namespace, Name: hostID}, a))
		return host.State(a) == want
	})
	return a
}

func (w *scene) read() *metal3v1alpha1.BareMetalHost {
	w.Helper()
	w.Must(client.IgnoreNotFound(w.Get(w.Context(), client.ObjectKeyFromObject(w.host), w.host)))
	return w.host
}

// reasons and notes of the Events about an object.
func (w *scene) reasons(name string) string {
	list := &eventsv1.EventList{}
	w.Must(w.List(w.Context(), list, client.InNamespace(namespace)))
	var out []string
	for i := range list.Items {
		if list.Items[i].Regarding.Name == name {
			out = append(out, list.Items[i].Reason+": "+list.Items[i].Note)
		}
	}
	return strings.Join(out, "; ")
}

func (w *scene) eventually(what string, is func() bool) {
	w.Helper()
	w.Eventually(what, is, func() string {
		if w.host == nil {
			return ""
		}
		h := w.read()
		return fmt.Sprintf("host %s, %s %s, on %t, annotations %v, starts %v", h.Status.Provisioning.State,
			h.Status.OperationalStatus, h.Status.ErrorMessage, h.Status.PoweredOn, h.Annotations, w.bmc.Starts())
	})
}
