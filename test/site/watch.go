package site

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/services/api"
)

// Interval between looks at the site; it only decides how fine the printed times are.
const interval = 500 * time.Millisecond

// Until looks again and again until look is content. Its last word is in the error.
func (s *Site) Until(ctx context.Context, what string, limit time.Duration, look func(context.Context) (done bool, word string, err error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	last := "nothing yet"
	for {
		done, word, err := look(ctx)
		switch {
		case done:
			return nil
		case err != nil:
			last = err.Error()
		case word != "":
			last = word
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s within %s: %w, last seen: %s", what, limit, ctx.Err(), last)
		case end := <-s.ended:
			return fmt.Errorf("%s: the appliance ended (%w), its log is %s", what, errors.Join(end, errors.New("unasked")), s.ApplianceLog())
		case <-tick.C:
		}
	}
}

// Management is a client of the management API, once that answers.
func (s *Site) Management(ctx context.Context) (client.Client, error) {
	var kube client.Client
	err := s.Until(ctx, "management API answers", 2*time.Minute, func(ctx context.Context) (bool, string, error) {
		if _, err := os.Stat(s.Kubeconfig()); err != nil {
			return false, "no kubeconfig yet", nil
		}
		config, err := clientcmd.BuildConfigFromFlags("", s.Kubeconfig())
		if err != nil {
			return false, "", err
		}
		// What is watched by polling must not wait for its own client.
		config.QPS, config.Burst = 200, 400
		scheme, err := api.Scheme()
		if err != nil {
			return false, "", err
		}
		kube, err = client.New(config, client.Options{Scheme: scheme})
		if err != nil {
			return false, "", err
		}
		envs := &agentv1beta1.InfraEnvList{}
		if err := kube.List(ctx, envs); err != nil {
			return false, "", err
		}
		for _, env := range envs.Items {
			if env.Status.BootArtifacts.KernelURL != "" {
				return true, "", nil
			}
		}
		return false, "no InfraEnv with boot artifacts yet", nil
	})
	return kube, err
}

// Hosted gives clients of a hosted cluster from its published kubeconfig.
func Hosted(ctx context.Context, kube client.Client, namespace, name string) (*kubernetes.Clientset, *rest.Config, error) {
	secret := &corev1.Secret{}
	if err := kube.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name + "-admin-kubeconfig"}, secret); err != nil {
		return nil, nil, fmt.Errorf("read kubeconfig of %s: %w", name, err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(secret.Data["kubeconfig"])
	if err != nil {
		return nil, nil, fmt.Errorf("parse kubeconfig of %s: %w", name, err)
	}
	config.Timeout = 20 * time.Second
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, nil, fmt.Errorf("connect to %s: %w", name, err)
	}
	return clients, config, nil
}

// Agents waits until each machine has an Agent for which ready holds, and says every change on the way.
func (s *Site) Agents(ctx context.Context, kube client.Client, report *Report, what string, limit time.Duration, ready func(*agentv1beta1.Agent) bool) error {
	return s.SomeAgents(ctx, kube, report, len(s.Machines), what, limit, ready)
}

// SomeAgents waits for that many or more.
func (s *Site) SomeAgents(ctx context.Context, kube client.Client, report *Report, count int, what string, limit time.Duration, ready func(*agentv1beta1.Agent) bool) error {
	seen := map[string]string{}
	return s.Until(ctx, what, limit, func(ctx context.Context) (bool, string, error) {
		list := &agentv1beta1.AgentList{}
		if err := kube.List(ctx, list); err != nil {
			return false, "", err
		}
		content := 0
		var words []string
		for i := range list.Items {
			agent := &list.Items[i]
			host, word := s.hostOf(agent), agentWord(agent)
			if seen[host] != word {
				seen[host] = word
				report.Say(host, "%s%s", word, s.spent(host))
			}
			words = append(words, host+": "+word)
			if ready(agent) {
				content++
			}
		}
		return content >= count, strings.Join(words, "; "), nil
	})
}

// AgentOf is the machine's Agent, nil while it has none.
func (s *Site) AgentOf(ctx context.Context, kube client.Client, machine *Machine) (*agentv1beta1.Agent, error) {
	list := &agentv1beta1.AgentList{}
	if err := kube.List(ctx, list); err != nil {
		return nil, fmt.Errorf("list agents: %w", err)
	}
	for i := range list.Items {
		if s.hostOf(&list.Items[i]) == machine.Name {
			return &list.Items[i], nil
		}
	}
	return nil, nil
}

// hostOf names the machine behind an Agent.
func (s *Site) hostOf(agent *agentv1beta1.Agent) string {
	for _, machine := range s.Machines {
		for _, nic := range agent.Status.Inventory.Interfaces {
			if slices.Contains(machine.MACs(), strings.ToLower(nic.MacAddress)) {
				return machine.Name
			}
		}
	}
	return agent.Name[:min(8, len(agent.Name))]
}

// spent says what a machine has used of the processors since its power-on, empty when it has no power.
func (s *Site) spent(host string) string {
	for _, machine := range s.Machines {
		if machine.Name != host {
			continue
		}
		if cpu, err := machine.CPU(); err == nil {
			return fmt.Sprintf(" (processor %.0f s)", cpu.Seconds())
		}
	}
	return ""
}

func agentWord(agent *agentv1beta1.Agent) string {
	word := "agent " + agent.Status.DebugInfo.State
	if stage := agent.Status.Progress.CurrentStage; stage != "" {
		word += ", " + string(stage)
		if info := agent.Status.Progress.ProgressInfo; info != "" {
			word += " " + info
		}
	}
	if info := agent.Status.DebugInfo.StateInfo; strings.Contains(agent.Status.DebugInfo.State, "insufficient") || agent.Status.DebugInfo.State == api.StateError {
		word += ": " + info
	}
	return word
}

// ClusterAvailable waits for the HostedCluster and says its condition's changes.
func (s *Site) ClusterAvailable(ctx context.Context, kube client.Client, report *Report, key client.ObjectKey, limit time.Duration) error {
	last := ""
	return s.Until(ctx, "hosted cluster "+key.Name+" is available", limit, func(ctx context.Context) (bool, string, error) {
		cluster := &hypershiftv1beta1.HostedCluster{}
		if err := kube.Get(ctx, key, cluster); err != nil {
			return false, "", err
		}
		condition := meta.FindStatusCondition(cluster.Status.Conditions, string(hypershiftv1beta1.HostedClusterAvailable))
		if condition == nil {
			return false, "no condition Available", nil
		}
		word := fmt.Sprintf("cluster %s: Available=%s (%s) %s", key.Name, condition.Status, condition.Reason, condition.Message)
		if word != last {
			last = word
			report.Say("-", "%s", word)
		}
		return condition.Status == "True", word, nil
	})
}

// NodesReady waits for that many Ready nodes, no more and no fewer.
func (s *Site) NodesReady(ctx context.Context, hosted kubernetes.Interface, report *Report, count int, limit time.Duration) error {
	seen := map[string]string{}
	return s.Until(ctx, fmt.Sprintf("%d nodes are Ready", count), limit, func(ctx context.Context) (bool, string, error) {
		list, err := hosted.CoreV1().Nodes().List(ctx, listAll)
		if err != nil {
			return false, "", err
		}
		ready := 0
		var words []string
		for _, node := range list.Items {
			word := nodeWord(&node)
			if seen[node.Name] != word {
				seen[node.Name] = word
				report.Say(node.Name, "%s%s", word, s.spent(node.Name))
			}
			words = append(words, node.Name+": "+word)
			if strings.HasPrefix(word, "node Ready") {
				ready++
			}
		}
		return ready == count && len(list.Items) == count, strings.Join(words, "; "), nil
	})
}

func nodeWord(node *corev1.Node) string {
	for _, condition := range node.Status.Conditions {
		if condition.Type != corev1.NodeReady {
			continue
		}
		if condition.Status == corev1.ConditionTrue {
			return fmt.Sprintf("node Ready (%s, %s)", node.Status.NodeInfo.KubeletVersion, node.Status.NodeInfo.ContainerRuntimeVersion)
		}
		return "node not Ready: " + condition.Message
	}
	return "node registered"
}
