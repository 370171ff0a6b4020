package hostedcontrolplane

import (
	"context"
	"fmt"
	"time"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/slipway-io/slipway/services/controlplane"
	"github.com/slipway-io/slipway/services/controlplane/pki"
)

// certificates keeps the control plane's Secrets as pki wants them; next is when it wants something again.
func (r *Reconciler) certificates(ctx context.Context, plane *hypershiftv1beta1.HostedControlPlane, spec controlplane.Spec) (map[string]*corev1.Secret, time.Time, error) {
	list := &corev1.SecretList{}
	if err := r.Client.List(ctx, list, client.InNamespace(plane.Namespace)); err != nil {
		return nil, time.Time{}, fmt.Errorf("list secrets: %w", err)
	}
	existing := make(map[string]*corev1.Secret, len(list.Items))
	for i := range list.Items {
		existing[list.Items[i].Name] = &list.Items[i]
	}
	desired, next, err := pki.Desired(spec.PKI(), existing, r.Now())
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("certificates of %s: %w", spec.Name, err)
	}
	for name, secret := range desired {
		if err := r.keepSecret(ctx, plane, existing[name], secret); err != nil {
			return nil, time.Time{}, err
		}
	}
	return desired, next, r.keepClusterKubeconfig(ctx, plane, existing, desired[pki.LocalhostKubeconfig])
}

// keepSecret writes a Secret that is missing or differs. One that somebody made in between is a conflict: both certificates
// would be valid, but only one may win, so we look again.
func (r *Reconciler) keepSecret(ctx context.Context, plane *hypershiftv1beta1.HostedControlPlane, existing, secret *corev1.Secret) error {
	if existing == nil {
		secret = secret.DeepCopy()
		secret.Namespace = plane.Namespace
		if err := controllerutil.SetControllerReference(plane, secret, r.Client.Scheme()); err != nil {
			return fmt.Errorf("own secret %s: %w", secret.Name, err)
		}
		if err := r.Client.Create(ctx, secret); err != nil {
			return fmt.Errorf("create secret %s: %w", secret.Name, err)
		}
		return nil
	}
	if equality.Semantic.DeepEqual(existing.Data, secret.Data) {
		return nil
	}
	changed := existing.DeepCopy()
	changed.Data = secret.Data
	if err := r.Client.Update(ctx, changed); err != nil {
		return fmt.Errorf("update secret %s: %w", secret.Name, err)
	}
	return nil
}

// keepClusterKubeconfig gives Cluster API its way into the cluster, over loopback.
func (r *Reconciler) keepClusterKubeconfig(ctx context.Context, plane *hypershiftv1beta1.HostedControlPlane, existing map[string]*corev1.Secret, local *corev1.Secret) error {
	name := plane.Name + "-kubeconfig"
	err := r.keepSecret(ctx, plane, existing[name], &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: plane.Namespace, Name: name, Labels: map[string]string{clusterv1.ClusterNameLabel: plane.Name}},
		Type:       clusterv1.ClusterSecretType,
		Data:       map[string][]byte{"value": local.Data[pki.KeyKubeconfig]},
	})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}
