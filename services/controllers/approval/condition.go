package approval

import (
	"context"
	"fmt"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	conditionsv1 "github.com/openshift/custom-resource-status/conditions/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/host"
)

// judge says in an InfraEnv's condition which policies are in force.
func (r *Reconciler) judge(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	infraEnv := &agentv1beta1.InfraEnv{}
	if err := r.Client.Get(ctx, request.NamespacedName, infraEnv); err != nil {
		if apierrors.IsNotFound(err) {
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("read infraenv %s: %w", request, err)
	}
	p, _, problem, err := r.policies(ctx, infraEnv)
	if err != nil {
		return ctrl.Result{}, err
	}
	next := infraEnv.DeepCopy()
	r.set(next, p, problem)
	if equality.Semantic.DeepEqual(infraEnv.Status, next.Status) {
		return ctrl.Result{}, nil
	}
	err = r.Client.Status().Patch(ctx, next, client.MergeFromWithOptions(infraEnv, client.MergeFromWithOptimisticLock{}))
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return ctrl.Result{RequeueAfter: again}, nil
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("write status of infraenv %s: %w", request, err)
	}
	return ctrl.Result{}, nil
}

func (r *Reconciler) set(infraEnv *agentv1beta1.InfraEnv, p policies, problem error) {
	now := time.Now
	if r.Now != nil {
		now = r.Now
	}
	conditions := &infraEnv.Status.Conditions
	switch {
	case problem != nil:
		host.SetCondition(conditions, api.ApprovalPoliciesCondition, corev1.ConditionFalse, api.InvalidPolicyReason,
			problem.Error()+"; until that is mended no policy approves a host", now())
	case p.none():
		conditionsv1.RemoveStatusCondition(conditions, api.ApprovalPoliciesCondition)
	default:
		host.SetCondition(conditions, api.ApprovalPoliciesCondition, corev1.ConditionTrue, api.PoliciesReason,
			"hosts are approved by "+p.names()+"; all others wait for a person", now())
	}
}
