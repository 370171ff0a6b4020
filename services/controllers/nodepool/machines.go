package nodepool

import (
	"context"
	"strings"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/slipway-io/slipway/services/api"
	capiagentv1beta1 "github.com/slipway-io/slipway/services/api/capiagent/v1beta1"
)

// nodeDeletion is how long Cluster API tries to delete a Node, its own default.
const nodeDeletion = 10

// workerLabel shows in kubectl get nodes; a kubelet may not set it on itself, Cluster API may.
const workerLabel = "node-role.kubernetes.io/worker"

// keepTemplate writes the template that Machines are made from; another selector is another template, and a rollout.
func (r *Reconciler) keepTemplate(ctx context.Context, s *scope) (bool, error) {
	selector := selectorOf(s.pool)
	of, err := hash(selector)
	if err != nil {
		return false, err
	}
	template := &capiagentv1beta1.AgentMachineTemplate{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace(), Name: s.pool.Name + "-" + of}}
	_, err = controllerutil.CreateOrPatch(ctx, r.Client, template, func() error {
		s.mark(template, map[string]string{clusterv1.ClusterNameLabel: s.plane.Name})
		template.Spec.Template.Spec.AgentLabelSelector = selector
		return nil
	})
	s.template = template.Name
	return err == nil, wrap(err, "write agentmachinetemplate "+template.Name)
}

// keepDeployment writes the MachineDeployment with all that Cluster API's webhooks would have set.
func (r *Reconciler) keepDeployment(ctx context.Context, s *scope) (bool, error) {
	deployment := &clusterv1.MachineDeployment{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace(), Name: s.pool.Name}}
	_, err := controllerutil.CreateOrPatch(ctx, r.Client, deployment, func() error {
		s.mark(deployment, map[string]string{clusterv1.ClusterNameLabel: s.plane.Name})
		deployment.Spec = desiredDeployment(s, deployment.Spec)
		return nil
	})
	s.deployment = deployment
	return err == nil, wrap(err, "write machinedeployment "+deployment.Name)
}

// desiredDeployment changes what is the pool's to say and leaves the rest.
func desiredDeployment(s *scope, spec clusterv1.MachineDeploymentSpec) clusterv1.MachineDeploymentSpec {
	selector := map[string]string{clusterv1.ClusterNameLabel: s.plane.Name, clusterv1.MachineDeploymentNameLabel: s.pool.Name}
	spec.ClusterName = s.plane.Name
	spec.Replicas = ptr.To(replicas(s.pool))
	spec.Selector = metav1.LabelSelector{MatchLabels: selector}
	spec.Rollout.Strategy = strategy(s.pool.Spec.Management)
	spec.Deletion.Order = clusterv1.RandomMachineSetDeletionOrder
	spec.Template.Labels = map[string]string{hypershiftv1beta1.NodePoolLabel: s.pool.Name, workerLabel: ""}
	for key, value := range selector {
		spec.Template.Labels[key] = value
	}
	spec.Template.Annotations = map[string]string{api.NodePoolAnnotation: poolKey(s.pool)}
	spec.Template.Spec = clusterv1.MachineSpec{
		ClusterName: s.plane.Name,
		Version:     "v" + s.release.version,
		Bootstrap:   clusterv1.Bootstrap{DataSecretName: ptr.To(s.dataSecret)},
		InfrastructureRef: clusterv1.ContractVersionedObjectReference{
			APIGroup: capiagentv1beta1.GroupVersion.Group, Kind: "AgentMachineTemplate", Name: s.template,
		},
		Deletion: clusterv1.MachineDeletionSpec{
			NodeDrainTimeoutSeconds:        seconds(s.pool.Spec.NodeDrainTimeout),
			NodeVolumeDetachTimeoutSeconds: seconds(s.pool.Spec.NodeVolumeDetachTimeout),
			NodeDeletionTimeoutSeconds:     ptr.To(int32(nodeDeletion)),
		},
	}
	return spec
}

// machines of the pool, those of former rollouts included.
func (r *Reconciler) machines(ctx context.Context, s *scope) ([]clusterv1.Machine, error) {
	machines := &clusterv1.MachineList{}
	err := r.Client.List(ctx, machines, client.InNamespace(s.namespace()), client.MatchingLabels{hypershiftv1beta1.NodePoolLabel: s.pool.Name})
	return machines.Items, wrap(err, "list machines")
}

// tidy removes tokens, user data and templates of former rollouts that no Machine needs any more: a stale token is worth nothing.
func (r *Reconciler) tidy(ctx context.Context, s *scope, machines []clusterv1.Machine) error {
	if s.deployment == nil || !settled(s.deployment, replicas(s.pool)) {
		return nil
	}
	used := map[string]bool{s.dataSecret: true, s.template: true, bootstrapName(s.pool): true, "token-" + s.pool.Name + "-" + s.hash: true}
	for i := range machines {
		if name := machines[i].Spec.Bootstrap.DataSecretName; name != nil {
			used[*name] = true
			used[tokenOf(*name)] = true
		}
	}
	return r.drop(ctx, s, func(name string) bool { return !used[name] })
}

// tokenOf names the token Secret beside a user-data Secret.
func tokenOf(userData string) string {
	const prefix = "user-data-"
	if rest, ok := strings.CutPrefix(userData, prefix); ok && rest != "" {
		return "token-" + rest
	}
	return ""
}

// drop deletes the pool's Secrets and templates that are condemned.
func (r *Reconciler) drop(ctx context.Context, s *scope, condemned func(name string) bool) error {
	of := []client.ListOption{client.InNamespace(s.namespace()), client.MatchingLabels{hypershiftv1beta1.NodePoolLabel: s.pool.Name}}
	secrets, templates := &corev1.SecretList{}, &capiagentv1beta1.AgentMachineTemplateList{}
	if err := r.Client.List(ctx, secrets, of...); err != nil {
		return wrap(err, "list secrets")
	}
	if err := r.Client.List(ctx, templates, of...); err != nil {
		return wrap(err, "list agentmachinetemplates")
	}
	var objects []client.Object
	for i := range secrets.Items {
		objects = append(objects, &secrets.Items[i])
	}
	for i := range templates.Items {
		objects = append(objects, &templates.Items[i])
	}
	for _, object := range objects {
		if !condemned(object.GetName()) || !object.GetDeletionTimestamp().IsZero() {
			continue
		}
		if err := client.IgnoreNotFound(r.Client.Delete(ctx, object)); err != nil {
			return wrap(err, "delete "+object.GetName())
		}
	}
	return nil
}
