package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"
	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/slipway-io/slipway/assets/crds"
	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/bmc"
	"github.com/slipway-io/slipway/services/bmc/redfish"
	"github.com/slipway-io/slipway/services/controllers/baremetalhost"
	"github.com/slipway-io/slipway/services/controllers/crd"
	"github.com/slipway-io/slipway/services/controllers/hostfirmwaresettings"
)

const (
	hostNamespace, systemNamespace = "slipway", "slipway-system"
	// patience bounds the whole: three times of what is to be shown.
	patience = 18 * time.Minute
)

// inspectByControllers declares all BMCs as BareMetalHosts at once, to the controllers and a management API of our own release.
func inspectByControllers(ctx context.Context, l load, binaries string, args []string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	bmcs, err := start(ctx, append(args, "-side", "serve"))
	if err != nil {
		return err
	}
	defer bmcs.stop()
	var at endpoint
	if err := bmcs.read(&at); err != nil {
		return err
	}
	environment := &envtest.Environment{BinaryAssetsDirectory: binaries}
	if _, err := environment.Start(); err != nil {
		return fmt.Errorf("start management API from %s: %w", binaries, err)
	}
	defer func() { _ = environment.Stop() }() // the figures are told
	return throughAPI(ctx, l, environment, bmcs, at, args, out)
}

// throughAPI has the controllers in a process of their own.
func throughAPI(ctx context.Context, l load, environment *envtest.Environment, bmcs *child, at endpoint, args []string, out io.Writer) error {
	kubeconfig := filepath.Join(os.TempDir(), fmt.Sprintf("bench-bmc-%d.kubeconfig", os.Getpid()))
	if err := os.WriteFile(kubeconfig, environment.KubeConfig, 0o600); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	defer os.Remove(kubeconfig)
	scheme, err := api.Scheme()
	if err != nil {
		return err
	}
	connection := environment.Config
	connection.QPS, connection.Burst = -1, 0
	kube, err := client.New(connection, client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if err := prepare(ctx, kube, at); err != nil {
		return err
	}
	controllers, err := start(ctx, append(args, "-side", "controllers", "-kubeconfig", kubeconfig))
	if err != nil {
		return err
	}
	defer controllers.stop()
	var before figures
	if err := controllers.read(&before); err != nil {
		return err
	}
	began := time.Now()
	if err := declare(ctx, l, kube, at.Port); err != nil {
		return err
	}
	declared := time.Since(began)
	var inspected, steady figures
	if err := controllers.read(&inspected); err != nil {
		return err
	}
	seconds := inspected.Seconds - float64(began.UnixMilli())/1000
	fmt.Fprintf(out, "through the controllers and a management API of our release: %d hosts available in %.1f s (objects written in %.1f s), %.0f a minute, %.1f times the published %d\n",
		inspected.Inspected, seconds, declared.Seconds(), float64(inspected.Inspected)/seconds*60, float64(inspected.Inspected)/seconds*60/published, published)
	if err := controllers.read(&steady); err != nil {
		return err
	}
	fmt.Fprintf(out, "controllers' process: %.1f CPU s, peak RSS %d MiB (%d before); with BIOS settings of all read %d MiB; polling power each minute %.2f cores over %s, RSS %d MiB, %d hosts in error at its end\n",
		inspected.CPUSeconds-before.CPUSeconds, inspected.RSS, before.RSS, steady.RSS, steady.SteadyCores, l.steady, steady.SteadyRSS, steady.SteadyFailures)
	var counted counts
	if err := bmcs.ask("counts", &counted); err != nil {
		return err
	}
	fmt.Fprintf(out, "BMCs: %d requests, at most %d at a time and %d sessions on any\n", counted.Requests, counted.AtOnce, counted.Sessions)
	return nil
}

// prepare what is there before the hosts.
func prepare(ctx context.Context, kube client.Client, at endpoint) error {
	if err := crd.Install(ctx, kube, crds.FS); err != nil {
		return err
	}
	for _, name := range []string{hostNamespace, systemNamespace} {
		if err := kube.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			return fmt.Errorf("create namespace %s: %w", name, err)
		}
	}
	return trust(ctx, kube, at)
}

// trust the BMCs' CA, as a site does.
func trust(ctx context.Context, kube client.Client, at endpoint) error {
	der, err := base64.StdEncoding.DecodeString(at.Certificate)
	if err != nil {
		return fmt.Errorf("read certificate: %w", err)
	}
	ca := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: api.SiteBMCCA},
		Data:       map[string]string{"ca.crt": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))},
	}
	if err := kube.Create(ctx, ca); err != nil {
		return fmt.Errorf("create ConfigMap %s: %w", ca.Name, err)
	}
	return nil
}

// declare a Secret and a BareMetalHost for each BMC.
func declare(ctx context.Context, l load, kube client.Client, port int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(16)
	for i := range l.bmcs {
		group.Go(func() error {
			name := fmt.Sprintf("host-%05d", i)
			secret := &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Namespace: hostNamespace, Name: name},
				Data:       map[string][]byte{"username": []byte("admin"), "password": []byte("scripted-password")},
			}
			if err := kube.Create(ctx, secret); err != nil {
				return fmt.Errorf("create Secret %s: %w", name, err)
			}
			host := &metal3v1alpha1.BareMetalHost{ObjectMeta: metav1.ObjectMeta{Namespace: hostNamespace, Name: name}}
			host.Spec.BMC = metal3v1alpha1.BMCDetails{Address: fmt.Sprintf("redfish-virtualmedia://%s:%d", addressOf(i), port), CredentialsName: name}
			if err := kube.Create(ctx, host); err != nil {
				return fmt.Errorf("create BareMetalHost %s: %w", name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// control runs the controllers as the appliance does, and tells of its own process: before, when all are inspected, and after
// a time of nothing but polls.
func control(ctx context.Context, l load, kubeconfig string, out io.Writer) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	ctrl.SetLogger(logr.FromSlogHandler(log.Handler()))
	connection, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("read kubeconfig: %w", err)
	}
	connection.QPS, connection.Burst = 200, 400
	scheme, err := api.Scheme()
	if err != nil {
		return err
	}
	mgr, err := ctrl.NewManager(connection, ctrl.Options{
		Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Client: client.Options{Cache: &client.CacheOptions{Unstructured: true}},
	})
	if err != nil {
		return fmt.Errorf("make controller manager: %w", err)
	}
	pool := bmc.NewPool(redfish.Open, 5*time.Minute)
	if err := baremetalhost.Index(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	access := &baremetalhost.Access{Client: mgr.GetClient(), Namespace: systemNamespace, Log: log}
	hosts := baremetalhost.New(mgr.GetClient(), pool, mgr.GetEventRecorder("bench"), baremetalhost.NewMetrics(), baremetalhost.Options{Access: access, Workers: l.workers, Log: log})
	settings := &hostfirmwaresettings.Reconciler{Client: mgr.GetClient(), Pool: pool, Access: access, Refresh: time.Hour, Pending: time.Minute, Log: log}
	if err := errors.Join(hosts.SetupWithManager(mgr), settings.SetupWithManager(ctx, mgr)); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return pool.Run(ctx) })
	group.Go(func() error { return mgr.Start(ctx) })
	group.Go(func() error {
		if !mgr.GetCache().WaitForCacheSync(ctx) {
			return ctx.Err()
		}
		return tell(ctx, l, mgr.GetClient(), json.NewEncoder(out))
	})
	return group.Wait()
}

func tell(ctx context.Context, l load, kube client.Reader, out *json.Encoder) error {
	var seen figures
	note := func(field string) error {
		var err1, err2 error
		seen.RSS, err1 = resident(field)
		seen.CPUSeconds, err2 = cpu()
		return errors.Join(err1, err2, out.Encode(seen))
	}
	if err := note("VmRSS"); err != nil {
		return err
	}
	for seen.Inspected < l.bmcs {
		if err := sleep(ctx, 500*time.Millisecond); err != nil {
			return err
		}
		var err error
		if seen.Inspected, _, err = available(ctx, kube); err != nil {
			return err
		}
	}
	seen.Seconds = float64(time.Now().UnixMilli()) / 1000
	if err := note("VmHWM"); err != nil {
		return err
	}
	settings := &metal3v1alpha1.HostFirmwareSettingsList{}
	for len(settings.Items) < l.bmcs {
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
		if err := kube.List(ctx, settings, client.UnsafeDisableDeepCopy); err != nil {
			return fmt.Errorf("list HostFirmwareSettings: %w", err)
		}
	}
	// The last writes and the first polls after them.
	if err := sleep(ctx, 30*time.Second); err != nil {
		return err
	}
	before, err := cpu()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := sleep(ctx, l.steady); err != nil {
		return err
	}
	after, err := cpu()
	if err != nil {
		return err
	}
	seen.SteadyCores = (after - before) / time.Since(began).Seconds()
	if seen.SteadyRSS, err = resident("VmRSS"); err != nil {
		return err
	}
	if _, seen.SteadyFailures, err = available(ctx, kube); err != nil {
		return err
	}
	return note("VmHWM")
}

// available hosts whose hardware is known, and those that are in error.
func available(ctx context.Context, kube client.Reader) (ready, failing int, err error) {
	hosts := &metal3v1alpha1.BareMetalHostList{}
	if err := kube.List(ctx, hosts, client.UnsafeDisableDeepCopy); err != nil {
		return 0, 0, fmt.Errorf("list BareMetalHosts: %w", err)
	}
	for i := range hosts.Items {
		status := &hosts.Items[i].Status
		if status.Provisioning.State == metal3v1alpha1.StateAvailable && status.HardwareDetails != nil && len(status.HardwareDetails.Storage) == 2 {
			ready++
		}
		if status.OperationalStatus == metal3v1alpha1.OperationalStatusError {
			failing++
		}
	}
	return ready, failing, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
