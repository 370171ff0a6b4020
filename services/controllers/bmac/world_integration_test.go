//go:build integration

package bmac_test

import (
	"context"
	"encoding/pem"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	"github.com/openshift/assisted-service/models"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/slipway-io/slipway/assets/crds"
	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/bmc"
	"github.com/slipway-io/slipway/services/bmc/redfish"
	"github.com/slipway-io/slipway/services/bmc/scripted"
	"github.com/slipway-io/slipway/services/controllers/agent"
	"github.com/slipway-io/slipway/services/controllers/approval"
	"github.com/slipway-io/slipway/services/controllers/baremetalhost"
	"github.com/slipway-io/slipway/services/controllers/bmac"
	"github.com/slipway-io/slipway/services/controllers/crd"
	"github.com/slipway-io/slipway/services/controllers/infraenv"
	"github.com/slipway-io/slipway/services/host"
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

// world is a management API of our own release with the controllers of the hosts, and one machine with a scripted BMC.
type world struct {
	*testing.T
	client.Client
	bmc    *scripted.BMC
	host   *metal3v1alpha1.BareMetalHost
	lookup bmac.Lookup
}

func start(t *testing.T) *world {
	t.Helper()
	environment := &envtest.Environment{BinaryAssetsDirectory: os.Getenv("SLIPWAY_RELEASE_BIN")}
	connection, err := environment.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := environment.Stop(); err != nil {
			t.Error(err)
		}
	})
	connection.QPS, connection.Burst = 200, 400
	w := &world{T: t}
	scheme, err := api.Scheme()
	w.must(err)
	w.Client, err = client.New(connection, client.Options{Scheme: scheme})
	w.must(err)
	w.must(crd.Install(t.Context(), w.Client, crds.FS))
	w.must(w.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}))
	w.run(connection)
	w.must(w.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "pull"}, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte("{}")},
	}))
	w.must(w.Create(t.Context(), &agentv1beta1.InfraEnv{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "default"},
		Spec:       agentv1beta1.InfraEnvSpec{PullSecretRef: &corev1.LocalObjectReference{Name: "pull"}},
	}))
	return w
}

func (w *world) run(connection *rest.Config) {
	w.Helper()
	scheme, err := api.Scheme()
	w.must(err)
	mgr, err := ctrl.NewManager(connection, ctrl.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Controller: config.Controller{SkipNameValidation: ptr.To(true)},
		GracefulShutdownTimeout: ptr.To(5 * time.Second),
	})
	w.must(err)
	log := slog.New(slog.NewTextHandler(lines{w.T}, nil))
	ctrl.SetLogger(logr.FromSlogHandler(log.Handler()))
	ctx, stop := context.WithCancel(context.Background())
	w.must(baremetalhost.Index(ctx, mgr.GetFieldIndexer()))
	kube := mgr.GetClient()
	w.lookup = bmac.Lookup{Client: kube}
	hosts := baremetalhost.New(kube, bmc.NewPool(redfish.Open, time.Minute), mgr.GetEventRecorder("test"), baremetalhost.NewMetrics(), baremetalhost.Options{
		Access: &baremetalhost.Access{Client: kube, Namespace: "slipway-system", Log: log, Wait: hurry}, Poll: time.Second, Log: log,
	})
	for _, one := range []interface{ SetupWithManager(ctrl.Manager) error }{
		hosts,
		&bmac.Reconciler{Client: kube, Events: mgr.GetEventRecorder("bmac"), Now: time.Now},
		&agent.Reconciler{Client: kube, Seen: site{}, Powers: w.lookup, Requirements: need},
		&approval.Reconciler{Client: kube, Peers: site{}, Events: mgr.GetEventRecorder("approval")},
		&infraenv.Reconciler{Client: kube, Tokens: site{}, Images: site{}, URLs: infraenv.URLs{HTTP: "http://192.0.2.1:8080", HTTPS: "https://192.0.2.1:8443"}},
	} {
		w.must(one.SetupWithManager(mgr))
	}
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	w.Cleanup(func() { stop(); <-ended })
}

type lines struct{ *testing.T }

func (l lines) Write(line []byte) (int, error) {
	if l.Context().Err() == nil {
		l.Log(strings.TrimSpace(string(line)))
	}
	return len(line), nil
}

// hurry waits a hundredth.
func hurry(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d / 100):
		return nil
	case <-ctx.Done():
		return &bmc.Fault{Kind: bmc.Stuck, Err: ctx.Err()}
	}
}

// declare a machine with a BMC.
func (w *world) declare(change func(*metal3v1alpha1.BareMetalHost)) {
	w.Helper()
	w.bmc = scripted.New(scripted.Profiles()[0], scripted.Options{Seed: 1})
	listener, err := net.Listen("tcp", "[::1]:0")
	w.must(err)
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- w.bmc.Serve(ctx, listener, true) }()
	w.Cleanup(func() { stop(); <-served })
	certificate, err := w.bmc.Certificate()
	w.must(err)
	w.must(w.Create(w.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "ca"},
		Data:       map[string]string{"ca.crt": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}))},
	}))
	w.must(w.Create(w.Context(), &corev1.Secret{
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
	w.must(w.Create(w.Context(), w.host))
}

// agent changes the machine's Agent as agentapi does, from its first registration.
func (w *world) agent(change func(*agentv1beta1.Agent) error) {
	w.Helper()
	w.eventually("agent written", func() bool {
		a := &agentv1beta1.Agent{}
		if err := w.Get(w.Context(), client.ObjectKey{Namespace: namespace, Name: hostID}, a); err != nil {
			w.must(client.IgnoreNotFound(err))
			*a = agentv1beta1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: hostID, Labels: map[string]string{api.InfraEnvLabel: "default"}}}
			a.Spec.Role = models.HostRoleAutoAssign
			w.must(w.Create(w.Context(), a))
		}
		before := a.DeepCopy()
		w.must(change(a))
		return w.Client.Status().Patch(w.Context(), a, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})) == nil
	})
}

// discover registers the machine from the discovery image.
func (w *world) discover() {
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
func (w *world) install() {
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
func (w *world) edit(change func(*agentv1beta1.Agent)) {
	w.Helper()
	a := &agentv1beta1.Agent{}
	w.must(w.Get(w.Context(), client.ObjectKey{Namespace: namespace, Name: hostID}, a))
	before := a.DeepCopy()
	change(a)
	w.must(w.Patch(w.Context(), a, client.MergeFrom(before)))
}

func (w *world) state(want string) *agentv1beta1.Agent {
	w.Helper()
	a := &agentv1beta1.Agent{}
	w.eventually("state "+want, func() bool {
		w.must(w.Get(w.Context(), client.ObjectKey{Namespace: namespace, Name: hostID}, a))
		return host.State(a) == want
	})
	return a
}

func (w *world) read() *metal3v1alpha1.BareMetalHost {
	w.Helper()
	w.must(client.IgnoreNotFound(w.Get(w.Context(), client.ObjectKeyFromObject(w.host), w.host)))
	return w.host
}

// reasons and notes of the Events about an object.
func (w *world) reasons(name string) string {
	list := &eventsv1.EventList{}
	w.must(w.List(w.Context(), list, client.InNamespace(namespace)))
	var out []string
	for i := range list.Items {
		if list.Items[i].Regarding.Name == name {
			out = append(out, list.Items[i].Reason+": "+list.Items[i].Note)
		}
	}
	return strings.Join(out, "; ")
}

func (w *world) eventually(what string, is func() bool) {
	w.Helper()
	began := time.Now()
	for !is() {
		if time.Since(began) > 30*time.Second {
			if w.host == nil {
				w.Fatalf("%s: not within 30 s", what)
			}
			h := w.read()
			w.Fatalf("%s: not within 30 s; host %s, %s %s, on %t, annotations %v, starts %v", what, h.Status.Provisioning.State,
				h.Status.OperationalStatus, h.Status.ErrorMessage, h.Status.PoweredOn, h.Annotations, w.bmc.Starts())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}
