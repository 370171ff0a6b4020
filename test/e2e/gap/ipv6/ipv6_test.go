//go:build e2e

// Package ipv6 is a site without a single IPv4 address: images come across the gap, machines into its inventory, and one becomes a node.
package ipv6

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-io/slipway/test/e2e/gap"
	"github.com/slipway-io/slipway/test/site"
)

func TestMain(m *testing.M) { os.Exit(site.Main(m.Run)) }

// shownByPXE is on the console once for each network boot of OVMF by PXE.
const shownByPXE = "NBP filename is snponly.efi"

// TestGap boots over DHCPv6 and router advertisements: by UEFI PXE the machine that becomes the node, by UEFI HTTP boot another.
func TestGap(t *testing.T) {
	pxe := &site.Machine{Name: "pxe6", Firmware: site.UEFI, NoPXE: []string{"IPv4"}}
	http := &site.Machine{Name: "http6", Firmware: site.UEFI, MemoryMiB: 2048, CPUs: 1, NoPXE: []string{"IPv4", "IPv6"}}
	shown := map[*site.Machine]string{pxe: shownByPXE, http: "URI: http://[fd77::2]:8080/loaders/snponly.efi"}
	gap.Run(t, gap.Family{
		Segment: site.Segment{
			Name: "gap6", Addresses: []netip.Prefix{netip.MustParsePrefix("fd77::2/64")},
			DHCP: map[string]any{"mode": "server", "pool": "fd77::1000-fd77::1fff"},
		},
		Machine: pxe, Other: http,
		Source: netip.MustParseAddr("2001:db8::10"),
		Booted: func(ctx context.Context, t *testing.T, r *site.Rehearsal, machine *site.Machine) {
			checkAgent(ctx, t, r, machine)
			console, err := os.ReadFile(machine.Console())
			must(t, err)
			if !bytes.Contains(console, []byte(shown[machine])) {
				t.Errorf("the console of %s shows no %q: it came another way", machine.Name, shown[machine])
			}
		},
		Joined: func(ctx context.Context, t *testing.T, r *site.Rehearsal) {
			if host, want := r.HostedConfig.Host, "https://[fd77::2]:"; !strings.HasPrefix(host, want) {
				t.Errorf("the hosted API is at %s, want %s", host, want)
			}
			checkNode(ctx, t, r, pxe)
			checkLeaving(ctx, t, r, pxe)
		},
	})
}

// checkAgent: it has an address of the pool, and none of IPv4.
func checkAgent(ctx context.Context, t *testing.T, r *site.Rehearsal, machine *site.Machine) {
	agent, err := r.AgentOf(ctx, r.Management, machine)
	must(t, err)
	port := agent.Status.Inventory.Interfaces[0]
	if len(port.IPV4Addresses) > 0 {
		t.Errorf("%s has the IPv4 addresses %v", machine.Name, port.IPV4Addresses)
	}
	for _, address := range port.IPV6Addresses {
		if prefix, err := netip.ParsePrefix(address); err == nil && inPool(prefix.Addr()) {
			return
		}
	}
	t.Errorf("%s has no address of the pool: %v", machine.Name, port.IPV6Addresses)
}

// checkNode asks the pod from the node, and names from the pod.
func checkNode(ctx context.Context, t *testing.T, r *site.Rehearsal, machine *site.Machine) {
	seen, err := r.Hosted.CoreV1().Nodes().Get(ctx, machine.Name, metav1.GetOptions{})
	must(t, err)
	for _, address := range seen.Status.Addresses {
		if ip, err := netip.ParseAddr(address.Address); address.Type == corev1.NodeInternalIP && (err != nil || !inPool(ip)) {
			t.Errorf("the node's address is %s", address.Address)
		}
	}
	pod, err := r.Hosted.CoreV1().Pods(metav1.NamespaceDefault).Get(ctx, "hello-"+machine.Name, metav1.GetOptions{})
	must(t, err)
	if ip, err := netip.ParseAddr(pod.Status.PodIP); err != nil || !netip.MustParsePrefix(seen.Spec.PodCIDR).Contains(ip) || !ip.Is6() || len(pod.Status.PodIPs) != 1 {
		t.Errorf("the pod's addresses are %v, the node's network for pods is %s", pod.Status.PodIPs, seen.Spec.PodCIDR)
	}
	answer, err := r.Site.OnNode(ctx, r.Hosted, r.HostedConfig, gap.Workload, machine.Name,
		"curl", "--silent", "--show-error", "--globoff", "http://["+pod.Status.PodIP+"]:8080")
	must(t, err)
	r.Report.Say(machine.Name, "the node asks its pod at %s: %s", pod.Status.PodIP, strings.TrimSpace(answer))
	if !strings.HasPrefix(answer, "hello from ") {
		t.Errorf("the pod answers %q", answer)
	}
	// The resolver, the name's AAAA record and the way out of the pod's network are all needed for this.
	answer, err = r.InPod(ctx, machine.Name, "/demo", "get", "http://slipway."+site.Domain+":8080/boot.ipxe")
	must(t, err)
	if !strings.HasPrefix(answer, "#!ipxe") {
		t.Errorf("the pod gets from the appliance, by name, %q", answer)
	}
}

// checkLeaving ends the cluster. That a host without a cluster registers again is the spine's to show.
func checkLeaving(ctx context.Context, t *testing.T, r *site.Rehearsal, machine *site.Machine) {
	must(t, r.Verb(ctx, "destroy", "cluster", "agent", "--name", site.ClusterName, "--namespace", site.ClusterNamespace))
	must(t, r.Until(ctx, machine.Name+" leaves the cluster and boots from the network", 5*time.Minute, func(ctx context.Context) (bool, string, error) {
		agent, err := r.AgentOf(ctx, r.Management, machine)
		if err != nil || agent == nil || agent.Spec.ClusterDeploymentName != nil {
			return false, "it is of the cluster still", err
		}
		console, err := os.ReadFile(machine.Console())
		return bytes.Count(console, []byte(shownByPXE)) > 1, "its disk was not wiped yet", err
	}))
	r.Report.Say(machine.Name, "left the cluster, its empty disk makes it boot over IPv6 again")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func inPool(a netip.Addr) bool {
	return netip.MustParseAddr("fd77::1000").Compare(a) <= 0 && a.Compare(netip.MustParseAddr("fd77::1fff")) <= 0
}
