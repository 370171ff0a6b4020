package nodepool

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/ignition"
)

// Keys of the Secrets.
const (
	keyToken   = "token"
	keyRelease = "release"
	keyConfig  = "config"
	keyValue   = "value"
	keyFormat  = "format"
)

// keepSecrets writes bootstrap token, Ignition token and user data, and tries whether the Ignition can be rendered.
func (r *Reconciler) keepSecrets(ctx context.Context, s *scope) (bool, error) {
	if ok, err := r.keepBootstrapToken(ctx, s); err != nil || !ok {
		return false, err
	}
	if _, err := r.render(ctx, s); err != nil {
		var user *ignition.UserConfigError
		if errors.As(err, &user) {
			s.no(hypershiftv1beta1.NodePoolValidMachineConfigConditionType, hypershiftv1beta1.NodePoolValidationFailedReason, "spec.config: "+err.Error())
			return false, nil
		}
		s.no(hypershiftv1beta1.NodePoolValidGeneratedPayloadConditionType, hypershiftv1beta1.NodePoolValidationFailedReason, err.Error())
		s.soon(recheck)
		return false, nil
	}
	s.yes(hypershiftv1beta1.NodePoolValidMachineConfigConditionType, hypershiftv1beta1.AsExpectedReason, "")
	s.yes(hypershiftv1beta1.NodePoolValidGeneratedPayloadConditionType, hypershiftv1beta1.AsExpectedReason, "Payload generated successfully")
	token, err := r.keepToken(ctx, s)
	if err != nil {
		return false, err
	}
	return true, r.keepUserData(ctx, s, token)
}

// keepToken makes the token of this hash once; it does not change as long as it is there.
func (r *Reconciler) keepToken(ctx context.Context, s *scope) ([]byte, error) {
	configs, err := json.Marshal(s.configs)
	if err != nil {
		return nil, wrap(err, "encode configuration")
	}
	secret := s.secret("token-" + s.pool.Name + "-" + s.hash)
	_, err = controllerutil.CreateOrPatch(ctx, r.Client, secret, func() error {
		s.mark(secret, map[string]string{api.TokenSecretLabel: s.pool.Name})
		if secret.Data == nil {
			secret.Data = map[string][]byte{}
		}
		if len(secret.Data[keyToken]) == 0 {
			secret.Data[keyToken] = []byte(rand.Text())
		}
		secret.Data[keyRelease], secret.Data[keyConfig] = []byte(s.pool.Spec.Release.Image), configs
		return nil
	})
	if secret.Annotations[reachedAnnotation] != "" {
		s.yes(hypershiftv1beta1.NodePoolReachedIgnitionEndpoint, hypershiftv1beta1.AsExpectedReason, "")
	} else {
		s.no(hypershiftv1beta1.NodePoolReachedIgnitionEndpoint, hypershiftv1beta1.IgnitionNotReached, "No node has fetched its Ignition yet")
	}
	return secret.Data[keyToken], wrap(err, "write secret "+secret.Name)
}

func (r *Reconciler) keepUserData(ctx context.Context, s *scope, token []byte) error {
	value, err := ignition.UserData(ignition.Source{
		URL: r.Site.IgnitionURL, Token: token, CA: r.Site.CA,
		Headers: map[string]string{"NodePool": poolKey(s.pool), "TargetConfigVersionHash": s.hash},
	})
	if err != nil {
		return wrap(err, "render user data")
	}
	secret := s.secret("user-data-" + s.pool.Name + "-" + s.hash)
	secret.Type = clusterv1.ClusterSecretType
	_, err = controllerutil.CreateOrPatch(ctx, r.Client, secret, func() error {
		s.mark(secret, map[string]string{clusterv1.ClusterNameLabel: s.plane.Name})
		secret.Data = map[string][]byte{keyValue: value, keyFormat: []byte("ignition")}
		return nil
	})
	s.dataSecret = secret.Name
	return wrap(err, "write secret "+secret.Name)
}

func (s *scope) secret(name string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace(), Name: name}}
}

// mark says whose an object is.
func (s *scope) mark(object client.Object, labels map[string]string) {
	all, annotations := object.GetLabels(), object.GetAnnotations()
	if all == nil {
		all = map[string]string{}
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	all[hypershiftv1beta1.NodePoolLabel] = s.pool.Name
	for key, value := range labels {
		all[key] = value
	}
	annotations[api.NodePoolAnnotation] = poolKey(s.pool)
	object.SetLabels(all)
	object.SetAnnotations(annotations)
}

func poolKey(pool *hypershiftv1beta1.NodePool) string { return pool.Namespace + "/" + pool.Name }
