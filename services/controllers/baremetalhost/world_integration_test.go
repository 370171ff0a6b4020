//go:build integration

package baremetalhost_test

import (
	"context"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	"github.com/slipway-io/slipway/services/bmh"
	"github.com/slipway-io/slipway/services/controllers/baremetalhost"
	"github.com/slipway-io/slipway/services/controllers/crd"
	"github.com/slipway-io/slipway/services/controllers/hostfirmwaresettings"
)

const (
	namespace = "slipway"
	system    = "slipway-system"
	image     = "http://192.0.2.1:8080/byapikey/x.y/1/x86_64/minimal.iso"
	password  = "scripted-password"
)

// world is a management API of our own release, with the controllers running.
type world struct {
	*testing.T
	client.Client
	rest *rest.Config
	kill func()
	// poll is how often the controllers look at the power.
	poll time.Duration
}

func start(t *testing.T) *world { return startPolling(t, time.Second) }

func startPolling(t *testing.T, poll time.Duration) *world {
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
	w := &world{T: t, rest: connection, poll: poll}
	scheme, err := api.Scheme()
	w.must(err)
	w.Client, err = client.New(connection, client.Options{Scheme: scheme})
	w.must(err)
	w.must(crd.Install(t.Context(), w.Client, crds.FS))
	for _, name := range []string{namespace, system} {
		w.must(w.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	}
	w.run()
	t.Cleanup(func() { w.kill() })
	return w
}

// run the controllers until kill, which leaves sessions and steps as they are.
func (w *world) run() {
	w.Helper()
	scheme, err := api.Scheme()
	w.must(err)
	mgr, err := ctrl.NewManager(w.rest, ctrl.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Controller: config.Controller{SkipNameValidation: ptr.To(true)},
		GracefulShutdownTimeout: ptr.To(5 * time.Second),
	})
	w.must(err)
	pool := bmc.NewPool(redfish.Open, time.Minute)
	ctx, stop := context.WithCancel(context.Background())
	w.must(baremetalhost.Index(ctx, mgr.GetFieldIndexer()))
	log := slog.New(slog.NewTextHandler(testWriter{w.T}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctrl.SetLogger(logr.FromSlogHandler(log.Handler()))
	access := &baremetalhost.Access{Client: mgr.GetClient(), Namespace: system, Log: log, Wait: hurry}
	hosts := baremetalhost.New(mgr.GetClient(), pool, mgr.GetEventRecorder("test"), baremetalhost.NewMetrics(), baremetalhost.Options{
		Access: access, Poll: w.poll, Patience: bmh.Patience{Mistake: 3 * time.Second, Trouble: 6 * time.Second}, Log: log,
		Loader: func(string) string { return "http://192.0.2.1:8080/loaders/snponly.efi" },
	})
	w.must(hosts.SetupWithManager(mgr))
	w.must((&hostfirmwaresettings.Reconciler{
		Client: mgr.GetClient(), Pool: pool, Access: access, Refresh: 5 * time.Second, Pending: 500 * time.Millisecond, Log: log,
	}).SetupWithManager(mgr))
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	w.kill = func() {
		stop()
		<-ended
		w.kill = func() {}
	}
}

// testWriter logs to the test while it runs, and finds passwords.
type testWriter struct{ *testing.T }

func (w testWriter) Write(line []byte) (int, error) {
	if w.Context().Err() == nil && strings.Contains(string(line), password) {
		w.Error("the log has a password")
	}
	if w.Context().Err() == nil && !strings.Contains(string(line), "level=DEBUG") {
		w.Log(strings.TrimSpace(string(line)))
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

// machine is a scripted BMC and its BareMetalHost.
type machine struct {
	*world
	*scripted.BMC
	host   *metal3v1alpha1.BareMetalHost
	secret *corev1.Secret
}

// declare a host by its objects, whose BMC listens on loopback with a certificate that is trusted through a ConfigMap.
func (w *world) declare(name string, profile scripted.Profile, options scripted.Options, change func(*machine)) *machine {
	w.Helper()
	m := &machine{world: w, BMC: scripted.New(profile, options)}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- m.Serve(ctx, listener, true) }()
	w.Cleanup(func() {
		w.kill()
		stop()
		<-served
	})
	ca := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name + "-ca"}, Data: map[string]string{"ca.crt": m.pem()}}
	w.must(w.Create(w.Context(), ca))
	m.secret = &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name + "-bmc"},
		Data:       map[string][]byte{"username": []byte("admin"), "password": []byte(password)},
	}
	m.host = &metal3v1alpha1.BareMetalHost{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: name, Annotations: map[string]string{api.BMCCAAnnotation: name + "-ca"}, Labels: map[string]string{api.InfraEnvLabel: "default"},
	}}
	m.host.Spec.BMC = metal3v1alpha1.BMCDetails{Address: "redfish-virtualmedia://" + listener.Addr().String(), CredentialsName: m.secret.Name}
	m.host.Spec.BootMACAddress = "52:54:01:00:00:01"
	if change != nil {
		change(m)
	}
	w.must(w.Create(w.Context(), m.secret))
	w.must(w.Create(w.Context(), m.host))
	return m
}

func (m *machine) pem() string {
	certificate, err := m.Certificate()
	m.must(err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}))
}

func liveISO(url string) *metal3v1alpha1.Image {
	return &metal3v1alpha1.Image{URL: url, DiskFormat: ptr.To("live-iso")}
}

// spec changes the host as a user does.
func (m *machine) edit(change func(*metal3v1alpha1.BareMetalHost)) {
	m.Helper()
	m.read()
	before := m.host.DeepCopy()
	change(m.host)
	m.must(m.Patch(m.Context(), m.host, client.MergeFrom(before)))
}

func (m *machine) annotate(key, value string) {
	m.Helper()
	m.edit(func(h *metal3v1alpha1.BareMetalHost) { metav1.SetMetaDataAnnotation(&h.ObjectMeta, key, value) })
}

func (m *machine) bare(key string) {
	m.Helper()
	m.edit(func(h *metal3v1alpha1.BareMetalHost) { delete(h.Annotations, key) })
}

func (m *machine) read() {
	m.Helper()
	m.must(m.Get(m.Context(), client.ObjectKeyFromObject(m.host), m.host))
}

func (m *machine) password(text string) {
	m.Helper()
	m.must(m.Get(m.Context(), client.ObjectKeyFromObject(m.secret), m.secret))
	m.secret.Data["password"] = []byte(text)
	m.must(m.Update(m.Context(), m.secret))
}

func (m *machine) state(want bmh.State) {
	m.Helper()
	m.eventually("state "+string(want), func() bool {
		m.read()
		return m.host.Status.Provisioning.State == want
	})
}

// fails awaits the kind of failure in the status and the error type.
func (m *machine) fails(kind bmc.FaultKind, errorType metal3v1alpha1.ErrorType) {
	m.Helper()
	m.eventually("failure "+string(kind), func() bool {
		m.read()
		return bmh.FailureKind(m.host.Status) == kind && m.host.Status.ErrorType == errorType && m.host.Status.OperationalStatus == metal3v1alpha1.OperationalStatusError
	})
}

func (m *machine) well() {
	m.Helper()
	m.eventually("no failure", func() bool {
		m.read()
		return m.host.Status.OperationalStatus == metal3v1alpha1.OperationalStatusOK && m.host.Status.ErrorMessage == "" && m.host.Status.ErrorCount == 0
	})
}

func (m *machine) gone() {
	m.Helper()
	m.eventually("gone", func() bool {
		return apierrors.IsNotFound(m.Get(m.Context(), client.ObjectKeyFromObject(m.host), m.host))
	})
}

func (m *machine) delete() {
	m.Helper()
	m.must(m.Delete(m.Context(), m.host))
}

func (m *machine) Delete(ctx context.Context, object client.Object) error {
	return m.Client.Delete(ctx, object)
}

// reasons of the host's Events.
func (m *machine) reasons() string {
	list := &eventsv1.EventList{}
	m.must(m.List(m.Context(), list, client.InNamespace(namespace)))
	var out []string
	for i := range list.Items {
		if list.Items[i].Regarding.Name == m.host.Name {
			out = append(out, list.Items[i].Reason)
		}
	}
	return strings.Join(out, " ")
}

func (m *machine) eventually(what string, is func() bool) {
	m.Helper()
	m.within(30*time.Second, what, is)
}

func (m *machine) within(limit time.Duration, what string, is func() bool) {
	m.Helper()
	began := time.Now()
	for !is() {
		if time.Since(began) > limit {
			m.Fatalf("%s: %s: not within %s; starts %v\n%s", m.host.Name, what, limit, m.Starts(), m.told())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (m *machine) told() string {
	s := m.host.Status
	return fmt.Sprintf("state %q, %s, %q (%d) %s, powered on %t, annotations %v, %d requests", s.Provisioning.State, s.OperationalStatus, s.ErrorType, s.ErrorCount, s.ErrorMessage,
		s.PoweredOn, m.host.Annotations, m.Counts().Requests)
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// trusted changes the certificate that is trusted.
func (m *machine) trusted(pem string) {
	m.Helper()
	ca := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: m.host.Name + "-ca"}}
	m.must(m.Get(m.Context(), client.ObjectKeyFromObject(ca), ca))
	ca.Data["ca.crt"] = pem
	m.must(m.Update(m.Context(), ca))
}
