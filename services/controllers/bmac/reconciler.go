package bmac

import (
	"context"
	"fmt"
	"time"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/host"
)

// again is the pause after a write that another one overtook.
const again = 20 * time.Millisecond

// Reconciler keeps BareMetalHosts and Agents in step.
type Reconciler struct {
	Client client.Client
	Events events.EventRecorder
	Now    func() time.Time
}

// SetupWithManager starts the controller with the manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	err := ctrl.NewControllerManagedBy(mgr).
		Named("bmac").
		For(&metal3v1alpha1.BareMetalHost{}).
		Watches(&agentv1beta1.Agent{}, handler.EnqueueRequestsFromMapFunc(r.hostsOf)).
		Watches(&agentv1beta1.InfraEnv{}, handler.EnqueueRequestsFromMapFunc(r.hostsWith)).
		WithOptions(controller.Options{MaxConcurrentReconciles: 4}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("set up bmac controller: %w", err)
	}
	return nil
}

// hostsOf are the BareMetalHosts that an Agent has to do with.
func (r *Reconciler) hostsOf(ctx context.Context, object client.Object) []reconcile.Request {
	agent, is := object.(*agentv1beta1.Agent)
	if !is {
		return nil
	}
	return r.requests(ctx, object.GetNamespace(), func(bmh *metal3v1alpha1.BareMetalHost) bool {
		return agent.Labels[api.BMHLabel] == bmh.Name || Fits(bmh, agent)
	})
}

// hostsWith are the BareMetalHosts of an InfraEnv.
func (r *Reconciler) hostsWith(ctx context.Context, infraEnv client.Object) []reconcile.Request {
	return r.requests(ctx, infraEnv.GetNamespace(), func(bmh *metal3v1alpha1.BareMetalHost) bool {
		return bmh.Labels[api.InfraEnvLabel] == infraEnv.GetName()
	})
}

func (r *Reconciler) requests(ctx context.Context, namespace string, wanted func(*metal3v1alpha1.BareMetalHost) bool) []reconcile.Request {
	all := &metal3v1alpha1.BareMetalHostList{}
	if err := r.Client.List(ctx, all, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil
	}
	var found []reconcile.Request
	for i := range all.Items {
		if wanted(&all.Items[i]) {
			found = append(found, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&all.Items[i])})
		}
	}
	return found
}

// Reconcile implements reconcile.Reconciler.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	bmh := &metal3v1alpha1.BareMetalHost{}
	if err := r.Client.Get(ctx, request.NamespacedName, bmh); err != nil {
		if apierrors.IsNotFound(err) {
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("read baremetalhost %s: %w", request, err)
	}
	if _, paused := bmh.Annotations[api.PausedAnnotation]; paused {
		return ctrl.Result{}, nil
	}
	result, err := r.step(ctx, bmh)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return ctrl.Result{RequeueAfter: again}, nil
	}
	return result, err
}

func (r *Reconciler) step(ctx context.Context, bmh *metal3v1alpha1.BareMetalHost) (ctrl.Result, error) {
	if bmh.Labels[api.InfraEnvLabel] == "" || !bmh.DeletionTimestamp.IsZero() {
		return r.release(ctx, bmh)
	}
	agent, err := agentOf(ctx, r.Client, bmh)
	if err != nil {
		return ctrl.Result{}, err
	}
	return r.follow(ctx, bmh, agent)
}

// agentOf is the newest Agent of the machine, nil before there is one.
func agentOf(ctx context.Context, kube client.Reader, bmh *metal3v1alpha1.BareMetalHost) (*agentv1beta1.Agent, error) {
	agents := &agentv1beta1.AgentList{}
	err := kube.List(ctx, agents, client.InNamespace(bmh.Namespace), client.MatchingLabels{api.InfraEnvLabel: bmh.Labels[api.InfraEnvLabel]},
		client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("list agents of namespace %s: %w", bmh.Namespace, err)
	}
	if found := newest(bmh, agents.Items); found != nil {
		return found.DeepCopy(), nil
	}
	return nil, nil
}

func (r *Reconciler) follow(ctx context.Context, bmh *metal3v1alpha1.BareMetalHost, agent *agentv1beta1.Agent) (ctrl.Result, error) {
	image, err := imageFor(ctx, r.Client, client.ObjectKey{Namespace: bmh.Namespace, Name: bmh.Labels[api.InfraEnvLabel]})
	if err != nil {
		return ctrl.Result{}, err
	}
	if agent != nil {
		if err := r.declare(ctx, bmh, agent); err != nil {
			return ctrl.Result{}, err
		}
	}
	next := bmh.DeepCopy()
	later := Decide(next, agent, image.url, r.Now())
	await(next, agent, image.why)
	controllerutil.AddFinalizer(next, api.BMACFinalizer)
	if equality.Semantic.DeepEqual(bmh.Spec, next.Spec) && equality.Semantic.DeepEqual(bmh.ObjectMeta, next.ObjectMeta) {
		return ctrl.Result{RequeueAfter: later}, nil
	}
	if err := r.Client.Patch(ctx, next, client.MergeFromWithOptions(bmh, client.MergeFromWithOptimisticLock{})); err != nil {
		return ctrl.Result{}, fmt.Errorf("write baremetalhost %s: %w", client.ObjectKeyFromObject(bmh), err)
	}
	if now := next.Annotations[api.InstructionAnnotation]; now != "" && bmh.Annotations[api.InstructionAnnotation] != now {
		r.Events.Eventf(next, nil, corev1.EventTypeNormal, "PeopleNeeded", "Boot",
			"the host has no BMC: boot it by hand, its annotation %s says from what", api.InstructionAnnotation)
	}
	if why := next.Annotations[api.AwaitedAnnotation]; why != "" && bmh.Annotations[api.AwaitedAnnotation] != why {
		r.Events.Eventf(next, nil, corev1.EventTypeWarning, "ImageMissing", "Boot", "the host waits for its discovery image: %s", why)
	}
	if before, after := bmh.Annotations[api.BootImageAnnotation], next.Annotations[api.BootImageAnnotation]; before != after {
		log.FromContext(ctx).Info("what the host boots next", "installed", after == api.BootImageInstalled)
	}
	return ctrl.Result{RequeueAfter: later}, nil
}

// declare writes what the BareMetalHost says of its Agent.
func (r *Reconciler) declare(ctx context.Context, bmh *metal3v1alpha1.BareMetalHost, agent *agentv1beta1.Agent) error {
	next := agent.DeepCopy()
	Declare(next, bmh)
	if equality.Semantic.DeepEqual(agent.Spec, next.Spec) && equality.Semantic.DeepEqual(agent.Labels, next.Labels) &&
		equality.Semantic.DeepEqual(agent.Annotations, next.Annotations) {
		return nil
	}
	if err := r.Client.Patch(ctx, next, client.MergeFromWithOptions(agent, client.MergeFromWithOptimisticLock{})); err != nil {
		return fmt.Errorf("write agent %s of baremetalhost %s: %w", agent.Name, client.ObjectKeyFromObject(bmh), err)
	}
	if !agent.Spec.Approved && next.Spec.Approved {
		log.FromContext(ctx).Info("agent approved", "host", agent.Name, "hostname", host.Hostname(next))
	}
	return nil
}
