package guest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	rbacv1ac "k8s.io/client-go/applyconfigurations/rbac/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// deadline of what is written into a cluster: an API that hangs must not hold its caller for ever.
const deadline = 10 * time.Second

const (
	owner           = client.FieldOwner("slipway")
	tokenNamespace  = metav1.NamespaceSystem
	tokenNamePrefix = "bootstrap-token-"
	// Bootstrappers is the group of everybody who holds a bootstrap token.
	Bootstrappers = "system:bootstrappers"
)

// Bootstrap makes what a fresh cluster needs before the first node comes: who may ask for a node's certificate, and that nodes
// may run kube-proxy. Nobody is granted an automatic approval: the csr controller approves what belongs to an Agent.
func (c *Clients) Bootstrap(ctx context.Context, kubeconfig []byte) error {
	sum := digest(sha256.Sum256(kubeconfig))
	c.mu.Lock()
	done := c.prepared[sum]
	c.mu.Unlock()
	if done {
		return nil
	}
	config, err := restConfig(kubeconfig)
	if err != nil {
		return fmt.Errorf("prepare hosted cluster: %w", err)
	}
	inside, err := client.New(config, client.Options{Scheme: clientgoscheme.Scheme, Mapper: staticMapper()})
	if err != nil {
		return fmt.Errorf("prepare hosted cluster: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	for _, binding := range []*rbacv1ac.ClusterRoleBindingApplyConfiguration{
		bind("slipway:node-bootstrapper", "system:node-bootstrapper", Bootstrappers),
		bind("slipway:node-proxier", "system:node-proxier", "system:nodes"),
	} {
		if err := inside.Apply(ctx, binding, owner, client.ForceOwnership); err != nil {
			return fmt.Errorf("prepare hosted cluster: apply clusterrolebinding %s: %w", *binding.Name, err)
		}
	}
	c.mu.Lock()
	c.prepared[sum] = true
	c.mu.Unlock()
	return nil
}

func bind(name, role, group string) *rbacv1ac.ClusterRoleBindingApplyConfiguration {
	return rbacv1ac.ClusterRoleBinding(name).
		WithRoleRef(rbacv1ac.RoleRef().WithAPIGroup(rbacv1.GroupName).WithKind("ClusterRole").WithName(role)).
		WithSubjects(rbacv1ac.Subject().WithAPIGroup(rbacv1.GroupName).WithKind(rbacv1.GroupKind).WithName(group))
}

// Token lets kubelets ask for their first certificate; on a host it is <ID>.<Secret>.
type Token struct {
	// ID has 6 and Secret 16 characters of a-z and 0-9.
	ID, Secret string
	// Expires ends it; the cluster removes it by itself.
	Expires time.Time
	// Description says whose it is.
	Description string
}

// KeepToken makes a token valid in a cluster, or changes when it expires.
func (c *Clients) KeepToken(ctx context.Context, cluster types.NamespacedName, token Token) error {
	inside, err := c.Client(cluster)
	if err != nil {
		return fmt.Errorf("keep bootstrap token: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	secret := corev1ac.Secret(tokenNamePrefix+token.ID, tokenNamespace).
		WithType(corev1.SecretTypeBootstrapToken).
		WithStringData(map[string]string{
			"token-id": token.ID, "token-secret": token.Secret, "description": token.Description,
			"expiration":                     token.Expires.UTC().Format(time.RFC3339),
			"usage-bootstrap-authentication": "true",
		})
	if err := inside.Apply(ctx, secret, owner, client.ForceOwnership); err != nil {
		return fmt.Errorf("keep bootstrap token in hosted cluster %s: %w", cluster, err)
	}
	return nil
}

// DropToken makes a token invalid at once.
func (c *Clients) DropToken(ctx context.Context, cluster types.NamespacedName, id string) error {
	inside, err := c.Client(cluster)
	if err != nil {
		return fmt.Errorf("drop bootstrap token: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: tokenNamespace, Name: tokenNamePrefix + id}}
	if err := inside.Delete(ctx, secret); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("drop bootstrap token in hosted cluster %s: %w", cluster, err)
	}
	return nil
}
