// Package hostfirmwaresettings keeps HostFirmwareSettings true to the BIOS of each host, and the BIOS true to their spec.
//
// It alone writes HostFirmwareSettings.status, FirmwareSchemas and a host's annotation reboot.metal3.io/firmware-settings.
package hostfirmwaresettings

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"time"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/bmc"
	"github.com/slipway-io/slipway/services/bmc/redfish"
	"github.com/slipway-io/slipway/services/bmh"
	"github.com/slipway-io/slipway/services/controllers/baremetalhost"
)

const (
	// rebootAnnotation on a host is how its restart is asked for.
	rebootAnnotation = api.RebootAnnotation + "/firmware-settings"
	// requestedAnnotation is the generation of the spec that the BMC was told.
	requestedAnnotation = "slipway.io/firmware-settings-requested"
	stepTimeout         = 2 * time.Minute
	workers             = 10
)

// Reconciler of HostFirmwareSettings; one is made for every host whose BMC tells of a BIOS.
type Reconciler struct {
	Client client.Client
	Pool   *baremetalhost.Pool
	Access *baremetalhost.Access
	// Refresh is how often the attributes are read when nothing is pending; Pending when something is.
	Refresh, Pending time.Duration
	Log              *slog.Logger
}

// SetupWithManager starts the controller with the manager.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	if err := mgr.GetFieldIndexer().IndexField(ctx, &metal3v1alpha1.HostFirmwareSettings{}, bySchema, schemaOf); err != nil {
		return fmt.Errorf("index HostFirmwareSettings by FirmwareSchema: %w", err)
	}
	err := ctrl.NewControllerManagedBy(mgr).
		For(&metal3v1alpha1.HostFirmwareSettings{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&metal3v1alpha1.BareMetalHost{}, &handler.EnqueueRequestForObject{}, builder.WithPredicates(matters)).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("set up HostFirmwareSettings controller: %w", err)
	}
	return nil
}

// matters is what of a host changes what is to be done here; power does while a restart is under way.
var matters = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, ok1 := e.ObjectOld.(*metal3v1alpha1.BareMetalHost)
	after, ok2 := e.ObjectNew.(*metal3v1alpha1.BareMetalHost)
	if !ok1 || !ok2 {
		return false
	}
	_, restarting := after.Annotations[rebootAnnotation]
	return before.Status.Provisioning.State != after.Status.Provisioning.State ||
		before.Status.GoodCredentials.Version != after.Status.GoodCredentials.Version ||
		restarting && before.Status.PoweredOn != after.Status.PoweredOn
}}

// reading is what a BMC tells of the BIOS.
type reading struct {
	values map[string]string
	schema map[string]metal3v1alpha1.SettingSchema
}

// Reconcile implements reconcile.Reconciler.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	again, err := r.reconcile(ctx, request.NamespacedName)
	switch {
	case apierrors.IsConflict(err) || apierrors.IsNotFound(err) || apierrors.IsAlreadyExists(err):
		return ctrl.Result{RequeueAfter: 100 * time.Millisecond}, nil
	case bmc.Kind(err) != "":
		// What is wrong with the BMC is said by the host.
		r.Log.Debug("read or set BIOS attributes", "host", request.NamespacedName, "err", err)
		return ctrl.Result{RequeueAfter: jitter(r.Pending)}, nil
	case err != nil:
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: again}, nil
}

func jitter(d time.Duration) time.Duration {
	return d - d/10 + time.Duration(rand.Int64N(int64(d/5)+1))
}

func (r *Reconciler) reconcile(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	host := &metal3v1alpha1.BareMetalHost{}
	if err := r.Client.Get(ctx, key, host); err != nil {
		if apierrors.IsNotFound(err) {
			return r.collect(ctx, key.Namespace)
		}
		return 0, fmt.Errorf("read BareMetalHost %s: %w", key, err)
	}
	if !host.DeletionTimestamp.IsZero() || !readable(host) {
		return 0, nil
	}
	if err := r.free(ctx, host); err != nil {
		return 0, err
	}
	login, err := r.Access.Login(ctx, host)
	if err != nil {
		return 0, err
	}
	// The host's controller tries credentials, nobody else does.
	if !host.Status.GoodCredentials.Match(*login.Secret) {
		return 0, nil
	}
	now, err := r.read(ctx, login)
	if bmc.Kind(err) == bmc.Unsupported {
		return jitter(24 * time.Hour), nil
	}
	if err != nil {
		return 0, err
	}
	settings, err := r.settings(ctx, host)
	if err != nil {
		return 0, err
	}
	changes, problem := bmh.Settings(settings.Spec.Settings, now.values, now.schema)
	note := ""
	if problem == nil && len(changes) > 0 {
		if note, err = r.apply(ctx, host, settings, login, changes); err != nil {
			return 0, err
		}
	}
	if err := r.status(ctx, host, settings, now, len(changes) > 0 || problem != nil, problem, note); err != nil {
		return 0, err
	}
	if len(changes) > 0 && problem == nil {
		return jitter(r.Pending), nil
	}
	return jitter(r.Refresh), nil
}

// readable whether the host's controller is past what it does with a new host.
func readable(host *metal3v1alpha1.BareMetalHost) bool {
	_, paused := host.Annotations[api.PausedAnnotation]
	_, detached := host.Annotations[api.DetachedAnnotation]
	switch host.Status.Provisioning.State {
	case metal3v1alpha1.StateAvailable, metal3v1alpha1.StateProvisioned, metal3v1alpha1.StateExternallyProvisioned:
		return !paused && !detached && host.HasBMCDetails()
	}
	return false
}

func (r *Reconciler) read(ctx context.Context, login baremetalhost.Login) (reading, error) {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	var now reading
	err := r.Pool.With(ctx, login.Config, func(ctx context.Context, c *redfish.Client) error {
		values, schema, err := c.Attributes(ctx)
		now = reading{values, bmh.Schema(schema)}
		return err
	})
	return now, err
}

// settings of the host, made where there are none.
func (r *Reconciler) settings(ctx context.Context, host *metal3v1alpha1.BareMetalHost) (*metal3v1alpha1.HostFirmwareSettings, error) {
	settings := &metal3v1alpha1.HostFirmwareSettings{}
	err := r.Client.Get(ctx, client.ObjectKeyFromObject(host), settings)
	if err == nil {
		return settings, nil
	}
	if !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("read HostFirmwareSettings %s/%s: %w", host.Namespace, host.Name, err)
	}
	settings.ObjectMeta = metav1.ObjectMeta{Namespace: host.Namespace, Name: host.Name}
	settings.Spec.Settings = metal3v1alpha1.DesiredSettingsMap{}
	if err := controllerutil.SetControllerReference(host, settings, r.Client.Scheme()); err != nil {
		return nil, fmt.Errorf("own HostFirmwareSettings %s/%s: %w", host.Namespace, host.Name, err)
	}
	if err := r.Client.Create(ctx, settings); err != nil {
		return nil, fmt.Errorf("create HostFirmwareSettings %s/%s: %w", host.Namespace, host.Name, err)
	}
	return settings, nil
}

// apply tells the BMC once for each generation of the spec, and restarts a host that nobody uses; note is what is left to do.
func (r *Reconciler) apply(ctx context.Context, host *metal3v1alpha1.BareMetalHost, settings *metal3v1alpha1.HostFirmwareSettings, login baremetalhost.Login, changes map[string]string) (string, error) {
	generation := strconv.FormatInt(settings.Generation, 10)
	idle := host.Status.Provisioning.State == metal3v1alpha1.StateAvailable
	if settings.Annotations[requestedAnnotation] != generation {
		bounded, cancel := context.WithTimeout(ctx, stepTimeout)
		defer cancel()
		err := r.Pool.With(bounded, login.Config, func(ctx context.Context, c *redfish.Client) error { return c.SetAttributes(ctx, changes) })
		if bmc.Kind(err) == bmc.Unsupported {
			return "the BMC refuses: " + err.Error(), nil
		}
		if err != nil {
			return "", err
		}
		if idle && host.Status.PoweredOn {
			if err := r.annotate(ctx, host, rebootAnnotation, `{"mode":"hard"}`); err != nil {
				return "", err
			}
		}
		if err := r.annotate(ctx, settings, requestedAnnotation, generation); err != nil {
			return "", err
		}
	}
	switch {
	case !host.Status.PoweredOn:
		return "the machine takes them when it is started", nil
	case idle:
		return "the machine is restarted to take them", nil
	default:
		return "the machine takes them when it is restarted: annotate the BareMetalHost with " + api.RebootAnnotation, nil
	}
}

// free lets a host start again that is off for its settings' sake.
func (r *Reconciler) free(ctx context.Context, host *metal3v1alpha1.BareMetalHost) error {
	if _, asked := host.Annotations[rebootAnnotation]; !asked || host.Status.PoweredOn {
		return nil
	}
	return r.annotate(ctx, host, rebootAnnotation, "")
}

// annotate any object; an empty value takes the annotation away.
func (r *Reconciler) annotate(ctx context.Context, object client.Object, key, value string) error {
	before, ok := object.DeepCopyObject().(client.Object)
	if !ok {
		return fmt.Errorf("annotate %s: %T is no object", object.GetName(), object)
	}
	annotations := object.GetAnnotations()
	if value == "" {
		delete(annotations, key)
	} else {
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[key] = value
	}
	object.SetAnnotations(annotations)
	if err := r.Client.Patch(ctx, object, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("annotate %s/%s: %w", object.GetNamespace(), object.GetName(), err)
	}
	return nil
}
