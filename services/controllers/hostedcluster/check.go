package hostedcluster

import (
	"context"
	"errors"
	"fmt"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// fault is a mistake of whoever wrote the HostedCluster.
type fault struct {
	reason string
	// mayHeal faults are looked at again: what is missing can still come.
	mayHeal bool
	err     error
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

// check looks at what the API server's own validation can't know.
func (r *Reconciler) check(ctx context.Context, cluster *hypershiftv1beta1.HostedCluster) error {
	if err := errors.Join(checkSpec(cluster), r.Mirrors.CheckSources(cluster.Spec.ImageContentSources)); err != nil {
		return &fault{err: err}
	}
	namespace := &corev1.Namespace{}
	agents := cluster.Spec.Platform.Agent.AgentNamespace
	if err := r.Client.Get(ctx, client.ObjectKey{Name: agents}, namespace); apierrors.IsNotFound(err) {
		return &fault{mayHeal: true, err: fmt.Errorf("spec.platform.agent.agentNamespace: namespace %q does not exist", agents)}
	} else if err != nil {
		return fmt.Errorf("read namespace %s: %w", agents, err)
	}
	return r.checkPullSecret(ctx, cluster)
}

func (r *Reconciler) checkPullSecret(ctx context.Context, cluster *hypershiftv1beta1.HostedCluster) error {
	secret := &corev1.Secret{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: cluster.Namespace, Name: cluster.Spec.PullSecret.Name}, secret)
	if apierrors.IsNotFound(err) {
		return &fault{reason: hypershiftv1beta1.SecretNotFoundReason, mayHeal: true,
			err: fmt.Errorf("spec.pullSecret: Secret %s/%s does not exist", cluster.Namespace, cluster.Spec.PullSecret.Name)}
	}
	if err != nil {
		return fmt.Errorf("read pull secret: %w", err)
	}
	if len(secret.Data[corev1.DockerConfigJsonKey]) == 0 {
		return &fault{mayHeal: true, err: fmt.Errorf("spec.pullSecret: Secret %s/%s has no key %s", cluster.Namespace, secret.Name, corev1.DockerConfigJsonKey)}
	}
	return nil
}

// checkSpec joins every fault that needs no look at other objects.
func checkSpec(cluster *hypershiftv1beta1.HostedCluster) error {
	var faults []error
	spec := cluster.Spec
	if cluster.Name == "clusters" {
		faults = append(faults, errors.New(`metadata.name: "clusters" is the name of the namespace of clusters, choose another`))
	}
	if len(cluster.Namespace)+1+len(cluster.Name) > 63 {
		faults = append(faults, fmt.Errorf("metadata.name: %s-%s is longer than the 63 characters of a namespace", cluster.Namespace, cluster.Name))
	}
	switch {
	case spec.Platform.Type != hypershiftv1beta1.AgentPlatform:
		faults = append(faults, fmt.Errorf("spec.platform.type: %q is not served, only Agent is", spec.Platform.Type))
	case spec.Platform.Agent == nil || spec.Platform.Agent.AgentNamespace == "":
		faults = append(faults, errors.New("spec.platform.agent.agentNamespace: name the namespace of the Agents"))
	}
	if spec.PullSecret.Name == "" {
		faults = append(faults, errors.New("spec.pullSecret.name: a Secret with the key .dockerconfigjson is needed"))
	}
	if spec.DNS.BaseDomain == "" {
		faults = append(faults, errors.New("spec.dns.baseDomain: is needed, api.<name>.<base domain> is where nodes find the API"))
	}
	if len(spec.Networking.ServiceNetwork) == 0 {
		faults = append(faults, errors.New("spec.networking.serviceNetwork: at least one network is needed"))
	}
	if len(spec.Networking.ClusterNetwork) == 0 {
		faults = append(faults, errors.New("spec.networking.clusterNetwork: at least one network is needed"))
	}
	faults = append(faults, checkNetworks(spec.Networking)...)
	if spec.Etcd.ManagementType != hypershiftv1beta1.Managed {
		faults = append(faults, fmt.Errorf("spec.etcd.managementType: %q is not served, only Managed is", spec.Etcd.ManagementType))
	}
	if cluster.Spec.SecretEncryption != nil {
		faults = append(faults, errors.New("spec.secretEncryption: is not served yet; leave it out"))
	}
	return errors.Join(faults...)
}
