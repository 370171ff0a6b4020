package nodepool

import (
	"strings"
	"testing"
	"time"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	clusterv1 "sigs.k8s.io/cluster-api/api/core/v1beta2"

	"github.com/slipway-io/slipway/services/ignition"
)

func TestHash(t *testing.T) {
	base := hashed{Version: "1.36.3", Components: map[string]string{"kubernetes": "a", "pause": "b"},
		Configs: []ignition.UserConfig{{Name: "x", Data: []byte("y")}}, PullSecret: "pull"}
	first, err := hash(base)
	if err != nil || len(first) != 8 {
		t.Fatalf("hash %q: %v", first, err)
	}
	for name, change := range map[string]func(*hashed){
		"version":     func(h *hashed) { h.Version = "1.36.4" },
		"component":   func(h *hashed) { h.Components = map[string]string{"kubernetes": "a", "pause": "c"} },
		"config":      func(h *hashed) { h.Configs = nil },
		"pull secret": func(h *hashed) { h.PullSecret = "other" },
		"bundle":      func(h *hashed) { h.TrustBundle = "bundle" },
		"nothing":     func(*hashed) {},
	} {
		changed := base
		change(&changed)
		if got, _ := hash(changed); (got == first) != (name == "nothing") {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestStrategy(t *testing.T) {
	for _, c := range []struct {
		name               string
		management         hypershiftv1beta1.NodePoolManagement
		kind               clusterv1.MachineDeploymentRolloutStrategyType
		surge, unavailable string
	}{
		{name: "nothing said", kind: "RollingUpdate", surge: "0", unavailable: "1"},
		{name: "in place", kind: "RollingUpdate", surge: "0", unavailable: "50%", management: hypershiftv1beta1.NodePoolManagement{
			UpgradeType: hypershiftv1beta1.UpgradeTypeInPlace,
			InPlace:     &hypershiftv1beta1.InPlaceUpgrade{MaxUnavailable: ptr.To(intstr.FromString("50%"))},
		}},
		{name: "replace", kind: "RollingUpdate", surge: "1", unavailable: "0", management: hypershiftv1beta1.NodePoolManagement{
			UpgradeType: hypershiftv1beta1.UpgradeTypeReplace,
			Replace: &hypershiftv1beta1.ReplaceUpgrade{Strategy: hypershiftv1beta1.UpgradeStrategyRollingUpdate, RollingUpdate: &hypershiftv1beta1.RollingUpdate{
				MaxSurge: ptr.To(intstr.FromInt32(1)), MaxUnavailable: ptr.To(intstr.FromInt32(0)),
			}},
		}},
		{name: "on delete", kind: "OnDelete", surge: "", unavailable: "", management: hypershiftv1beta1.NodePoolManagement{
			UpgradeType: hypershiftv1beta1.UpgradeTypeReplace, Replace: &hypershiftv1beta1.ReplaceUpgrade{Strategy: hypershiftv1beta1.UpgradeStrategyOnDelete},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := strategy(c.management)
			if got.Type != c.kind || text(got.RollingUpdate.MaxSurge) != c.surge || text(got.RollingUpdate.MaxUnavailable) != c.unavailable {
				t.Errorf("%s, surge %s, unavailable %s", got.Type, text(got.RollingUpdate.MaxSurge), text(got.RollingUpdate.MaxUnavailable))
			}
		})
	}
}

func text(value *intstr.IntOrString) string {
	if value == nil {
		return ""
	}
	return value.String()
}

func TestReplicas(t *testing.T) {
	for _, c := range []struct {
		spec hypershiftv1beta1.NodePoolSpec
		want int32
	}{
		{hypershiftv1beta1.NodePoolSpec{}, 0},
		{hypershiftv1beta1.NodePoolSpec{Replicas: ptr.To(int32(3))}, 3},
		{hypershiftv1beta1.NodePoolSpec{AutoScaling: &hypershiftv1beta1.NodePoolAutoScaling{Min: 2, Max: 5}}, 2},
	} {
		if got := replicas(&hypershiftv1beta1.NodePool{Spec: c.spec}); got != c.want {
			t.Errorf("got %d, want %d", got, c.want)
		}
	}
}

func TestSeconds(t *testing.T) {
	if seconds(nil) != nil {
		t.Error("no duration is not nil")
	}
	if got := seconds(&metav1.Duration{Duration: 90 * time.Second}); *got != 90 {
		t.Errorf("got %d", *got)
	}
}

func TestPlatformProblem(t *testing.T) {
	agent := hypershiftv1beta1.NodePoolPlatform{Type: hypershiftv1beta1.AgentPlatform}
	bad := hypershiftv1beta1.NodePoolPlatform{Type: hypershiftv1beta1.AgentPlatform, Agent: &hypershiftv1beta1.AgentNodePoolPlatform{
		AgentLabelSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}}},
	}}
	for _, c := range []struct {
		name, pool string
		platform   hypershiftv1beta1.NodePoolPlatform
		want       string
	}{
		{"good", "demo", agent, ""},
		{"long name", strings.Repeat("x", 64), agent, "metadata.name"},
		{"aws", "demo", hypershiftv1beta1.NodePoolPlatform{Type: hypershiftv1beta1.AWSPlatform}, "spec.platform.type: AWS"},
		{"selector", "demo", bad, "agentLabelSelector"},
	} {
		t.Run(c.name, func(t *testing.T) {
			pool := &hypershiftv1beta1.NodePool{ObjectMeta: metav1.ObjectMeta{Name: c.pool}}
			pool.Spec.Platform = c.platform
			if got := platformProblem(pool); !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestCurrentToken(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	first, left := currentToken(nil, now)
	if len(first[keyTokenID]) != 6 || len(first[keyTokenSecret]) != 16 || left != 12*time.Hour {
		t.Fatalf("left %s", left)
	}
	for _, c := range []struct {
		after time.Duration
		same  bool
	}{{0, true}, {11 * time.Hour, true}, {12 * time.Hour, false}, {25 * time.Hour, false}} {
		next, left := currentToken(first, now.Add(c.after))
		if same := string(next[keyTokenID]) == string(first[keyTokenID]); same != c.same {
			t.Errorf("after %s: same %t", c.after, same)
		}
		if left <= 0 || left > 12*time.Hour {
			t.Errorf("after %s: left %s", c.after, left)
		}
	}
}

func TestTokenOf(t *testing.T) {
	for name, want := range map[string]string{"user-data-demo-12345678": "token-demo-12345678", "other": "", "user-data-": ""} {
		if got := tokenOf(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestAPIURL(t *testing.T) {
	plane := &hypershiftv1beta1.HostedControlPlane{ObjectMeta: metav1.ObjectMeta{Name: "demo"}}
	plane.Status.ControlPlaneEndpoint = hypershiftv1beta1.APIEndpoint{Host: "fd00::2", Port: 30001}
	if got := apiURL(plane); got != "https://[fd00::2]:30001" {
		t.Error(got)
	}
	plane.Spec.DNS.BaseDomain = "site.example"
	if got := apiURL(plane); got != "https://api.demo.site.example:30001" {
		t.Error(got)
	}
}
