// Package mirrorset tells people what of an ImageDigestMirrorSet, ImageTagMirrorSet or ImageContentSourcePolicy is not honoured: these kinds have no
// conditions, so it is an Event of the object.
package mirrorset

import (
	"context"
	"fmt"
	"strings"

	configv1 "github.com/openshift/api/config/v1"
	operatorv1alpha1 "github.com/openshift/api/operator/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// ReasonInvalid of the Events.
const ReasonInvalid = "InvalidMirrorSet"

// maxNote is what an Event takes.
const maxNote = 1000

// Sets tells what of a mirror set can't be honoured, with its path.
type Sets interface {
	CheckSet(set client.Object) error
}

// Reconciler of the mirror sets' kinds.
type Reconciler struct {
	Client client.Client
	Sets   Sets
	events events.EventRecorder
}

// SetupWithManager registers a controller for each kind.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	r.events = mgr.GetEventRecorder("slipway")
	for name, kind := range map[string]client.Object{
		"imagedigestmirrorset": &configv1.ImageDigestMirrorSet{}, "imagetagmirrorset": &configv1.ImageTagMirrorSet{},
		"imagecontentsourcepolicy": &operatorv1alpha1.ImageContentSourcePolicy{},
	} {
		err := ctrl.NewControllerManagedBy(mgr).Named(name).For(kind).Complete(reconcile.Func(func(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
			set, is := kind.DeepCopyObject().(client.Object)
			if !is {
				return reconcile.Result{}, nil
			}
			if err := r.Client.Get(ctx, request.NamespacedName, set); err != nil {
				return reconcile.Result{}, client.IgnoreNotFound(err)
			}
			r.judge(ctx, set)
			return reconcile.Result{}, nil
		}))
		if err != nil {
			return fmt.Errorf("watch %s: %w", name, err)
		}
	}
	return nil
}

func (r *Reconciler) judge(ctx context.Context, set client.Object) {
	if err := r.Sets.CheckSet(set); err != nil {
		log.FromContext(ctx).Info("entries of a mirror set are not honoured", "set", set.GetName(), "err", err.Error())
		text := err.Error()
		r.events.Eventf(set, nil, corev1.EventTypeWarning, ReasonInvalid, "Check", "%s", strings.ToValidUTF8(text[:min(len(text), maxNote)], ""))
	}
}
