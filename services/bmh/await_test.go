package bmh

import (
	"testing"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-io/slipway/services/api"
)

func TestAwait(t *testing.T) {
	const ok, delayed, failed = metal3v1alpha1.OperationalStatusOK, metal3v1alpha1.OperationalStatusDelayed, metal3v1alpha1.OperationalStatusError
	for name, c := range map[string]struct {
		why, label  string
		state       State
		image       bool
		before      metal3v1alpha1.OperationalStatus
		message     string
		want        metal3v1alpha1.OperationalStatus
		wantMessage string
	}{
		"waits":              {why: "no InfraEnv", label: "default", state: available, before: ok, want: delayed, wantMessage: "Image: no InfraEnv"},
		"waits for another":  {why: "being deleted", label: "default", state: available, before: delayed, message: "Image: x", want: delayed, wantMessage: "Image: being deleted"},
		"is there":           {label: "default", state: available, image: true, before: delayed, message: "Image: x", want: ok},
		"is there already":   {why: "not yet taken away", label: "default", state: available, image: true, before: ok, want: ok},
		"label gone":         {why: "no InfraEnv", state: available, before: delayed, message: "Image: x", want: ok},
		"not yet inspected":  {why: "no InfraEnv", label: "default", state: inspecting, before: ok, want: ok},
		"in trouble":         {why: "no InfraEnv", label: "default", state: available, before: failed, message: "TLS: x", want: failed, wantMessage: "TLS: x"},
		"trouble is no wait": {state: available, before: failed, message: "TLS: x", want: failed, wantMessage: "TLS: x"},
		"nothing to say":     {label: "default", state: available, before: ok, want: ok},
	} {
		t.Run(name, func(t *testing.T) {
			host := &metal3v1alpha1.BareMetalHost{ObjectMeta: metav1.ObjectMeta{
				Labels: map[string]string{api.InfraEnvLabel: c.label}, Annotations: map[string]string{api.AwaitedAnnotation: c.why},
			}}
			if c.image {
				host.Spec.Image = &metal3v1alpha1.Image{URL: "http://192.0.2.1/x.iso"}
			}
			host.Status.Provisioning.State, host.Status.OperationalStatus, host.Status.ErrorMessage = c.state, c.before, c.message
			Await(host)
			if host.Status.OperationalStatus != c.want || host.Status.ErrorMessage != c.wantMessage {
				t.Errorf("%s %q, want %s %q", host.Status.OperationalStatus, host.Status.ErrorMessage, c.want, c.wantMessage)
			}
		})
	}
}
