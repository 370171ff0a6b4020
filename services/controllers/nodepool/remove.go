package nodepool

import (
	"context"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/slipway-io/slipway/services/api"
)

// remove deletes the MachineDeployment, waits until its Machines are gone, and then what the pool has written.
func (r *Reconciler) remove(ctx context.Context, s *scope) error {
	if !controllerutil.ContainsFinalizer(s.pool, api.Finalizer) {
		return nil
	}
	deployment := &clusterv1.MachineDeployment{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: s.namespace(), Name: s.pool.Name}, deployment)
	if client.IgnoreNotFound(err) != nil {
		return wrap(err, "read machinedeployment")
	}
	there := err == nil
	if there && deployment.DeletionTimestamp.IsZero() {
		if err := r.Client.Delete(ctx, deployment); client.IgnoreNotFound(err) != nil {
			return wrap(err, "delete machinedeployment")
		}
	}
	machines, err := r.machines(ctx, s)
	if err != nil {
		return err
	}
	if err := r.hurry(ctx, s, machines); err != nil {
		return err
	}
	if there || len(machines) > 0 {
		return nil
	}
	if err := r.dropBootstrapToken(ctx, s); err != nil {
		return err
	}
	if err := r.drop(ctx, s, func(string) bool { return true }); err != nil {
		return err
	}
	before := s.pool.DeepCopy()
	controllerutil.RemoveFinalizer(s.pool, api.Finalizer)
	return wrap(client.IgnoreNotFound(r.Client.Patch(ctx, s.pool, client.MergeFrom(before))), "release nodepool")
}

// hurry spares the drain when the whole cluster goes: its pods have nowhere to go to.
func (r *Reconciler) hurry(ctx context.Context, s *scope, machines []clusterv1.Machine) error {
	hosted := &hypershiftv1beta1.HostedCluster{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: s.pool.Namespace, Name: s.pool.Spec.ClusterName}, hosted)
	if client.IgnoreNotFound(err) != nil {
		return wrap(err, "read hostedcluster "+s.pool.Spec.ClusterName)
	}
	if err == nil && hosted.DeletionTimestamp.IsZero() {
		return nil
	}
	for i := range machines {
		machine := &machines[i]
		if _, there := machine.Annotations[clusterv1.ExcludeNodeDrainingAnnotation]; there {
			continue
		}
		before := machine.DeepCopy()
		if machine.Annotations == nil {
			machine.Annotations = map[string]string{}
		}
		machine.Annotations[clusterv1.ExcludeNodeDrainingAnnotation] = ""
		if err := client.IgnoreNotFound(r.Client.Patch(ctx, machine, client.MergeFrom(before))); err != nil {
			return wrap(err, "spare drain of machine "+machine.Name)
		}
	}
	return nil
}
