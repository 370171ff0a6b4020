// Package world is a management API of our own release for integration tests of controllers, and what each of those tests does with one.
package world

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
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
	"github.com/slipway-io/slipway/services/controllers/crd"
)

// patience with a machine that has much else to do.
const patience = 2 * time.Minute

// World is the API, whose client is a user's.
type World struct {
	*testing.T
	client.Client
	Config     *rest.Config
	Kubeconfig []byte

	environment *envtest.Environment
}

// Start an etcd and an API server out of the directory SLIPWAY_RELEASE_BIN, with our kinds and the namespaces. They end with the test.
// Nodes and bootstrap tokens are known as in a hosted cluster, which a world may be at the same time.
func Start(t *testing.T, namespaces ...string) *World {
	t.Helper()
	environment := &envtest.Environment{
		BinaryAssetsDirectory: os.Getenv("SLIPWAY_RELEASE_BIN"), ControlPlaneStartTimeout: patience, ControlPlaneStopTimeout: patience,
	}
	environment.ControlPlane.GetAPIServer().Configure().Set("authorization-mode", "Node", "RBAC").Set("enable-bootstrap-token-auth", "true").
		Set("advertise-address", "192.0.2.10").              // there is no default route that tells one
		Set("shutdown-watch-termination-grace-period", "1s") // without it, watches hold up its end
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
	w := &World{T: t, Config: connection, Kubeconfig: environment.KubeConfig, environment: environment}
	scheme, err := api.Scheme()
	w.Must(err)
	w.Client, err = client.New(connection, client.Options{Scheme: scheme})
	w.Must(err)
	w.Must(crd.Install(t.Context(), w.Client, crds.FS))
	for _, name := range namespaces {
		w.Must(w.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	}
	return w
}

// User of the API, with a certificate.
func (w *World) User(name string, groups ...string) *envtest.AuthenticatedUser {
	w.Helper()
	user, err := w.environment.AddUser(envtest.User{Name: name, Groups: groups}, nil)
	w.Must(err)
	return user
}

// With is the same world in a subtest.
func (w *World) With(t *testing.T) *World {
	inner := *w
	inner.T = t
	return &inner
}

// Manager for controllers, of which a process may have several of one name.
func (w *World) Manager(log *slog.Logger) ctrl.Manager {
	w.Helper()
	mgr, err := Manager(w.Config, log)
	w.Must(err)
	return mgr
}

// Manager of controllers that use the API at connection.
func Manager(connection *rest.Config, log *slog.Logger) (ctrl.Manager, error) {
	scheme, err := api.Scheme()
	if err != nil {
		return nil, err
	}
	ctrl.SetLogger(logr.FromSlogHandler(log.Handler()))
	return ctrl.NewManager(connection, ctrl.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Controller: config.Controller{SkipNameValidation: ptr.To(true)},
		Client: client.Options{Cache: &client.CacheOptions{Unstructured: true}}, GracefulShutdownTimeout: ptr.To(5 * time.Second),
	})
}

// Manage: run the controllers until the result is called, at the latest until the test ends.
func (w *World) Manage(mgr ctrl.Manager) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	stopped := false
	stop = func() {
		cancel()
		if stopped {
			return
		}
		stopped = true
		if err := <-ended; err != nil {
			w.Error(err)
		}
	}
	w.Cleanup(stop)
	return stop
}

// Read an object anew.
func (w *World) Read(object client.Object) {
	w.Helper()
	w.Must(w.Get(w.Context(), client.ObjectKeyFromObject(object), object))
}

// Edit an object as users and controllers do whose change is of no other's: it is read, changed and patched.
func (w *World) Edit(object client.Object, change func()) {
	w.Helper()
	w.Read(object)
	before := object.DeepCopyObject().(client.Object)
	change()
	w.Must(w.Patch(w.Context(), object, client.MergeFrom(before)))
}

// EditStatus is Edit of the status.
func (w *World) EditStatus(object client.Object, change func()) {
	w.Helper()
	w.Read(object)
	before := object.DeepCopyObject().(client.Object)
	change()
	w.Must(w.Status().Patch(w.Context(), object, client.MergeFrom(before)))
}

// Gone waits until there is no such object.
func (w *World) Gone(object client.Object, told func() string) {
	w.Helper()
	w.Eventually(fmt.Sprintf("%T %s is gone", object, object.GetName()), func() bool {
		return apierrors.IsNotFound(w.Get(w.Context(), client.ObjectKeyFromObject(object), object))
	}, told)
}

// Eventually waits for what is to become so, and tells what is instead when it does not within a minute.
func (w *World) Eventually(what string, is func() bool, told func() string) {
	w.Helper()
	w.Within(time.Minute, what, is, told)
}

// Within is Eventually with another limit.
func (w *World) Within(limit time.Duration, what string, is func() bool, told func() string) {
	w.Helper()
	for began := time.Now(); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > limit {
			w.Fatalf("%s: not within %s\n%s", what, limit, told())
		}
	}
}

// Must end the test with an error.
func (w *World) Must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// Log of controllers goes to the test while it runs; an error of it when one of the words is in it. Debug is searched and not shown.
func Log(t *testing.T, forbidden ...string) *slog.Logger {
	return slog.New(slog.NewTextHandler(lines{t, forbidden}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type lines struct {
	*testing.T
	forbidden []string
}

func (l lines) Write(line []byte) (int, error) {
	if l.Context().Err() != nil {
		return len(line), nil
	}
	for _, word := range l.forbidden {
		if strings.Contains(string(line), word) {
			l.Errorf("the log has %q", word)
		}
	}
	if !strings.Contains(string(line), "level=DEBUG") {
		l.T.Log(strings.TrimSpace(string(line)))
	}
	return len(line), nil
}

// Hurry is how a BMC's client waits in tests: a hundredth.
func Hurry(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d / 100):
		return nil
	case <-ctx.Done():
		return &bmc.Fault{Kind: bmc.Stuck, Err: ctx.Err()}
	}
}
