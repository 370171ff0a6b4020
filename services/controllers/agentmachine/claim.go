package agentmachine

import (
	"context"
	"strings"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/slipway-io/slipway/services/api"
	capiagentv1beta1 "github.com/slipway-io/slipway/services/api/capiagent/v1beta1"
)

const (
	// tokenKey is where agentapi reads the Ignition token.
	tokenKey = "ignition-token"
	// watchLabel marks Secrets that belong to Agents.
	watchLabel = "agent-install.openshift.io/watch"
)

// binding is what an Agent is told when it is claimed.
type binding struct {
	cluster agentv1beta1.ClusterReference
	pool    string
	secret  string
	headers map[string]string
}

// claim binds a free Agent; nil with a condition when that is not possible yet.
func (r *Reconciler) claim(ctx context.Context, s *scope) (*agentv1beta1.Agent, error) {
	if !infrastructureReady(s.cluster) {
		waiting(s.agentMachine, reasonWaitingForCluster, "the hosted control plane does not answer yet")
		return nil, nil
	}
	selector, err := selectorOf(s.agentMachine)
	if err != nil {
		waiting(s.agentMachine, reasonInvalidSelector, err.Error())
		return nil, nil
	}
	data, err := r.bootstrapData(ctx, s)
	if err != nil || data == nil {
		return nil, err
	}
	plane := &hypershiftv1beta1.HostedControlPlane{}
	key := client.ObjectKey{Namespace: s.cluster.Namespace, Name: s.cluster.Spec.ControlPlaneRef.Name}
	if err := r.Client.Get(ctx, key, plane); err != nil {
		return nil, wrap(err, "read hostedcontrolplane "+key.String())
	}
	agents := &agentv1beta1.AgentList{}
	namespace := agentNamespace(plane)
	if err := r.Client.List(ctx, agents, client.InNamespace(namespace)); err != nil {
		return nil, wrap(err, "list agents of namespace "+namespace)
	}
	agent, problem := pick(agents.Items, selector)
	if agent == nil {
		waiting(s.agentMachine, reasonNoSuitableAgents, problem+" (namespace "+namespace+")")
		return nil, nil
	}
	from, err := parseUserData(data.Data["value"])
	if err != nil {
		waiting(s.agentMachine, reasonInvalidData, err.Error())
		return nil, nil
	}
	secret, err := r.tokenSecret(ctx, data, from.token)
	if err != nil {
		return nil, err
	}
	if err := r.finalize(ctx, s.agentMachine); err != nil {
		return nil, err
	}
	if err := r.hook(ctx, s.machine, true); err != nil {
		return nil, err
	}
	return r.bind(ctx, s.agentMachine, agent, binding{
		cluster: agentv1beta1.ClusterReference{Namespace: plane.Namespace, Name: hostedClusterName(plane)},
		pool:    nodePoolName(s.machine), secret: secret, headers: from.headers,
	})
}

// bind writes the claim; a host that changed meanwhile is a conflict, and the look starts over.
func (r *Reconciler) bind(ctx context.Context, machine *capiagentv1beta1.AgentMachine, agent *agentv1beta1.Agent, to binding) (*agentv1beta1.Agent, error) {
	next := agent.DeepCopy()
	if next.Labels == nil {
		next.Labels = map[string]string{}
	}
	if next.Annotations == nil {
		next.Annotations = map[string]string{}
	}
	next.Labels[api.AgentMachineRefLabel] = machine.Name
	next.Annotations[api.AgentMachineRefNamespace] = machine.Namespace
	next.Spec.ClusterDeploymentName = &to.cluster
	next.Spec.MachineConfigPool = to.pool
	next.Spec.IgnitionEndpointTokenReference = &agentv1beta1.IgnitionEndpointTokenReference{Namespace: machine.Namespace, Name: to.secret}
	next.Spec.IgnitionEndpointHTTPHeaders = to.headers
	if err := r.Client.Patch(ctx, next, client.MergeFromWithOptions(agent, client.MergeFromWithOptimisticLock{})); err != nil {
		return nil, wrap(err, "claim agent "+agent.Name)
	}
	log.FromContext(ctx).Info("agent claimed", "host", agent.Name, "cluster", to.cluster.Name, "nodePool", to.pool)
	return next, nil
}

// bootstrapData is the Secret with the Machine's Ignition; nil with a condition when it is not there.
func (r *Reconciler) bootstrapData(ctx context.Context, s *scope) (*corev1.Secret, error) {
	name := s.machine.Spec.Bootstrap.DataSecretName
	if name == nil {
		waiting(s.agentMachine, reasonWaitingForData, "the Machine has no bootstrap data yet")
		return nil, nil
	}
	secret := &corev1.Secret{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: s.machine.Namespace, Name: *name}, secret)
	if apierrors.IsNotFound(err) {
		waiting(s.agentMachine, reasonWaitingForData, "there is no Secret "+*name)
		return nil, wrap(err, "read bootstrap data "+*name)
	}
	return secret, wrap(err, "read bootstrap data "+*name)
}

// tokenSecret holds the token alone, for the service that speaks with the host; it goes away with the bootstrap data.
func (r *Reconciler) tokenSecret(ctx context.Context, data *corev1.Secret, token []byte) (string, error) {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: data.Namespace, Name: "agent-" + data.Name}}
	_, err := controllerutil.CreateOrPatch(ctx, r.Client, secret, func() error {
		if secret.Labels == nil {
			secret.Labels = map[string]string{}
		}
		secret.Labels[watchLabel] = "true"
		secret.Data = map[string][]byte{tokenKey: token}
		return controllerutil.SetOwnerReference(data, secret, r.Client.Scheme())
	})
	return secret.Name, wrap(err, "write token of bootstrap data "+data.Name)
}

// hook adds or removes the pre-terminate hook of a Machine.
func (r *Reconciler) hook(ctx context.Context, machine *clusterv1.Machine, wanted bool) error {
	if _, there := machine.Annotations[hook]; there == wanted {
		return nil
	}
	before := machine.DeepCopy()
	if wanted {
		if machine.Annotations == nil {
			machine.Annotations = map[string]string{}
		}
		machine.Annotations[hook] = ""
	} else {
		delete(machine.Annotations, hook)
	}
	return wrap(client.IgnoreNotFound(r.Client.Patch(ctx, machine, client.MergeFrom(before))), "write hook of machine "+machine.Name)
}

func selectorOf(machine *capiagentv1beta1.AgentMachine) (labels.Selector, error) {
	if machine.Spec.AgentLabelSelector == nil {
		return labels.Everything(), nil
	}
	return metav1.LabelSelectorAsSelector(machine.Spec.AgentLabelSelector)
}

// agentNamespace is where the cluster's owner lets it look for hosts.
func agentNamespace(plane *hypershiftv1beta1.HostedControlPlane) string {
	if agent := plane.Spec.Platform.Agent; agent != nil {
		return agent.AgentNamespace
	}
	return plane.Namespace
}

func hostedClusterName(plane *hypershiftv1beta1.HostedControlPlane) string {
	if _, name, ok := strings.Cut(plane.Annotations[api.HostedClusterAnnotation], "/"); ok {
		return name
	}
	return plane.Name
}

func nodePoolName(machine *clusterv1.Machine) string {
	_, name, _ := strings.Cut(machine.Annotations[api.NodePoolAnnotation], "/")
	return name
}
