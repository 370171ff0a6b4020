package hostedcluster

import (
	"strings"
	"testing"
	"time"

	configv1 "github.com/openshift/api/config/v1"
	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	"github.com/openshift/hypershift/api/util/ipnet"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func valid() *hypershiftv1beta1.HostedCluster {
	return &hypershiftv1beta1.HostedCluster{
		ObjectMeta: metav1.ObjectMeta{Namespace: "clusters", Name: "demo", Generation: 1},
		Spec: hypershiftv1beta1.HostedClusterSpec{
			Release:    hypershiftv1beta1.Release{Image: "registry.site.example:5000/release/release:1.36.3"},
			PullSecret: corev1.LocalObjectReference{Name: "pull"},
			DNS:        hypershiftv1beta1.DNSSpec{BaseDomain: "site.example"},
			Platform: hypershiftv1beta1.PlatformSpec{
				Type: hypershiftv1beta1.AgentPlatform, Agent: &hypershiftv1beta1.AgentPlatformSpec{AgentNamespace: "slipway"},
			},
			Networking: hypershiftv1beta1.ClusterNetworking{
				ServiceNetwork: []hypershiftv1beta1.ServiceNetworkEntry{{CIDR: *ipnet.MustParseCIDR("172.31.0.0/16")}},
				ClusterNetwork: []hypershiftv1beta1.ClusterNetworkEntry{{CIDR: *ipnet.MustParseCIDR("10.132.0.0/14")}},
			},
			Etcd: hypershiftv1beta1.EtcdSpec{ManagementType: hypershiftv1beta1.Managed},
		},
	}
}

func TestCheckSpec(t *testing.T) {
	if err := checkSpec(valid()); err != nil {
		t.Fatalf("a valid cluster is refused: %v", err)
	}
	for name, change := range map[string]struct {
		change func(*hypershiftv1beta1.HostedCluster)
		want   string
	}{
		"name":       {func(c *hypershiftv1beta1.HostedCluster) { c.Name = "clusters" }, `"clusters" is the name`},
		"long name":  {func(c *hypershiftv1beta1.HostedCluster) { c.Name = strings.Repeat("a", 60) }, "63 characters"},
		"platform":   {func(c *hypershiftv1beta1.HostedCluster) { c.Spec.Platform.Type = "KubeVirt" }, "only Agent is"},
		"no agents":  {func(c *hypershiftv1beta1.HostedCluster) { c.Spec.Platform.Agent = nil }, "agentNamespace"},
		"no secret":  {func(c *hypershiftv1beta1.HostedCluster) { c.Spec.PullSecret.Name = "" }, ".dockerconfigjson"},
		"no domain":  {func(c *hypershiftv1beta1.HostedCluster) { c.Spec.DNS.BaseDomain = "" }, "baseDomain"},
		"no network": {func(c *hypershiftv1beta1.HostedCluster) { c.Spec.Networking.ServiceNetwork = nil }, "serviceNetwork"},
		"own etcd":   {func(c *hypershiftv1beta1.HostedCluster) { c.Spec.Etcd.ManagementType = hypershiftv1beta1.Unmanaged }, "only Managed is"},
		"encryption": {func(c *hypershiftv1beta1.HostedCluster) {
			c.Spec.SecretEncryption = &hypershiftv1beta1.SecretEncryptionSpec{}
		}, "not served yet"},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := valid()
			change.change(cluster)
			err := checkSpec(cluster)
			if err == nil || !strings.Contains(err.Error(), change.want) {
				t.Errorf("%v, want it to contain %q", err, change.want)
			}
		})
	}
}

// TestRollout: a history entry is complete only when the control plane runs that release and is available.
func TestRollout(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	r := &Reconciler{Now: func() time.Time { return now }}
	cluster, plane := valid(), &hypershiftv1beta1.HostedControlPlane{}
	r.observe(cluster, plane, "1.36.3")
	if meta.IsStatusConditionTrue(cluster.Status.Conditions, string(hypershiftv1beta1.HostedClusterAvailable)) {
		t.Fatal("available without a control plane")
	}
	if got := cluster.Status.Version.History[0].State; got != configv1.PartialUpdate {
		t.Fatalf("state %s before the control plane runs", got)
	}
	plane.Status.VersionStatus = &hypershiftv1beta1.ClusterVersionStatus{
		Desired: configv1.Release{Image: cluster.Spec.Release.Image},
		History: []configv1.UpdateHistory{{State: configv1.CompletedUpdate}},
	}
	r.observe(cluster, plane, "1.36.3")
	if got := cluster.Status.Version.History[0].State; got != configv1.PartialUpdate {
		t.Fatalf("state %s while not available", got)
	}
	meta.SetStatusCondition(&plane.Status.Conditions, metav1.Condition{Type: "Available", Status: metav1.ConditionTrue, Reason: "AsExpected"})
	for range 2 {
		r.observe(cluster, plane, "1.36.3")
	}
	if got := cluster.Status.Version.History; len(got) != 1 || got[0].State != configv1.CompletedUpdate {
		t.Fatalf("history %+v", got)
	}
	cluster.Spec.Release.Image += "-next"
	r.observe(cluster, plane, "1.36.4")
	if got := cluster.Status.Version.History; len(got) != 2 || got[0].State != configv1.PartialUpdate {
		t.Fatalf("history after a new release %+v", got)
	}
}
