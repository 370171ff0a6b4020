//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/slipway-io/slipway/test/site"
)

// staticNetwork is the page's example: a bond of both NICs, and a VLAN on it with a static IPv6 address.
const staticNetwork = `
interfaces:
- name: bond0
  type: bond
  state: up
  mac-address: "52:54:00:77:00:03"
  ipv4: {enabled: true, dhcp: true}
  ipv6: {enabled: false}
  link-aggregation:
    mode: active-backup
    options: {miimon: "100", primary: eth0}
    port: [eth0, eth1]
- name: bond0.20
  type: vlan
  state: up
  vlan: {base-iface: bond0, id: 20}
  ipv6:
    enabled: true
    address: [{ip: "fd07:20::10", prefix-length: 64}]
`

// showNetwork makes the live system say on its console what its network is.
const showNetwork = `{"ignition": {"version": "3.2.0"}, "systemd": {"units": [{"name": "show-network.service", "enabled": true, "contents":
"[Unit]\nWants=network-online.target\nAfter=network-online.target\n[Service]\nType=oneshot\nExecStart=/bin/sh -c '(nmcli -c no -t -f NAME,TYPE,DEVICE connection show --active; ip -brief address) >/dev/ttyS0'\n[Install]\nWantedBy=multi-user.target\n"}]}}`

// shown is what nmcli and ip say where the network is as it was asked for.
var shown = []string{":bond:bond0", ":vlan:bond0.20", "fd07:20::10/64"}

// describeNetwork gives a machine's network to the InfraEnv that it boots from.
func describeNetwork(t *testing.T, ctx context.Context, r *site.Rehearsal, machine *site.Machine) {
	envs := &agentv1beta1.InfraEnvList{}
	must(t, r.Management.List(ctx, envs))
	infraEnv := &envs.Items[0]
	raw, err := yaml.YAMLToJSON([]byte(staticNetwork))
	must(t, err)
	config := &agentv1beta1.NMStateConfig{
		ObjectMeta: metav1.ObjectMeta{Name: machine.Name, Namespace: infraEnv.Namespace, Labels: map[string]string{"network": "site"}},
		Spec:       agentv1beta1.NMStateConfigSpec{NetConfig: agentv1beta1.NetConfig{Raw: raw}},
	}
	for i, mac := range machine.MACs() {
		config.Spec.Interfaces = append(config.Spec.Interfaces, &agentv1beta1.Interface{Name: []string{"eth0", "eth1"}[i], MacAddress: mac})
	}
	must(t, r.Management.Create(ctx, config))
	// The time by which the new image is told from the old one has seconds.
	time.Sleep(time.Until(infraEnv.Status.CreatedTime.Add(time.Second)))
	before := infraEnv.DeepCopy()
	infraEnv.Spec.NMStateConfigLabelSelector = metav1.LabelSelector{MatchLabels: config.Labels}
	infraEnv.Spec.IgnitionConfigOverride = showNetwork
	must(t, r.Management.Patch(ctx, infraEnv, client.MergeFrom(before)))
	must(t, r.Until(ctx, "InfraEnv with static networking", time.Minute, func(ctx context.Context) (bool, string, error) {
		if err := r.Management.Get(ctx, client.ObjectKeyFromObject(before), infraEnv); err != nil {
			return false, "", err
		}
		return infraEnv.Status.CreatedTime.After(before.Status.CreatedTime.Time), infraEnv.Status.Conditions[0].Message, nil
	}))
}

// checkLiveNetwork reads what the live system says.
func checkLiveNetwork(t *testing.T, ctx context.Context, r *site.Rehearsal, machine *site.Machine) {
	must(t, r.Until(ctx, "live network of "+machine.Name, time.Minute, func(context.Context) (bool, string, error) {
		console, err := os.ReadFile(machine.Console())
		if err != nil {
			return false, "", err
		}
		for _, want := range shown {
			if !bytes.Contains(console, []byte(want)) {
				return false, "its console shows no " + want, nil
			}
		}
		return true, "", nil
	}))
}

// checkInstalledNetwork asks the installed system.
func checkInstalledNetwork(t *testing.T, ctx context.Context, r *site.Rehearsal, machine *site.Machine) {
	out, err := r.OnNode(ctx, machine.Name, "/bin/sh", "-c", "nmcli -c no -t -f NAME,TYPE,DEVICE connection show --active; ip -brief address")
	must(t, err)
	t.Logf("%s:\n%s", machine.Name, out)
	for _, want := range shown {
		if !strings.Contains(out, want) {
			t.Errorf("the installed system of %s shows no %q", machine.Name, want)
		}
	}
}
