package main

import (
	"context"
	"fmt"
	"strings"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
)

const (
	systemNamespace  = "slipway-system"
	hostNamespace    = "slipway"
	clusterNamespace = "clusters"
	siteConfigMap    = "site"
	defaultInfraEnv  = "default"
	pullSecretName   = "pull-secret"
)

// publish makes what a newcomer needs in order to just power hosts on: namespaces, an InfraEnv for hosts that nobody
// declared, and what the verbs want to know of the site.
func (a *appliance) publish(ctx context.Context, kube client.Client) error {
	for _, name := range []string{systemNamespace, hostNamespace, clusterNamespace} {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if err := kube.Create(ctx, namespace); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create namespace %s: %w", name, err)
		}
	}
	if err := a.publishSite(ctx, kube); err != nil {
		return err
	}
	envs := &agentv1beta1.InfraEnvList{}
	if err := kube.List(ctx, envs); err != nil {
		return fmt.Errorf("list InfraEnvs: %w", err)
	}
	if len(envs.Items) > 0 || a.config.DefaultInfraEnv != "" {
		return nil
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: hostNamespace, Name: pullSecretName},
		Type:       corev1.SecretTypeDockerConfigJson,
		Data:       map[string][]byte{corev1.DockerConfigJsonKey: []byte(`{"auths":{}}`)},
	}
	if err := kube.Create(ctx, secret); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create pull secret: %w", err)
	}
	env := &agentv1beta1.InfraEnv{
		ObjectMeta: metav1.ObjectMeta{Namespace: hostNamespace, Name: defaultInfraEnv},
		Spec:       agentv1beta1.InfraEnvSpec{PullSecretRef: &corev1.LocalObjectReference{Name: pullSecretName}},
	}
	if err := kube.Create(ctx, env); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create InfraEnv %s: %w", env.Name, err)
	}
	return nil
}

func (a *appliance) publishSite(ctx context.Context, kube client.Client) error {
	published := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: siteConfigMap}}
	_, err := controllerutil.CreateOrUpdate(ctx, kube, published, func() error {
		published.Data = map[string]string{
			"domain":         a.config.Domain,
			"address":        a.config.SiteAddresses()[0].String(),
			"addresses":      strings.Join(texts(a.config.SiteAddresses()), ","),
			"registry":       a.registryHost(),
			"agentNamespace": hostNamespace,
			"ca.crt":         string(a.siteCA.PEM()),
		}
		if a.releaseImage != "" {
			published.Data["releaseImage"] = a.registryHost() + "/" + a.releaseImage
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("publish site: %w", err)
	}
	return nil
}
