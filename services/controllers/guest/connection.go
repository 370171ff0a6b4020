package guest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Limits of our own requests to one hosted API; watches do not count.
const (
	requestsPerSecond = 20
	requestsAtOnce    = 40
)

// connection is one hosted cluster's client and the cache behind it.
type connection struct {
	kubeconfig digest
	client     client.Client
	// synced and before are guarded by Clients.mu; before answers until this one has synced.
	synced bool
	before *connection

	stop    context.CancelFunc
	running sync.WaitGroup
}

// close ends a connection and those before it; it must not be called with Clients.mu held.
func (o *connection) close() {
	for one := o; one != nil; one = one.before {
		one.stop()
		one.running.Wait()
	}
}

// connect starts a connection unless there is one with this kubeconfig. It does not wait for the cluster.
func (c *Clients) connect(ctx context.Context, cluster types.NamespacedName, kubeconfig []byte) error {
	sum := digest(sha256.Sum256(kubeconfig))
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.clusters[cluster]
	if c.closed || old != nil && old.kubeconfig == sum {
		return nil
	}
	config, err := restConfig(kubeconfig)
	if err != nil {
		return err
	}
	one, store, err := newConnection(config, sum)
	if err != nil {
		return err
	}
	// The connection outlives this look: it ends by disconnect or with the manager.
	ctx, one.stop = context.WithCancel(context.WithoutCancel(ctx))
	if err := c.follow(ctx, cluster, store); err != nil {
		one.stop()
		return err
	}
	one.before = old
	c.clusters[cluster] = one
	one.running.Go(func() {
		// It returns when ctx ends; a cluster that does not answer is asked again and again by the informers.
		_ = store.Start(ctx)
	})
	one.running.Go(func() {
		if store.WaitForCacheSync(ctx) {
			c.takeOver(cluster, one)
		}
	})
	return nil
}

// takeOver lets a connection answer that has seen its cluster.
func (c *Clients) takeOver(cluster types.NamespacedName, one *connection) {
	c.mu.Lock()
	before := one.before
	one.synced, one.before = true, nil
	c.mu.Unlock()
	c.wake(cluster)
	if before != nil {
		before.close()
	}
}

func newConnection(config *rest.Config, sum digest) (*connection, cache.Cache, error) {
	mapper, scheme := staticMapper(), clientgoscheme.Scheme
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, nil, fmt.Errorf("make HTTP client: %w", err)
	}
	strip := cache.ByObject{Transform: cache.TransformStripManagedFields()}
	store, err := cache.New(config, cache.Options{
		HTTPClient: httpClient, Scheme: scheme, Mapper: mapper,
		ByObject: map[client.Object]cache.ByObject{&corev1.Node{}: strip, &certificatesv1.CertificateSigningRequest{}: strip},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("make cache: %w", err)
	}
	inside, err := client.New(config, client.Options{
		HTTPClient: httpClient, Scheme: scheme, Mapper: mapper,
		Cache: &client.CacheOptions{Reader: store, DisableFor: []client.Object{&corev1.Secret{}, &rbacv1.ClusterRoleBinding{}}},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("make client: %w", err)
	}
	return &connection{kubeconfig: sum, client: inside}, store, nil
}

// follow wakes our users with every change of what the cache holds.
func (c *Clients) follow(ctx context.Context, cluster types.NamespacedName, store cache.Cache) error {
	changed := toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { c.wake(cluster) },
		UpdateFunc: func(_, _ any) { c.wake(cluster) },
		DeleteFunc: func(any) { c.wake(cluster) },
	}
	for _, kind := range []client.Object{&corev1.Node{}, &certificatesv1.CertificateSigningRequest{}} {
		informer, err := store.GetInformer(ctx, kind, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("watch %T: %w", kind, err)
		}
		if _, err := informer.AddEventHandler(changed); err != nil {
			return fmt.Errorf("watch %T: %w", kind, err)
		}
	}
	return nil
}

func (c *Clients) disconnect(cluster types.NamespacedName) {
	c.mu.Lock()
	one := c.clusters[cluster]
	delete(c.clusters, cluster)
	if one != nil {
		delete(c.prepared, one.kubeconfig)
	}
	c.mu.Unlock()
	if one == nil {
		return
	}
	one.close()
	c.wake(cluster)
}

func restConfig(kubeconfig []byte) (*rest.Config, error) {
	if len(kubeconfig) == 0 {
		return nil, errors.New("the kubeconfig is empty")
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	config.UserAgent, config.QPS, config.Burst = "slipway", requestsPerSecond, requestsAtOnce
	return config, nil
}

// staticMapper spares every connection the questions what the API serves: these kinds are in all releases.
func staticMapper() meta.RESTMapper {
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Node"), meta.RESTScopeRoot)
	mapper.Add(certificatesv1.SchemeGroupVersion.WithKind("CertificateSigningRequest"), meta.RESTScopeRoot)
	mapper.Add(rbacv1.SchemeGroupVersion.WithKind("ClusterRoleBinding"), meta.RESTScopeRoot)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Secret"), meta.RESTScopeNamespace)
	return mapper
}
