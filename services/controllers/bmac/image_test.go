package bmac

import (
	"strings"
	"testing"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	conditionsv1 "github.com/openshift/custom-resource-status/conditions/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/slipway-io/slipway/services/api"
)

// TestImageFor says where the image is, or what is wrong.
func TestImageFor(t *testing.T) {
	scheme, err := api.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	env := func(name string, is corev1.ConditionStatus, message string) *agentv1beta1.InfraEnv {
		e := &agentv1beta1.InfraEnv{ObjectMeta: metav1.ObjectMeta{Namespace: "hosts", Name: name}}
		e.Status.ISODownloadURL = image
		if is != "" {
			e.Status.Conditions = []conditionsv1.Condition{{Type: agentv1beta1.ImageCreatedCondition, Status: is, Message: message}}
		}
		return e
	}
	leaving := env("leaving", corev1.ConditionTrue, "")
	now := metav1.Now()
	leaving.Finalizers, leaving.DeletionTimestamp = []string{"slipway.io/finalizer"}, &now
	kube := fake.NewClientBuilder().WithScheme(scheme).WithObjects(leaving, env("new", "", ""), env("good", corev1.ConditionTrue, ""),
		env("bad", corev1.ConditionFalse, "the pull secret pull is missing"), env("talkative", corev1.ConditionFalse, strings.Repeat("ä", 10000))).Build()
	for name, want := range map[string]discovery{
		"absent":  {why: "there is no InfraEnv hosts/absent: create it, or name another by the label " + api.InfraEnvLabel},
		"leaving": {why: "InfraEnv hosts/leaving is being deleted"},
		"new":     {},
		"good":    {url: image},
		"bad":     {why: "InfraEnv hosts/bad has no image: the pull secret pull is missing"},
	} {
		got, err := imageFor(t.Context(), kube, client.ObjectKey{Namespace: "hosts", Name: name})
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, want)
		}
	}
	long, err := imageFor(t.Context(), kube, client.ObjectKey{Namespace: "hosts", Name: "talkative"})
	if err != nil || len(long.why) > 1000 || !strings.HasSuffix(long.why, "ä") {
		t.Errorf("%d bytes, %v", len(long.why), err)
	}
}

// TestAwait tells of hosts that nobody has seen and that have no image.
func TestAwait(t *testing.T) {
	told := func(bmh *metal3v1alpha1.BareMetalHost, agent *agentv1beta1.Agent, why string) string {
		await(bmh, agent, why)
		return bmh.Annotations[api.AwaitedAnnotation]
	}
	if got := told(bareMetal("", notes{}), nil, "no InfraEnv"); got != "no InfraEnv" {
		t.Errorf("told %q", got)
	}
	for name, got := range map[string]string{
		"has one":       told(bareMetal(oldImage, notes{api.AwaitedAnnotation: "old"}), nil, "no InfraEnv"),
		"was seen":      told(bareMetal("", notes{api.AwaitedAnnotation: "old"}), agentIn(api.StateKnownUnbound, ""), "no InfraEnv"),
		"is being made": told(bareMetal("", notes{api.AwaitedAnnotation: "old"}), nil, ""),
	} {
		if got != "" {
			t.Errorf("%s: told %q", name, got)
		}
	}
}
