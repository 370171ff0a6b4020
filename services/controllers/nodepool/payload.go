package nodepool

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/ignition"
)

// Secrets of the control plane's certificates; a node needs to know who signs the API, and who signs its clients.
const (
	rootCASecret    = "root-ca"
	kubeletCASecret = "kubelet-client-ca"
	caKey           = "ca.crt"
)

// reachedAnnotation on a token Secret is the time of the first answer to a node.
const reachedAnnotation = "hypershift.openshift.io/ignition-reached"

// Payload renders the Ignition that a token stands for: that of the release and the configuration of the time when it was made.
func (r *Reconciler) Payload(ctx context.Context, token []byte, nodePool string) ([]byte, error) {
	secret, err := r.holder(ctx, token)
	if err != nil {
		return nil, err
	}
	owner := secret.Annotations[api.NodePoolAnnotation]
	if nodePool != "" && nodePool != owner {
		return nil, ignition.ErrForbidden
	}
	namespace, name, _ := strings.Cut(owner, "/")
	pool := &hypershiftv1beta1.NodePool{}
	if err := r.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, pool); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, ignition.ErrNotFound
		}
		return nil, wrap(err, "read nodepool "+owner)
	}
	s := &scope{pool: pool, plane: &hypershiftv1beta1.HostedControlPlane{}}
	key := client.ObjectKey{Namespace: secret.Namespace, Name: pool.Spec.ClusterName}
	if err := r.Client.Get(ctx, key, s.plane); err != nil {
		return nil, wrap(err, "read hostedcontrolplane "+key.String())
	}
	if err := json.Unmarshal(secret.Data[keyConfig], &s.configs); err != nil {
		return nil, wrap(err, "read configuration of nodepool "+owner)
	}
	version, components, err := r.Releases.ReleaseComponents(ctx, secret.Namespace, string(secret.Data[keyRelease]))
	if err != nil {
		return nil, wrap(err, "resolve release of nodepool "+owner)
	}
	s.release = release{version, components}
	payload, err := r.render(ctx, s)
	if err != nil {
		return nil, wrap(err, "render ignition of nodepool "+owner)
	}
	return payload, r.noteReached(ctx, secret)
}

// holder is the Secret with the token. All are compared, in constant time each.
func (r *Reconciler) holder(ctx context.Context, token []byte) (*corev1.Secret, error) {
	secrets := &corev1.SecretList{}
	if err := r.Client.List(ctx, secrets, client.HasLabels{api.TokenSecretLabel}); err != nil {
		return nil, wrap(err, "list token secrets")
	}
	var found *corev1.Secret
	for i := range secrets.Items {
		known := secrets.Items[i].Data[keyToken]
		if subtle.ConstantTimeCompare(known, token) == 1 && len(known) > 0 && secrets.Items[i].DeletionTimestamp.IsZero() {
			found = &secrets.Items[i]
		}
	}
	if found == nil {
		return nil, ignition.ErrForbidden
	}
	return found, nil
}

// noteReached is how the controller, which alone writes conditions, learns that a node was here.
func (r *Reconciler) noteReached(ctx context.Context, secret *corev1.Secret) error {
	if secret.Annotations[reachedAnnotation] != "" {
		return nil
	}
	next := secret.DeepCopy()
	next.Annotations[reachedAnnotation] = r.Now().UTC().Format(time.RFC3339)
	return wrap(client.IgnoreNotFound(r.Client.Patch(ctx, next, client.MergeFrom(secret))), "note the first answer for "+secret.Name)
}

// render gathers what the nodes of a pool are told.
func (r *Reconciler) render(ctx context.Context, s *scope) ([]byte, error) {
	bootstrap := &corev1.Secret{}
	key := client.ObjectKey{Namespace: s.plane.Namespace, Name: bootstrapName(s.pool)}
	if err := r.Client.Get(ctx, key, bootstrap); err != nil {
		return nil, wrap(err, "read bootstrap token")
	}
	ca, err := r.apiCA(ctx, s.plane.Namespace)
	if err != nil {
		return nil, err
	}
	pullSecret := &corev1.Secret{}
	key.Name = s.plane.Spec.PullSecret.Name
	if err := r.Client.Get(ctx, key, pullSecret); err != nil {
		return nil, wrap(err, "read pull secret")
	}
	components := map[string]ignition.ComponentContent{}
	for name, ref := range s.release.components {
		repository, layers, err := r.Releases.Content(ctx, ref)
		if err != nil {
			return nil, wrap(err, "read layers of component "+name)
		}
		// Named where it lies: a node starts whatever becomes of the mirror sets.
		_, digest, _ := strings.Cut(ref, "@")
		components[name] = ignition.ComponentContent{Ref: r.Site.Registry + "/" + repository + "@" + digest, Layers: layers}
	}
	in := ignition.NodeInput{
		ClusterName: s.plane.Name, MirrorView: s.plane.Namespace, APIServerURL: apiURL(s.plane), APICA: ca,
		BootstrapToken: string(bootstrap.Data[keyTokenID]) + "." + string(bootstrap.Data[keyTokenSecret]),
		Registry:       r.Site.Registry, SiteCA: r.Site.CA, PullSecret: pullSecret.Data[corev1.DockerConfigJsonKey], NTPSources: r.Site.NTPSources,
		Components: components, NodeLabels: nodeLabels(s.pool), Taints: taints(s.pool.Spec.Taints), UserConfigs: s.configs,
	}
	for _, network := range s.plane.Spec.Networking.ServiceNetwork {
		if in.ServiceCIDRs, err = appendPrefix(in.ServiceCIDRs, network.CIDR.String()); err != nil {
			return nil, wrap(err, "read service network")
		}
	}
	for _, network := range s.plane.Spec.Networking.ClusterNetwork {
		if in.ClusterCIDRs, err = appendPrefix(in.ClusterCIDRs, network.CIDR.String()); err != nil {
			return nil, wrap(err, "read cluster network")
		}
	}
	for _, network := range s.plane.Spec.Networking.MachineNetwork {
		if in.MachineCIDRs, err = appendPrefix(in.MachineCIDRs, network.CIDR.String()); err != nil {
			return nil, wrap(err, "read machine network")
		}
	}
	return ignition.Node(in)
}

// apiCA is one bundle: the signer of the API, and that of the API's client certificate for kubelets.
func (r *Reconciler) apiCA(ctx context.Context, namespace string) ([]byte, error) {
	var bundle []byte
	for _, name := range []string{rootCASecret, kubeletCASecret} {
		secret := &corev1.Secret{}
		err := r.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, secret)
		if apierrors.IsNotFound(err) && name == kubeletCASecret {
			continue
		}
		if err != nil {
			return nil, wrap(err, "read secret "+name)
		}
		if len(secret.Data[caKey]) == 0 {
			return nil, errors.New("secret " + name + " has no key " + caKey)
		}
		bundle = append(bundle, strings.TrimSpace(string(secret.Data[caKey]))+"\n"...)
	}
	return bundle, nil
}

// apiURL has the API's name in the site's DNS, or its address where there is no domain.
func apiURL(plane *hypershiftv1beta1.HostedControlPlane) string {
	host := plane.Status.ControlPlaneEndpoint.Host
	if domain := plane.Spec.DNS.BaseDomain; domain != "" {
		host = "api." + plane.Name + "." + domain
	}
	return "https://" + net.JoinHostPort(host, strconv.Itoa(int(plane.Status.ControlPlaneEndpoint.Port)))
}

func appendPrefix(to []netip.Prefix, text string) ([]netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return nil, err
	}
	return append(to, prefix), nil
}

// nodeLabels are those of the pool and the pool's own.
func nodeLabels(pool *hypershiftv1beta1.NodePool) map[string]string {
	labels := map[string]string{hypershiftv1beta1.NodePoolLabel: pool.Name}
	for key, value := range pool.Spec.NodeLabels {
		labels[key] = value
	}
	return labels
}
