package agentapi

import (
	"context"
	"fmt"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// nameField is indexed in the cache and understood by the API server.
const nameField = "metadata.name"

// Index lets the cache find an Agent by name in any namespace.
func Index(ctx context.Context, indexer client.FieldIndexer) error {
	err := indexer.IndexField(ctx, &agentv1beta1.Agent{}, nameField, func(o client.Object) []string { return []string{o.GetName()} })
	if err != nil {
		return fmt.Errorf("index agents by name: %w", err)
	}
	return nil
}

// Kube is Agents and Secrets on the management API.
type Kube struct {
	// Client reads from the cache and writes directly.
	Client client.Client
	// Reader reads directly: what the cache has not seen yet.
	Reader client.Reader
}

// Find implements Agents.
func (k Kube) Find(ctx context.Context, hostID string) (*agentv1beta1.Agent, error) {
	for _, from := range []client.Reader{k.Client, k.Reader} {
		agents := &agentv1beta1.AgentList{}
		if err := from.List(ctx, agents, client.MatchingFields{nameField: hostID}); err != nil {
			return nil, fmt.Errorf("find agent %s: %w", hostID, err)
		}
		if len(agents.Items) > 0 {
			return &agents.Items[0], nil
		}
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Group: agentv1beta1.Group, Resource: "agents"}, hostID)
}

// Create implements Agents.
func (k Kube) Create(ctx context.Context, agent *agentv1beta1.Agent) error {
	if err := k.Client.Create(ctx, agent); err != nil {
		return fmt.Errorf("create agent %s: %w", agent.Name, err)
	}
	return nil
}

// Update implements Agents.
func (k Kube) Update(ctx context.Context, agent *agentv1beta1.Agent, change func(*agentv1beta1.Agent) error) (*agentv1beta1.Agent, error) {
	const tries = 8
	for range tries {
		next := agent.DeepCopy()
		if err := change(next); err != nil {
			return nil, err
		}
		if equality.Semantic.DeepEqual(agent.Status, next.Status) {
			return agent, nil
		}
		err := k.Client.Status().Patch(ctx, next, client.MergeFromWithOptions(agent, client.MergeFromWithOptimisticLock{}))
		if err == nil {
			return next, nil
		}
		if !apierrors.IsConflict(err) {
			return nil, fmt.Errorf("update agent %s: %w", agent.Name, err)
		}
		fresh := &agentv1beta1.Agent{}
		if err := k.Reader.Get(ctx, client.ObjectKeyFromObject(agent), fresh); err != nil {
			return nil, fmt.Errorf("read agent %s: %w", agent.Name, err)
		}
		agent = fresh
	}
	return nil, fmt.Errorf("update agent %s: others wrote %d times in between", agent.Name, tries)
}

// Secret implements Secrets.
func (k Kube) Secret(ctx context.Context, secret client.ObjectKey, key string) ([]byte, error) {
	found := &corev1.Secret{}
	if err := k.Reader.Get(ctx, secret, found); err != nil {
		return nil, fmt.Errorf("read secret %s: %w", secret, err)
	}
	value, is := found.Data[key]
	if !is {
		return nil, fmt.Errorf("secret %s has no key %s", secret, key)
	}
	return value, nil
}

// Follow wakes waiting hosts when their Agent changes and forgets those whose Agent is gone.
func (s *Server) Follow(ctx context.Context, informers cache.Informers) error {
	informer, err := informers.GetInformer(ctx, &agentv1beta1.Agent{})
	if err != nil {
		return fmt.Errorf("watch agents: %w", err)
	}
	name := func(o any) string {
		if gone, is := o.(toolscache.DeletedFinalStateUnknown); is {
			o = gone.Obj
		}
		if agent, is := o.(client.Object); is {
			return agent.GetName()
		}
		return ""
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { s.Wake(name(o)) },
		UpdateFunc: func(_, o any) { s.Wake(name(o)) },
		DeleteFunc: func(o any) { s.sessions.forget(name(o)) },
	})
	if err != nil {
		return fmt.Errorf("watch agents: %w", err)
	}
	return nil
}
