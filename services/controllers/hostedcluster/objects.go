package hostedcluster

import (
	"context"
	"fmt"
	"maps"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/slipway-io/slipway/services/api"
	capiagentv1beta1 "github.com/slipway-io/slipway/services/api/capiagent/v1beta1"
)

// controlPlane keeps namespace and HostedControlPlane as the HostedCluster wants them.
func (r *Reconciler) controlPlane(ctx context.Context, cluster *hypershiftv1beta1.HostedCluster) (*hypershiftv1beta1.HostedControlPlane, error) {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace(cluster)}}
	if err := r.keep(ctx, cluster, namespace, func() {}); err != nil {
		return nil, err
	}
	pullSecret := &corev1.Secret{}
	if err := r.Client.Get(ctx, client.ObjectKey{Namespace: cluster.Namespace, Name: cluster.Spec.PullSecret.Name}, pullSecret); err != nil {
		return nil, fmt.Errorf("read pull secret: %w", err)
	}
	copied := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "pull-secret"}}
	err := r.keep(ctx, cluster, copied, func() { copied.Type, copied.Data = pullSecret.Type, pullSecret.Data })
	if err != nil {
		return nil, err
	}
	controlPlane := &hypershiftv1beta1.HostedControlPlane{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: cluster.Name}}
	err = r.keep(ctx, cluster, controlPlane, func() { mirror(&cluster.Spec, &controlPlane.Spec) })
	return controlPlane, err
}

// pause hands the pause on to a control plane that is there already.
func (r *Reconciler) pause(ctx context.Context, cluster *hypershiftv1beta1.HostedCluster) error {
	controlPlane := &hypershiftv1beta1.HostedControlPlane{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: Namespace(cluster), Name: cluster.Name}, controlPlane)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read control plane of %s: %w", cluster.Name, err)
	}
	return r.keep(ctx, cluster, controlPlane, func() { controlPlane.Spec.PausedUntil = cluster.Spec.PausedUntil })
}

// mirror copies what the control plane is run by.
func mirror(from *hypershiftv1beta1.HostedClusterSpec, to *hypershiftv1beta1.HostedControlPlaneSpec) {
	to.ReleaseImage = from.Release.Image
	to.ControlPlaneReleaseImage = nil
	if from.ControlPlaneRelease != nil {
		to.ControlPlaneReleaseImage = &from.ControlPlaneRelease.Image
	}
	to.PullSecret = corev1.LocalObjectReference{Name: "pull-secret"}
	to.IssuerURL = from.IssuerURL
	to.Networking = from.Networking
	to.SSHKey = from.SSHKey
	to.ClusterID, to.InfraID = from.ClusterID, from.InfraID
	to.Platform = from.Platform
	to.DNS = from.DNS
	to.ControllerAvailabilityPolicy = from.ControllerAvailabilityPolicy
	to.InfrastructureAvailabilityPolicy = from.InfrastructureAvailabilityPolicy
	to.KubeAPIServerDNSName = from.KubeAPIServerDNSName
	to.Services = from.Services
	to.Etcd = from.Etcd
	to.Configuration = from.Configuration
	to.PausedUntil = from.PausedUntil
	to.Labels = from.Labels
}

// clusterAPI keeps the Cluster that Cluster API's controllers work from. The HostedControlPlane is its control plane object.
func (r *Reconciler) clusterAPI(ctx context.Context, cluster *hypershiftv1beta1.HostedCluster, controlPlane *hypershiftv1beta1.HostedControlPlane) error {
	endpoint := clusterv1.APIEndpoint{Host: controlPlane.Status.ControlPlaneEndpoint.Host, Port: controlPlane.Status.ControlPlaneEndpoint.Port}
	meta := metav1.ObjectMeta{Namespace: controlPlane.Namespace, Name: cluster.Name}
	infrastructure := &capiagentv1beta1.AgentCluster{ObjectMeta: meta}
	if err := r.keep(ctx, cluster, infrastructure, func() { infrastructure.Spec.ControlPlaneEndpoint = endpoint }); err != nil {
		return err
	}
	owner := &clusterv1.Cluster{ObjectMeta: meta}
	return r.keep(ctx, cluster, owner, func() {
		owner.Spec.ControlPlaneEndpoint = endpoint
		owner.Spec.ControlPlaneRef = clusterv1.ContractVersionedObjectReference{
			APIGroup: hypershiftv1beta1.GroupVersion.Group, Kind: "HostedControlPlane", Name: controlPlane.Name,
		}
		owner.Spec.InfrastructureRef = clusterv1.ContractVersionedObjectReference{
			APIGroup: capiagentv1beta1.GroupVersion.Group, Kind: "AgentCluster", Name: infrastructure.Name,
		}
		owner.Spec.ClusterNetwork.Services.CIDRBlocks = nil
		for _, network := range cluster.Spec.Networking.ServiceNetwork {
			owner.Spec.ClusterNetwork.Services.CIDRBlocks = append(owner.Spec.ClusterNetwork.Services.CIDRBlocks, network.CIDR.String())
		}
		owner.Spec.ClusterNetwork.Pods.CIDRBlocks = nil
		for _, network := range cluster.Spec.Networking.ClusterNetwork {
			owner.Spec.ClusterNetwork.Pods.CIDRBlocks = append(owner.Spec.ClusterNetwork.Pods.CIDRBlocks, network.CIDR.String())
		}
	})
}

// kubeconfig publishes the administrator's kubeconfig beside the HostedCluster.
func (r *Reconciler) kubeconfig(ctx context.Context, cluster *hypershiftv1beta1.HostedCluster, controlPlane *hypershiftv1beta1.HostedControlPlane) error {
	ref := controlPlane.Status.KubeConfig
	if ref == nil {
		return nil
	}
	source := &corev1.Secret{}
	if err := r.Client.Get(ctx, client.ObjectKey{Namespace: controlPlane.Namespace, Name: ref.Name}, source); err != nil {
		return fmt.Errorf("read kubeconfig of %s: %w", cluster.Name, err)
	}
	published := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.Namespace, Name: cluster.Name + "-admin-kubeconfig"}}
	err := r.keep(ctx, cluster, published, func() {
		published.Data = map[string][]byte{"kubeconfig": source.Data[ref.Key]}
	})
	if err != nil {
		return err
	}
	cluster.Status.KubeConfig = &corev1.LocalObjectReference{Name: published.Name}
	return nil
}

// keep creates or updates an object that this controller alone writes and marks whose it is.
func (r *Reconciler) keep(ctx context.Context, cluster *hypershiftv1beta1.HostedCluster, object client.Object, change func()) error {
	_, err := controllerutil.CreateOrUpdate(ctx, r.Client, object, func() error {
		annotations := maps.Clone(object.GetAnnotations())
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[api.HostedClusterAnnotation] = cluster.Namespace + "/" + cluster.Name
		object.SetAnnotations(annotations)
		change()
		return nil
	})
	// Two looks at once: the other one made it, and its event brings us back.
	if apierrors.IsAlreadyExists(err) || apierrors.IsConflict(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("keep %T %s: %w", object, object.GetName(), err)
	}
	return nil
}
