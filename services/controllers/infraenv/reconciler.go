package infraenv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	conditionsv1 "github.com/openshift/custom-resource-status/conditions/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/host"
)

// Finalizer keeps an InfraEnv until no Agent of it is bound to a cluster.
const Finalizer = "infraenv.agent-install.openshift.io/ai-deprovision"

// URLs are the bases of the web front, without a slash at the end.
type URLs struct{ HTTP, HTTPS string }

// Tokens makes the token that an InfraEnv's URLs carry.
type Tokens interface {
	InfraEnv(uid string) string
}

// Images resolves the machine OS: want is spec.osImageVersion, empty for the newest of the architecture.
type Images interface {
	Version(arch, want string) (string, error)
	// ISO says whether there is a live ISO, and what keeps the InfraEnv from being put into it; kind is full-iso or minimal-iso.
	ISO(ctx context.Context, infraEnv *agentv1beta1.InfraEnv, arch, version, kind string) (bool, error)
}

// Reconciler keeps InfraEnv.status.
type Reconciler struct {
	Client client.Client
	URLs   URLs
	Tokens Tokens
	Images Images
	// CheckIgnition judges ignitionConfigOverride; nil takes any JSON with a version.
	CheckIgnition func(override []byte) error
	// Now is time.Now when nil.
	Now func() time.Time
}

// SetupWithManager starts the controller with the manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	err := ctrl.NewControllerManagedBy(mgr).
		For(&agentv1beta1.InfraEnv{}).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.usersOf)).
		Watches(&agentv1beta1.NMStateConfig{}, handler.EnqueueRequestsFromMapFunc(r.selectors)).
		Watches(&agentv1beta1.Agent{}, handler.EnqueueRequestsFromMapFunc(ownerOf), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Complete(r)
	if err != nil {
		return fmt.Errorf("set up infraenv controller: %w", err)
	}
	return nil
}

// usersOf are the InfraEnvs whose pull secret has changed.
func (r *Reconciler) usersOf(ctx context.Context, secret client.Object) []reconcile.Request {
	all := &agentv1beta1.InfraEnvList{}
	if err := r.Client.List(ctx, all, client.InNamespace(secret.GetNamespace())); err != nil {
		return nil
	}
	var users []reconcile.Request
	for _, infraEnv := range all.Items {
		if ref := infraEnv.Spec.PullSecretRef; ref != nil && ref.Name == secret.GetName() {
			users = append(users, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&infraEnv)})
		}
	}
	return users
}

func ownerOf(_ context.Context, agent client.Object) []reconcile.Request {
	name := agent.GetLabels()[api.InfraEnvLabel]
	if name == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: agent.GetNamespace(), Name: name}}}
}

// Reconcile implements reconcile.Reconciler.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	infraEnv := &agentv1beta1.InfraEnv{}
	if err := r.Client.Get(ctx, request.NamespacedName, infraEnv); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !infraEnv.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, r.release(ctx, infraEnv)
	}
	problem, err := r.problem(ctx, infraEnv)
	if err != nil {
		return ctrl.Result{}, err
	}
	network, fault, err := r.network(ctx, infraEnv)
	if err != nil {
		return ctrl.Result{}, err
	}
	if problem == nil {
		problem = fault
	}
	var found image
	if problem == nil {
		found, problem = r.image(ctx, infraEnv)
	}
	changed, err := r.annotate(ctx, infraEnv, network)
	if err != nil {
		return ctrl.Result{}, err
	}
	next := infraEnv.DeepCopy()
	r.status(next, found, problem, changed)
	later := ctrl.Result{}
	if errors.As(problem, &imageError{}) {
		later.RequeueAfter = imageWait
	}
	if equality.Semantic.DeepEqual(infraEnv.Status, next.Status) {
		return later, nil
	}
	err = r.Client.Status().Patch(ctx, next, client.MergeFromWithOptions(infraEnv, client.MergeFromWithOptimisticLock{}))
	if apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: 20 * time.Millisecond}, nil
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("write status of infraenv %s: %w", request, err)
	}
	return later, nil
}

// release lets a deleted InfraEnv go when none of its hosts serves a cluster.
func (r *Reconciler) release(ctx context.Context, infraEnv *agentv1beta1.InfraEnv) error {
	agents := &agentv1beta1.AgentList{}
	err := r.Client.List(ctx, agents, client.InNamespace(infraEnv.Namespace), client.MatchingLabels{api.InfraEnvLabel: infraEnv.Name})
	if err != nil {
		return fmt.Errorf("list agents of infraenv %s: %w", infraEnv.Name, err)
	}
	for i := range agents.Items {
		if host.Bound(&agents.Items[i]) {
			return nil
		}
	}
	next := infraEnv.DeepCopy()
	if !controllerutil.RemoveFinalizer(next, Finalizer) {
		return nil
	}
	if err := r.Client.Patch(ctx, next, client.MergeFrom(infraEnv)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("release infraenv %s: %w", infraEnv.Name, err)
	}
	return nil
}

// annotate notes generation, network and finalizer; it says whether the image is another than before.
func (r *Reconciler) annotate(ctx context.Context, infraEnv *agentv1beta1.InfraEnv, network string) (changed bool, err error) {
	next := infraEnv.DeepCopy()
	mark := fmt.Sprint(infraEnv.Generation) + network
	changed = next.Annotations[api.ImageAnnotation] != mark
	if next.Annotations == nil {
		next.Annotations = map[string]string{}
	}
	next.Annotations[api.ImageAnnotation] = mark
	if !controllerutil.AddFinalizer(next, Finalizer) && !changed {
		return false, nil
	}
	if err := r.Client.Patch(ctx, next, client.MergeFrom(infraEnv)); err != nil {
		return false, fmt.Errorf("annotate infraenv %s: %w", infraEnv.Name, err)
	}
	infraEnv.ObjectMeta = next.ObjectMeta
	return changed, nil
}

// problem is what the user has to mend before there is an image; err is ours.
func (r *Reconciler) problem(ctx context.Context, infraEnv *agentv1beta1.InfraEnv) (problem error, err error) {
	spec := infraEnv.Spec
	if override := spec.IgnitionConfigOverride; override != "" {
		check := r.CheckIgnition
		if check == nil {
			check = checkJSON
		}
		if fault := check([]byte(override)); fault != nil {
			return fmt.Errorf("ignitionConfigOverride: %w", fault), nil
		}
	}
	if spec.PullSecretRef == nil || spec.PullSecretRef.Name == "" {
		return fmt.Errorf("pullSecretRef: name a Secret with the key %s", corev1.DockerConfigJsonKey), nil
	}
	secret := &corev1.Secret{}
	key := client.ObjectKey{Namespace: infraEnv.Namespace, Name: spec.PullSecretRef.Name}
	if err := r.Client.Get(ctx, key, secret); err != nil {
		if apierrors.IsNotFound(err) {
			return fmt.Errorf("pullSecretRef: there is no Secret %s", key), nil
		}
		return nil, fmt.Errorf("read pull secret %s: %w", key, err)
	}
	if !json.Valid(secret.Data[corev1.DockerConfigJsonKey]) {
		return fmt.Errorf("pullSecretRef: key %s of Secret %s is missing or no JSON", corev1.DockerConfigJsonKey, key), nil
	}
	return nil, nil
}

func checkJSON(override []byte) error {
	var config struct {
		Ignition struct {
			Version string `json:"version"`
		} `json:"ignition"`
	}
	if err := json.Unmarshal(override, &config); err != nil {
		return err
	}
	if config.Ignition.Version == "" {
		return fmt.Errorf("ignition.version is missing")
	}
	return nil
}

// status writes URLs and condition.
func (r *Reconciler) status(infraEnv *agentv1beta1.InfraEnv, found image, problem error, changed bool) {
	now := time.Now
	if r.Now != nil {
		now = r.Now
	}
	status := &infraEnv.Status
	status.AgentLabelSelector = metav1.LabelSelector{MatchLabels: map[string]string{api.InfraEnvLabel: infraEnv.Name}}
	if problem != nil {
		setCondition(status, corev1.ConditionFalse, agentv1beta1.ImageCreationErrorReason,
			agentv1beta1.ImageStateFailedToCreate+": "+problem.Error(), now())
		return
	}
	artifacts := r.artifacts(infraEnv, found.version)
	if changed || status.CreatedTime == nil || artifacts != status.BootArtifacts || found.iso != status.ISODownloadURL {
		created := metav1.NewTime(now().UTC().Truncate(time.Second))
		status.CreatedTime = &created
	}
	status.BootArtifacts, status.ISODownloadURL = artifacts, found.iso
	setCondition(status, corev1.ConditionTrue, agentv1beta1.ImageCreatedReason, agentv1beta1.ImageStateCreated, now())
}

func setCondition(status *agentv1beta1.InfraEnvStatus, is corev1.ConditionStatus, reason, message string, now time.Time) {
	var kind conditionsv1.ConditionType = agentv1beta1.ImageCreatedCondition
	host.SetCondition(&status.Conditions, kind, is, reason, message, now)
}
