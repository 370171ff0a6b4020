//go:build e2e

package gap

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/test/site"
)

// Family is what differs between a site of IPv4 and one of IPv6 alone.
type Family struct {
	Segment site.Segment
	// Machine becomes the node. Other, which may be nil, boots meanwhile.
	Machine, Other *site.Machine
	// Source is the address of the registry on the other side of the gap.
	Source netip.Addr
	// Booted looks at a machine that has become an Agent, Joined at the node and its pod of the image Workload.
	Booted func(ctx context.Context, t *testing.T, r *site.Rehearsal, machine *site.Machine)
	Joined func(ctx context.Context, t *testing.T, r *site.Rehearsal)
}

// Workload is known to nobody at the site but by this name.
const Workload = sourceHost + "/team/hello:v1"

// Run is the whole way: from the source registry by `slipway mirror` to a disk, from the disk into the registry of an appliance that has no release at all,
// and then a hosted cluster of that release whose node pulls the workload by its original name. Without a login nobody pulls but releases.
func Run(t *testing.T, family Family) {
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Minute)
	defer cancel()
	config := site.Under()
	layout := config.Release
	config.Release, config.Segments, config.Machines = "", []site.Segment{family.Segment}, []*site.Machine{family.Machine}
	if family.Other != nil {
		config.Machines = append(config.Machines, family.Other)
	}
	config.Settings = map[string]any{"registry": map[string]any{"htpasswd": htpasswd(t, config.Dir), "anonymousPull": false}}
	opened, err := site.Open(config)
	must(t, err)
	r := &site.Rehearsal{Site: opened, Report: site.NewReport(os.Stdout)}
	t.Cleanup(func() {
		if t.Failed() {
			opened.LastWords(t.Logf)
		}
	})
	s := openSource(t, family.Source, layout, config.Dir)
	disk := filepath.Join(config.Dir, "usb")
	imageSet := filepath.Join(config.Dir, "imageset.yaml")
	must(t, os.WriteFile(imageSet, fmt.Appendf(nil, `apiVersion: mirror.openshift.io/v2alpha1
kind: ImageSetConfiguration
mirror:
  platform: {release: %q}
  additionalImages: [{name: %q}]
`, s.release, Workload), 0o600))
	must(t, s.run(ctx, r, config.Slipway, "mirror", "-c", imageSet, "--ca", s.ca, "--ignore-release-signature", "file://"+disk))

	// From here on nothing happens on the other side.
	checkGap(t, ctx)
	r.Report.Say("appliance", "start of `slipway up` without any release")
	must(t, r.StartAppliance())
	carryIn(t, ctx, r, disk)
	r.Management, err = r.Site.Management(ctx)
	must(t, err)
	applySets(t, ctx, r, disk)
	checkNobodyPulls(t, ctx, r)
	pullSecret := nameNodes(t, ctx, r)

	power(ctx, t, r, family, family.Machine)
	must(t, r.Discover(ctx, 1))
	createCluster(t, ctx, r, s.release, pullSecret)
	t.Run("machines", func(t *testing.T) {
		t.Run(family.Machine.Name, func(t *testing.T) {
			t.Parallel()
			join(ctx, t, r, family)
		})
		if family.Other == nil {
			return
		}
		t.Run(family.Other.Name, func(t *testing.T) {
			t.Parallel()
			power(ctx, t, r, family, family.Other)
			must(t, family.Other.PowerOff())
		})
	})
	must(t, family.Machine.PowerOff())
}

// power the machine on and wait for its Agent.
func power(ctx context.Context, t *testing.T, r *site.Rehearsal, family Family, machine *site.Machine) {
	must(t, machine.PowerOn())
	must(t, r.Until(ctx, machine.Name+" registers", 8*time.Minute, func(ctx context.Context) (bool, string, error) {
		agent, err := r.AgentOf(ctx, r.Management, machine)
		if err != nil || agent == nil || len(agent.Status.Inventory.Interfaces) == 0 {
			return false, "no Agent", err
		}
		return true, "", nil
	}))
	spent, err := machine.CPU()
	must(t, err)
	family.Booted(ctx, t, r, machine)
	r.Report.Say(machine.Name, "booted: firmware %s, %.0f s from power-on to Agent, %.0f s of a processor",
		machine.Firmware, time.Since(machine.PoweredOn()).Seconds(), spent.Seconds())
}

// join waits for the node, and for a pod of what the disk brought.
func join(ctx context.Context, t *testing.T, r *site.Rehearsal, family Family) {
	checkMirroredName(t, ctx, r)
	must(t, r.Join(ctx, 1))
	checkGap(t, ctx)
	logged, executed, err := r.PodOutput(ctx, r.Hosted, r.HostedConfig, Workload, family.Machine.Name)
	must(t, err)
	r.Report.Say(family.Machine.Name, "pod of %s: %s, exec: %s", Workload, logged, executed)
	if family.Joined != nil {
		family.Joined(ctx, t, r)
	}
}

// registryOf the appliance, by address: its DNS answers when it is up.
func registryOf(r *site.Rehearsal) string {
	return net.JoinHostPort(r.Segments[0].Addresses[0].Addr().String(), "5000")
}

// carryIn is what a person does at the site: log in, check the disk, bring it in.
func carryIn(t *testing.T, ctx context.Context, r *site.Rehearsal, disk string) {
	target := registryOf(r)
	auth := filepath.Join(r.Dir, "auth.json")
	must(t, os.WriteFile(auth, fmt.Appendf(nil, `{"auths":{%q:{"username":"carrier","password":"carried"}}}`, target), 0o600))
	sums := exec.CommandContext(ctx, "sha256sum", "--quiet", "-c", "SHA256SUMS")
	sums.Dir = disk
	if out, err := sums.CombinedOutput(); err != nil {
		t.Fatalf("sha256sum -c: %v: %s", err, out)
	}
	must(t, r.Until(ctx, "the registry answers without a release", time.Minute, func(ctx context.Context) (bool, string, error) {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", target)
		if err != nil {
			return false, "", err
		}
		return true, "", conn.Close()
	}))
	if _, err := os.Stat(r.Kubeconfig()); err == nil {
		t.Error("there is a management API, and no release to run it from")
	}
	must(t, command(ctx, r, "site", exec.CommandContext(ctx, r.Slipway, "mirror", "--from", "file://"+disk, "--authfile", auth,
		"--ca", filepath.Join(r.StateDir(), "pki", "site-ca.crt"), "docker://"+target+"/mirror")))
}

// applySets applies what the import wrote with the release's own kubectl.
func applySets(t *testing.T, ctx context.Context, r *site.Rehearsal, disk string) {
	kubectl, err := r.Kubectl(ctx)
	must(t, err)
	resources := filepath.Join(disk, "working-dir", "cluster-resources")
	must(t, command(ctx, r, "site", exec.CommandContext(ctx, kubectl, "--kubeconfig", r.Kubeconfig(), "apply",
		"-f", filepath.Join(resources, "idms-oc-mirror.yaml"), "-f", filepath.Join(resources, "itms-oc-mirror.yaml"))))
}

func createCluster(t *testing.T, ctx context.Context, r *site.Rehearsal, release, pullSecret string) {
	must(t, r.Verb(ctx, "create", "cluster", "agent", "--name", site.ClusterName, "--namespace", site.ClusterNamespace, "--node-pool-replicas", "1",
		"--release-image", release, "--pull-secret", pullSecret))
	key := client.ObjectKey{Namespace: site.ClusterNamespace, Name: site.ClusterName}
	must(t, r.ClusterAvailable(ctx, r.Management, r.Report, key, 5*time.Minute))
	var err error
	r.Hosted, r.HostedConfig, err = site.Hosted(ctx, r.Management, site.ClusterNamespace, site.ClusterName)
	must(t, err)
}

// checkMirroredName: the release is also known by its name in the mirror, to a NodePool that asks for no hosts.
func checkMirroredName(t *testing.T, ctx context.Context, r *site.Rehearsal) {
	pool := &hypershiftv1beta1.NodePool{}
	must(t, r.Management.Get(ctx, client.ObjectKey{Namespace: site.ClusterNamespace, Name: site.ClusterName}, pool))
	_, digest, _ := strings.Cut(pool.Spec.Release.Image, "@")
	second := &hypershiftv1beta1.NodePool{ObjectMeta: metav1.ObjectMeta{Namespace: pool.Namespace, Name: "mirrored"}, Spec: *pool.Spec.DeepCopy()}
	// By the registry's name: NodePools take no image that begins with the bracket of an IPv6 literal.
	second.Spec.Release.Image = "registry." + site.Domain + ":5000/mirror/openshift/release-images@" + digest
	second.Spec.Replicas = new(int32)
	must(t, r.Management.Create(ctx, second))
	must(t, r.Until(ctx, "the mirrored name is a release", time.Minute, func(ctx context.Context) (bool, string, error) {
		if err := r.Management.Get(ctx, client.ObjectKeyFromObject(second), second); err != nil {
			return false, "", err
		}
		for _, condition := range second.Status.Conditions {
			if condition.Type == hypershiftv1beta1.NodePoolValidReleaseImageConditionType {
				return condition.Status == "True", condition.Message, nil
			}
		}
		return false, "no condition", nil
	}))
	must(t, r.Management.Delete(ctx, second))
}

// checkGap: the site knows the source's address and can't reach it.
func checkGap(t *testing.T, ctx context.Context) {
	for _, host := range []string{sourceHost, releaseHost} {
		conn, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, "tcp", net.JoinHostPort(host, "443"))
		if err == nil {
			conn.Close()
			t.Fatalf("the site reaches %s", host)
		}
	}
}

// command runs what a person runs, and says what it printed.
func command(ctx context.Context, r *site.Rehearsal, who string, cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	r.Report.Say(who, "%s %s", filepath.Base(cmd.Path), strings.Join(cmd.Args[1:], " "))
	for line := range strings.Lines(string(out)) {
		r.Report.Say(who, "  %s", strings.TrimSpace(line))
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
