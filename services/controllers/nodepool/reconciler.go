package nodepool

import (
	"context"
	"fmt"
	"time"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/controllers/guest"
	"github.com/slipway-io/slipway/services/ignition"
)

const (
	// again is the pause after a write that another one overtook.
	again = 20 * time.Millisecond
	// recheck is how soon a fault is looked at again that may be mended outside of the API.
	recheck = 10 * time.Second
)

// Releases looks into release images.
type Releases interface {
	// ReleaseComponents gives the version of a release and its images by digest. Mirrors of the cluster count, which is named by its control plane's namespace.
	ReleaseComponents(ctx context.Context, cluster, image string) (version string, components map[string]string, err error)
	// Content of an image: a repository of the site's registry that has it, and its tar+gzip layers, lowest first.
	Content(ctx context.Context, ref string) (repository string, layers []string, err error)
}

// Guests keeps bootstrap tokens in hosted clusters, which are named by their HostedControlPlane.
type Guests interface {
	KeepToken(ctx context.Context, cluster types.NamespacedName, token guest.Token) error
	DropToken(ctx context.Context, cluster types.NamespacedName, id string) error
}

// Site is what every node of the site is told.
type Site struct {
	// IgnitionURL is the endpoint that nodes fetch their configuration from.
	IgnitionURL string
	// CA (PEM) signs the endpoint and the registry.
	CA []byte
	// Registry is host:port.
	Registry   string
	NTPSources []string
}

// Reconciler of NodePools.
type Reconciler struct {
	Client   client.Client
	Releases Releases
	Guests   Guests
	Site     Site
	Now      func() time.Time
}

// release is what a release image says.
type release struct {
	version    string
	components map[string]string
}

// scope is what one look is about and has found out.
type scope struct {
	pool       *hypershiftv1beta1.NodePool
	hosted     *hypershiftv1beta1.HostedCluster
	plane      *hypershiftv1beta1.HostedControlPlane
	release    release
	configs    []ignition.UserConfig
	hash       string
	dataSecret string
	template   string
	deployment *clusterv1.MachineDeployment
	// after is when to look again though nothing happens, 0 for never.
	after time.Duration
}

// soon asks for another look.
func (s *scope) soon(after time.Duration) {
	if after > 0 && (s.after == 0 || after < s.after) {
		s.after = after
	}
}

// namespace of the control plane.
func (s *scope) namespace() string { return s.pool.Namespace + "-" + s.pool.Spec.ClusterName }

// SetupWithManager starts the controller with the manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	err := ctrl.NewControllerManagedBy(mgr).
		For(&hypershiftv1beta1.NodePool{}).
		Watches(&hypershiftv1beta1.HostedCluster{}, r.wake(poolsOfHostedCluster)).
		Watches(&hypershiftv1beta1.HostedControlPlane{}, r.wake(poolsOfControlPlane)).
		Watches(&corev1.ConfigMap{}, r.wake(poolsOfConfigMap)).
		Watches(&corev1.Secret{}, annotated()).
		Watches(&clusterv1.MachineDeployment{}, annotated()).
		Watches(&clusterv1.Machine{}, annotated()).
		WithOptions(controller.Options{MaxConcurrentReconciles: 4}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("set up nodepool controller: %w", err)
	}
	return nil
}

// Reconcile implements reconcile.Reconciler.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	pool := &hypershiftv1beta1.NodePool{}
	if err := r.Client.Get(ctx, request.NamespacedName, pool); err != nil {
		return ctrl.Result{}, wrap(client.IgnoreNotFound(err), "read nodepool "+request.String())
	}
	s := &scope{pool: pool}
	var err error
	if !pool.DeletionTimestamp.IsZero() {
		err = r.remove(ctx, s)
	} else {
		err = r.keep(ctx, s)
	}
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return ctrl.Result{RequeueAfter: again}, nil
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("nodepool %s: %w", request, err)
	}
	return ctrl.Result{RequeueAfter: s.after}, nil
}

// keep does the steps of a NodePool that lives, and writes what came of them.
func (r *Reconciler) keep(ctx context.Context, s *scope) error {
	if controllerutil.AddFinalizer(s.pool, api.Finalizer) {
		if err := r.Client.Update(ctx, s.pool); err != nil {
			return wrap(err, "add finalizer")
		}
	}
	before := s.pool.DeepCopy()
	err := r.steps(ctx, s)
	if equality.Semantic.DeepEqual(before.Status, s.pool.Status) {
		return err
	}
	patchErr := r.Client.Status().Patch(ctx, s.pool, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if err == nil {
		err = wrap(patchErr, "write status")
	}
	return err
}

// steps go on until one of them has to wait; each leaves its condition.
func (r *Reconciler) steps(ctx context.Context, s *scope) error {
	if wait, paused := r.paused(s); paused {
		s.soon(wait)
		return nil
	}
	for _, step := range []func(context.Context, *scope) (bool, error){
		r.checkSpec, r.findCluster, r.resolveRelease, r.readConfigs, r.awaitControlPlane,
		r.keepSecrets, r.keepTemplate, r.keepDeployment,
	} {
		proceed, err := step(ctx, s)
		if err != nil {
			return err
		}
		if !proceed {
			break
		}
	}
	return r.observe(ctx, s)
}

func (r *Reconciler) paused(s *scope) (time.Duration, bool) {
	wait, paused, err := api.Paused(s.pool.Spec.PausedUntil, r.Now())
	switch {
	case err != nil:
		s.no(hypershiftv1beta1.NodePoolReconciliationActiveConditionType, "InvalidPausedUntilValue", err.Error())
		return 0, false
	case paused:
		s.no(hypershiftv1beta1.NodePoolReconciliationActiveConditionType, "ReconciliationPaused", "Reconciliation is paused until "+*s.pool.Spec.PausedUntil)
	default:
		s.yes(hypershiftv1beta1.NodePoolReconciliationActiveConditionType, "ReconciliationActive", "Reconciliation active on resource")
	}
	return wait, paused
}

func wrap(err error, what string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
