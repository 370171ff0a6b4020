//go:build integration

package baremetalhost_test

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/bmc"
	"github.com/slipway-io/slipway/services/bmc/redfish"
	"github.com/slipway-io/slipway/services/bmc/scripted"
	"github.com/slipway-io/slipway/services/bmh"
	"github.com/slipway-io/slipway/services/controllers/baremetalhost"
	"github.com/slipway-io/slipway/services/controllers/hostfirmwaresettings"
	"github.com/slipway-io/slipway/test/world"
)

const (
	namespace = "slipway"
	system    = "slipway-system"
	image     = "http://192.0.2.1:8080/byapikey/x.y/1/x86_64/minimal.iso"
	password  = "scripted-password"
)

// scene has the controllers running, in this process.
type scene struct {
	*world.World
	kill func()
	// poll is how often the controllers look at the power.
	poll time.Duration
}

func start(t *testing.T) *scene { return startPolling(t, time.Second) }

func startPolling(t *testing.T, poll time.Duration) *scene {
	t.Helper()
	w := &scene{World: world.Start(t, namespace, system), poll: poll}
	w.run()
	t.Cleanup(func() { w.kill() })
	return w
}

// with is the same world in a subtest, which does not end the controllers.
func (w *scene) with(t *testing.T) *scene {
	return &scene{World: w.World.With(t), kill: func() {}, poll: w.poll}
}

// run the controllers until kill, which leaves sessions and steps as they are.
func (w *scene) run() {
	w.Helper()
	log := world.Log(w.T, password)
	mgr := w.Manager(log)
	w.Must(controllers(w.Context(), mgr, w.poll, log))
	w.kill = w.Manage(mgr)
}

// controllers of BareMetalHosts, which hurry.
func controllers(ctx context.Context, mgr ctrl.Manager, poll time.Duration, log *slog.Logger) error {
	pool := bmc.NewPool(redfish.Open, time.Minute)
	if err := baremetalhost.Index(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	access := &baremetalhost.Access{Client: mgr.GetClient(), Namespace: system, Log: log, Wait: world.Hurry}
	hosts := baremetalhost.New(mgr.GetClient(), pool, mgr.GetEventRecorder("test"), baremetalhost.NewMetrics(), baremetalhost.Options{
		Access: access, Poll: poll, Patience: bmh.Patience{Mistake: 3 * time.Second, Trouble: 6 * time.Second}, Log: log,
		Loader: func(string) string { return "http://192.0.2.1:8080/loaders/snponly.efi" },
	})
	settings := &hostfirmwaresettings.Reconciler{
		Client: mgr.GetClient(), Pool: pool, Access: access, Refresh: 5 * time.Second, Pending: 500 * time.Millisecond, Log: log,
	}
	return errors.Join(hosts.SetupWithManager(mgr), settings.SetupWithManager(ctx, mgr))
}

// machine is a scripted BMC and its BareMetalHost.
type machine struct {
	*scene
	*scripted.BMC
	host   *metal3v1alpha1.BareMetalHost
	secret *corev1.Secret
}

// declare a host by its objects, whose BMC listens on loopback with a certificate that is trusted through a ConfigMap.
func (w *scene) declare(name string, profile scripted.Profile, options scripted.Options, change func(*machine)) *machine {
	w.Helper()
	m := &machine{scene: w, BMC: scripted.New(profile, options)}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	w.Must(err)
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- m.Serve(ctx, listener, true) }()
	w.Cleanup(func() {
		w.kill()
		stop()
		<-served
	})
	ca := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name + "-ca"}, Data: map[string]string{"ca.crt": m.pem()}}
	w.Must(w.Create(w.Context(), ca))
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
	w.Must(w.Create(w.Context(), m.secret))
	w.Must(w.Create(w.Context(), m.host))
	return m
}

func (m *machine) pem() string {
	certificate, err := m.Certificate()
	m.Must(err)
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
	m.Must(m.Patch(m.Context(), m.host, client.MergeFrom(before)))
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
	m.Read(m.host)
}

func (m *machine) password(text string) {
	m.Helper()
	m.Must(m.Get(m.Context(), client.ObjectKeyFromObject(m.secret), m.secret))
	before := m.secret.DeepCopy()
	m.secret.Data["password"] = []byte(text)
	m.Must(m.Patch(m.Context(), m.secret, client.MergeFrom(before)))
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
	m.Must(m.Delete(m.Context(), m.host))
}

func (m *machine) Delete(ctx context.Context, object client.Object) error {
	return m.Client.Delete(ctx, object)
}

// reasons of the host's Events.
func (m *machine) reasons() string {
	list := &eventsv1.EventList{}
	m.Must(m.List(m.Context(), list, client.InNamespace(namespace)))
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
	m.within(time.Minute, what, is)
}

func (m *machine) within(limit time.Duration, what string, is func() bool) {
	m.Helper()
	m.Within(limit, what, is, func() string { return fmt.Sprintf("%s: started %v, %s", m.host.Name, m.Starts(), m.told()) })
}

func (m *machine) told() string {
	s := m.host.Status
	return fmt.Sprintf("state %q, %s, %q (%d) %s, powered on %t, annotations %v, %d requests", s.Provisioning.State, s.OperationalStatus, s.ErrorType, s.ErrorCount, s.ErrorMessage,
		s.PoweredOn, m.host.Annotations, m.Counts().Requests)
}

// trusted changes the certificate that is trusted.
func (m *machine) trusted(pem string) {
	m.Helper()
	ca := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: m.host.Name + "-ca"}}
	m.Must(m.Get(m.Context(), client.ObjectKeyFromObject(ca), ca))
	ca.Data["ca.crt"] = pem
	m.Must(m.Update(m.Context(), ca))
}
