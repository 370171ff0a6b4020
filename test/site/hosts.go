package site

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/slipway-io/slipway/services/api"
)

// Where the appliance keeps its hosts, the InfraEnv that it makes, and itself.
const (
	HostNamespace      = "slipway"
	defaultInfraEnv    = "default"
	applianceNamespace = "slipway-system"
)

// Manifests is the file with the BareMetalHosts, as a person writes it.
func (s *Site) Manifests() string { return filepath.Join(s.Dir, "hosts.yaml") }

// WriteManifests of every machine that has a BMC: the CA of the site's BMCs, and for each a Secret and a BareMetalHost.
func (s *Site) WriteManifests() error {
	objects := []any{map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"namespace": applianceNamespace, "name": api.SiteBMCCA},
		"data": map[string]any{"ca.crt": string(s.bmcCA)},
	}}
	for _, machine := range s.Machines {
		if machine.BMC != nil {
			objects = append(objects, machine.manifests()...)
		}
	}
	var text bytes.Buffer
	for i, object := range objects {
		one, err := yaml.Marshal(object)
		if err != nil {
			return fmt.Errorf("render manifests: %w", err)
		}
		if i > 0 {
			text.WriteString("---\n")
		}
		text.Write(one)
	}
	if err := os.WriteFile(s.Manifests(), text.Bytes(), 0o600); err != nil {
		return fmt.Errorf("write manifests: %w", err)
	}
	return nil
}

func (m *Machine) manifests() []any {
	infraEnv, mode := m.BMC.InfraEnv, metal3v1alpha1.UEFI
	if infraEnv == "" {
		infraEnv = defaultInfraEnv
	}
	if m.Firmware == BIOS {
		mode = metal3v1alpha1.Legacy
	}
	return []any{
		map[string]any{
			"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"namespace": HostNamespace, "name": m.Name + "-bmc"},
			"stringData": map[string]any{"username": BMCUser, "password": m.BMC.password},
		},
		map[string]any{
			"apiVersion": metal3v1alpha1.GroupVersion.String(), "kind": "BareMetalHost",
			"metadata": map[string]any{
				"namespace": HostNamespace, "name": m.Name, "labels": map[string]any{api.InfraEnvLabel: infraEnv},
				"annotations": map[string]any{"bmac.agent-install.openshift.io/hostname": m.Name},
			},
			"spec": map[string]any{
				"online": true, "bootMACAddress": m.MAC, "bootMode": mode,
				"bmc": map[string]any{"address": m.BMC.Address(), "credentialsName": m.Name + "-bmc"},
			},
		},
	}
}

// Declare is all that a person does about machines that have BMCs: kubectl apply of the manifests.
func (r *Rehearsal) Declare(ctx context.Context) error {
	if err := r.WriteManifests(); err != nil {
		return err
	}
	kubectl, err := r.Kubectl(ctx)
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, kubectl, "--kubeconfig", r.Kubeconfig(), "apply", "-f", r.Manifests()).CombinedOutput()
	r.Report.Say("operator", "kubectl apply -f %s", r.Manifests())
	for line := range bytes.Lines(out) {
		r.Report.Say("operator", "  %s", bytes.TrimSpace(line))
	}
	if err != nil {
		return fmt.Errorf("kubectl apply: %w: %s", err, out)
	}
	return nil
}

// Inventoried waits until every machine is an Agent that is known and approved, without a hand.
func (r *Rehearsal) Inventoried(ctx context.Context, limit time.Duration) error {
	return r.Agents(ctx, r.Management, r.Report, "every agent is approved and known", limit, func(agent *agentv1beta1.Agent) bool {
		return agent.Spec.Approved && agent.Status.DebugInfo.State == api.StateKnownUnbound
	})
}

// SetOnline is what a person writes to have a machine's power switched.
func (r *Rehearsal) SetOnline(ctx context.Context, machine *Machine, online bool) error {
	host := &metal3v1alpha1.BareMetalHost{}
	if err := r.Management.Get(ctx, client.ObjectKey{Namespace: HostNamespace, Name: machine.Name}, host); err != nil {
		return fmt.Errorf("read BareMetalHost %s: %w", machine.Name, err)
	}
	before := host.DeepCopy()
	host.Spec.Online = online
	if err := r.Management.Patch(ctx, host, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("set spec.online of BareMetalHost %s: %w", machine.Name, err)
	}
	r.Report.Say("operator", "spec.online of %s is %t", machine.Name, online)
	return r.Until(ctx, fmt.Sprintf("power of %s is %t", machine.Name, online), 5*time.Minute, func(context.Context) (bool, string, error) {
		return machine.Running() == online, "", nil
	})
}

// HostsAre waits until every BareMetalHost is in one of the states, and says their changes.
func (r *Rehearsal) HostsAre(ctx context.Context, limit time.Duration, states ...metal3v1alpha1.ProvisioningState) error {
	seen, running := map[string]string{}, map[string]bool{}
	return r.Until(ctx, fmt.Sprintf("every BareMetalHost is %v", states), limit, func(ctx context.Context) (bool, string, error) {
		hosts := &metal3v1alpha1.BareMetalHostList{}
		if err := r.Management.List(ctx, hosts); err != nil {
			return false, "", err
		}
		for _, machine := range r.Machines {
			if machine.BMC != nil && !running[machine.Name] && machine.Running() {
				r.Report.Say(machine.Name, "power on by its BMC (%s)", machine.Firmware)
				running[machine.Name] = true
			}
		}
		there, words := 0, ""
		for _, host := range hosts.Items {
			word := hostWord(&host)
			if seen[host.Name] != word {
				seen[host.Name] = word
				r.Report.Say(host.Name, "%s", word)
			}
			words += host.Name + ": " + word + "; "
			if slices.Contains(states, host.Status.Provisioning.State) {
				there++
			}
		}
		return there > 0 && there == len(hosts.Items), words, nil
	})
}

func hostWord(host *metal3v1alpha1.BareMetalHost) string {
	word := "host " + string(host.Status.Provisioning.State)
	if method := host.Annotations[api.BootMethodAnnotation]; method != "" {
		word += ", boots by " + method
	}
	if host.Status.ErrorMessage != "" {
		word += ": " + host.Status.ErrorMessage
	}
	return word
}

// Remove deletes a BareMetalHost as a person does, and waits until it is gone and its machine off.
func (r *Rehearsal) Remove(ctx context.Context, machine *Machine, limit time.Duration) error {
	host := &metal3v1alpha1.BareMetalHost{ObjectMeta: metav1.ObjectMeta{Namespace: HostNamespace, Name: machine.Name}}
	if err := r.Management.Delete(ctx, host); err != nil {
		return fmt.Errorf("delete BareMetalHost %s: %w", machine.Name, err)
	}
	r.Report.Say("operator", "kubectl delete baremetalhost -n %s %s", HostNamespace, machine.Name)
	err := r.Until(ctx, "BareMetalHost "+machine.Name+" is gone", limit, func(ctx context.Context) (bool, string, error) {
		err := r.Management.Get(ctx, client.ObjectKeyFromObject(host), host)
		if client.IgnoreNotFound(err) != nil {
			return false, "", err
		}
		return err != nil, hostWord(host), nil
	})
	if err != nil {
		return err
	}
	if machine.Running() {
		return fmt.Errorf("BareMetalHost %s is gone and its machine runs", machine.Name)
	}
	r.Report.Say(machine.Name, "host gone, machine off")
	return nil
}

// BMCEvents are what the appliance said of the hosts, for people.
func (r *Rehearsal) BMCEvents(ctx context.Context) ([]corev1.Event, error) {
	events := &corev1.EventList{}
	if err := r.Management.List(ctx, events, client.InNamespace(HostNamespace)); err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	return slices.DeleteFunc(events.Items, func(e corev1.Event) bool { return e.InvolvedObject.Kind != "BareMetalHost" }), nil
}
