package infraenv_test

import (
	"testing"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/slipway-io/slipway/services/controllers/infraenv"
)

// A machine that nobody knows gets the InfraEnv of its architecture.
func TestDefaultByArchitecture(t *testing.T) {
	other := infraEnv(func(spec *agentv1beta1.InfraEnvSpec) { spec.CpuArchitecture = "arm64" })
	other.Name, other.UID = "arm", "aaaaaaaa-0000-4000-8000-000000000002"
	c := memory(t, infraEnv(nil), other)
	for _, defaultName := range []string{"", "slipway/default"} {
		lookup := infraenv.Lookup{Client: c, DefaultName: defaultName}
		for arch, want := range map[string]string{"x86_64": "default", "aarch64": "arm"} {
			if _, found, err := lookup.BootDecision(t.Context(), "52:54:00:00:00:ff", "", arch); err != nil || found.Name != want {
				t.Errorf("default %q, %s: %v, %v", defaultName, arch, found, err)
			}
		}
		if _, err := lookup.Default(t.Context(), "s390x"); !apierrors.IsNotFound(err) {
			t.Errorf("default %q of s390x: %v", defaultName, err)
		}
	}
}
