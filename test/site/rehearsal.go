package site

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/services/api"
)

// Cluster that a rehearsal makes.
const (
	ClusterNamespace = "clusters"
	ClusterName      = "demo"
)

// demoImage greets; it is part of every release that Slipway builds.
const demoImage = "registry.slipway.io/release/demo"

// Rehearsal is the main job from power-on to Ready nodes, step by step.
type Rehearsal struct {
	*Site
	Report *Report
	// Management is set by Start, Hosted and HostedConfig by CreateCluster.
	Management   client.Client
	Hosted       *kubernetes.Clientset
	HostedConfig *rest.Config
}

// Start runs the appliance and waits for its API and boot artifacts.
func (r *Rehearsal) Start(ctx context.Context) error {
	r.Report.Say("appliance", "start of `slipway up`")
	if err := r.StartAppliance(); err != nil {
		return err
	}
	management, err := r.Site.Management(ctx)
	if err != nil {
		return err
	}
	r.Management = management
	r.Report.Say("appliance", "management API answers, boot artifacts are published")
	return nil
}

// PowerOn starts every machine.
func (r *Rehearsal) PowerOn() error {
	for _, machine := range r.Machines {
		if machine.Running() {
			continue
		}
		if err := machine.PowerOn(); err != nil {
			return err
		}
		r.Report.Say(machine.Name, "power on (%s, boots from its disk, or from the network while that is empty)", machine.Firmware)
	}
	return nil
}

// Discover waits until that many machines are known Agents that nobody has approved, approves all with the operator's verb and waits for the verdict.
func (r *Rehearsal) Discover(ctx context.Context, count int) error {
	known := func(agent *agentv1beta1.Agent) bool {
		return slices.Contains([]string{api.StateKnownUnbound, api.StateInsufficientUnbound}, agent.Status.DebugInfo.State)
	}
	if err := r.SomeAgents(ctx, r.Management, r.Report, count, "machines are in the inventory", 10*time.Minute, known); err != nil {
		return err
	}
	if err := r.Approve(ctx); err != nil {
		return err
	}
	return r.SomeAgents(ctx, r.Management, r.Report, count, "agents are approved and known", time.Minute, func(agent *agentv1beta1.Agent) bool {
		return agent.Spec.Approved && agent.Status.DebugInfo.State == api.StateKnownUnbound
	})
}

// Approve names and approves every host that is in the inventory by now.
func (r *Rehearsal) Approve(ctx context.Context) error {
	if err := r.name(ctx); err != nil {
		return err
	}
	return r.Verb(ctx, "approve", "--all")
}

// name gives every host the hostname that people know it by.
func (r *Rehearsal) name(ctx context.Context) error {
	list := &agentv1beta1.AgentList{}
	if err := r.Management.List(ctx, list); err != nil {
		return fmt.Errorf("list agents: %w", err)
	}
	for i := range list.Items {
		agent := &list.Items[i]
		before := agent.DeepCopy()
		agent.Spec.Hostname = r.hostOf(agent)
		if err := r.Management.Patch(ctx, agent, client.MergeFrom(before)); err != nil {
			return fmt.Errorf("name agent %s: %w", agent.Name, err)
		}
	}
	return nil
}

// CreateCluster makes the hosted cluster with the operator's verb, which gets further flags, and waits for its API.
func (r *Rehearsal) CreateCluster(ctx context.Context, replicas int, flags ...string) error {
	err := r.Verb(ctx, append([]string{
		"create", "cluster", "agent", "--name", ClusterName, "--namespace", ClusterNamespace, "--node-pool-replicas", fmt.Sprint(replicas),
	}, flags...)...)
	if err != nil {
		return err
	}
	key := client.ObjectKey{Namespace: ClusterNamespace, Name: ClusterName}
	if err := r.ClusterAvailable(ctx, r.Management, r.Report, key, 5*time.Minute); err != nil {
		return err
	}
	r.Hosted, r.HostedConfig, err = Hosted(ctx, r.Management, ClusterNamespace, ClusterName)
	return err
}

// Join waits until the NodePool's machines are installed and Ready.
func (r *Rehearsal) Join(ctx context.Context, replicas int) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		// Only its lines count: whether the nodes came is judged below.
		_ = r.Agents(watching, r.Management, r.Report, "agents", time.Hour, func(*agentv1beta1.Agent) bool { return false })
	}()
	err := r.NodesReady(ctx, r.Hosted, r.Report, replicas, 15*time.Minute)
	stop()
	<-watched
	return err
}

// Scale sets the NodePool's replicas.
func (r *Rehearsal) Scale(ctx context.Context, replicas int32) error {
	pool := &hypershiftv1beta1.NodePool{}
	if err := r.Management.Get(ctx, client.ObjectKey{Namespace: ClusterNamespace, Name: ClusterName}, pool); err != nil {
		return fmt.Errorf("read NodePool: %w", err)
	}
	before := pool.DeepCopy()
	pool.Spec.Replicas = &replicas
	if err := r.Management.Patch(ctx, pool, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("scale NodePool: %w", err)
	}
	r.Report.Say("-", "NodePool %s scaled to %d", ClusterName, replicas)
	return nil
}

// Pods runs one pod per node and says what it printed.
func (r *Rehearsal) Pods(ctx context.Context) error {
	nodes, err := r.Hosted.CoreV1().Nodes().List(ctx, listAll)
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	image, err := r.demoImage(ctx)
	if err != nil {
		return err
	}
	for _, node := range nodes.Items {
		logged, executed, err := r.PodOutput(ctx, r.Hosted, r.HostedConfig, image, node.Name)
		if err != nil {
			return err
		}
		r.Report.Say(node.Name, "pod log: %s", logged)
		r.Report.Say(node.Name, "pod exec: %s", executed)
	}
	for i, node := range nodes.Items[1:] {
		other := nodes.Items[i].Name
		answer, err := r.Reach(ctx, r.Hosted, r.HostedConfig, node.Name, other)
		if err != nil {
			return err
		}
		r.Report.Say(node.Name, "pod asks the pod of %s: %s", other, answer)
	}
	return nil
}

// OnNode gives the output of a command of the node's own OS.
func (r *Rehearsal) OnNode(ctx context.Context, node string, command ...string) (string, error) {
	image, err := r.demoImage(ctx)
	if err != nil {
		return "", err
	}
	return r.Site.OnNode(ctx, r.Hosted, r.HostedConfig, image, node, command...)
}

// InPod gives the output of a command in the pod that Pods left on a node.
func (r *Rehearsal) InPod(ctx context.Context, node string, command ...string) (string, error) {
	return execute(ctx, r.Hosted, r.HostedConfig, "hello-"+node, command...)
}

// demoImage is pinned by the release's version as tag: nodes resolve it in the site's registry.
func (r *Rehearsal) demoImage(ctx context.Context) (string, error) {
	cluster := &hypershiftv1beta1.HostedCluster{}
	if err := r.Management.Get(ctx, client.ObjectKey{Namespace: ClusterNamespace, Name: ClusterName}, cluster); err != nil {
		return "", fmt.Errorf("read HostedCluster: %w", err)
	}
	_, version, ok := strings.Cut(filepath.Base(cluster.Spec.Release.Image), ":")
	if !ok {
		return "", fmt.Errorf("release image %s has no tag", cluster.Spec.Release.Image)
	}
	return demoImage + ":" + version, nil
}

// Verb runs an operator's verb of the slipway binary and says what it printed.
func (r *Rehearsal) Verb(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, r.Slipway, append(args, "--kubeconfig", r.Kubeconfig())...)
	out, err := cmd.CombinedOutput()
	r.Report.Say("operator", "slipway %s", strings.Join(args, " "))
	for line := range strings.Lines(string(out)) {
		r.Report.Say("operator", "  %s", strings.TrimSpace(line))
	}
	if err != nil {
		return fmt.Errorf("slipway %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// WriteKubeconfig saves the hosted cluster's kubeconfig, as `slipway create kubeconfig` prints it.
func (r *Rehearsal) WriteKubeconfig(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, r.Slipway, "create", "kubeconfig", "--name", ClusterName, "--namespace", ClusterNamespace, "--kubeconfig", r.Kubeconfig())
	text, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("slipway create kubeconfig: %w", err)
	}
	path := filepath.Join(r.Dir, ClusterName+".kubeconfig")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return "", fmt.Errorf("write kubeconfig: %w", err)
	}
	return path, nil
}

// Kubectl is the release's own kubectl, as the appliance unpacked it.
func (r *Rehearsal) Kubectl(context.Context) (string, error) {
	found, err := filepath.Glob(filepath.Join(r.StateDir(), "content", "*", "usr", "bin", "kubectl"))
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("find kubectl in the content of %s: %w", r.StateDir(), os.ErrNotExist)
	}
	return found[0], nil
}
