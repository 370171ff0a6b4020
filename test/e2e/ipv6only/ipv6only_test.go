//go:build e2e

// Package ipv6only is a site without a single IPv4 address: the appliance starts, machines come into its inventory, and one becomes a node.
package ipv6only

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-io/slipway/test/site"
)

func TestMain(m *testing.M) { os.Exit(site.Main(m.Run)) }

// shownByPXE is on the console once for each network boot of OVMF by PXE.
const shownByPXE = "NBP filename is snponly.efi"

// TestIPv6Only boots over DHCPv6 and router advertisements, by UEFI PXE and by UEFI HTTP boot. The first machine goes on to be
// the node of a hosted cluster while the second boots.
func TestIPv6Only(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Minute)
	defer cancel()
	config := site.Under()
	config.Segments = []site.Segment{{
		Name: "site6", Addresses: []netip.Prefix{netip.MustParsePrefix("fd77::2/64")},
		DHCP: map[string]any{"mode": "server", "pool": "fd77::1000-fd77::1fff"},
	}}
	pxe := &site.Machine{Name: "pxe6", Firmware: site.UEFI, NoPXE: []string{"IPv4"}}
	http := &site.Machine{Name: "http6", Firmware: site.UEFI, MemoryMiB: 2048, NoPXE: []string{"IPv4", "IPv6"}}
	config.Machines = []*site.Machine{pxe, http}
	opened, err := site.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	r := &site.Rehearsal{Site: opened, Report: site.NewReport(os.Stdout)}
	if err := r.Start(ctx); err != nil {
		opened.LastWords(t.Logf)
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			r.LastWords(t.Logf)
		}
	})
	t.Run("pxe6", func(t *testing.T) { boot(ctx, t, r, pxe, shownByPXE) })
	if t.Failed() {
		return
	}
	t.Run("machines", func(t *testing.T) {
		t.Run("node", func(t *testing.T) {
			t.Parallel()
			node(ctx, t, r, pxe)
		})
		t.Run("http6", func(t *testing.T) {
			t.Parallel()
			boot(ctx, t, r, http, "URI: http://[fd77::2]:8080/loaders/snponly.efi")
			must(t, http.PowerOff())
		})
	})
	must(t, pxe.PowerOff())
}

// boot powers the machine on and waits for its Agent, which has an address of the pool and none of IPv4.
func boot(ctx context.Context, t *testing.T, r *site.Rehearsal, machine *site.Machine, shown string) {
	start := time.Now()
	must(t, machine.PowerOn())
	must(t, r.Until(ctx, machine.Name+" registers", 8*time.Minute, func(ctx context.Context) (bool, string, error) {
		agent, err := r.AgentOf(ctx, r.Management, machine)
		if err != nil || agent == nil || len(agent.Status.Inventory.Interfaces) == 0 {
			return false, "no Agent", err
		}
		port := agent.Status.Inventory.Interfaces[0]
		if len(port.IPV4Addresses) > 0 {
			return false, "", fmt.Errorf("it has the IPv4 addresses %v", port.IPV4Addresses)
		}
		for _, address := range port.IPV6Addresses {
			if prefix, err := netip.ParsePrefix(address); err == nil && inPool(prefix.Addr()) {
				return true, "", nil
			}
		}
		return false, fmt.Sprint(port.IPV6Addresses), nil
	}))
	console, err := os.ReadFile(machine.Console())
	must(t, err)
	if !bytes.Contains(console, []byte(shown)) {
		t.Errorf("its console shows no %q: it came another way", shown)
	}
	r.Report.Say(machine.Name, "booted: firmware %s, %s, %.0f s from power-on to Agent", machine.Firmware, shown, time.Since(start).Seconds())
}

// node installs the machine for a hosted cluster without IPv4, uses the node, and ends the cluster. That a host without a cluster
// registers again is the spine's to show.
func node(ctx context.Context, t *testing.T, r *site.Rehearsal, machine *site.Machine) {
	must(t, r.Approve(ctx))
	must(t, r.CreateCluster(ctx, 1))
	if host, want := r.HostedConfig.Host, "https://[fd77::2]:"; !strings.HasPrefix(host, want) {
		t.Errorf("the hosted API is at %s, want %s", host, want)
	}
	must(t, r.Join(ctx, 1))
	must(t, r.Pods(ctx))
	checkNode(ctx, t, r, machine)
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
	answer, err := r.OnNode(ctx, machine.Name, "curl", "--silent", "--show-error", "--globoff", "http://["+pod.Status.PodIP+"]:8080")
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

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func inPool(a netip.Addr) bool {
	return netip.MustParseAddr("fd77::1000").Compare(a) <= 0 && a.Compare(netip.MustParseAddr("fd77::1fff")) <= 0
}
