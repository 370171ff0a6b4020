package infraenv_test

import (
	"testing"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/services/controllers/infraenv"
)

func TestSecureBoot(t *testing.T) {
	host := func(mode metal3v1alpha1.BootMode) client.Object {
		return &metal3v1alpha1.BareMetalHost{
			ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: "a"},
			Spec:       metal3v1alpha1.BareMetalHostSpec{BootMACAddress: "52:54:00:AA:00:01", BootMode: mode},
		}
	}
	annotated := func(value string) client.Object {
		e := infraEnv(nil)
		e.Annotations = map[string]string{infraenv.SecureBootAnnotation: value}
		return e
	}
	for name, c := range map[string]struct {
		objects       []client.Object
		secure, known bool
	}{
		"nothing":                    {nil, false, false},
		"InfraEnv says nothing":      {[]client.Object{infraEnv(nil)}, false, false},
		"InfraEnv":                   {[]client.Object{annotated("true")}, true, true},
		"InfraEnv says no":           {[]client.Object{annotated("false")}, false, true},
		"host":                       {[]client.Object{host(metal3v1alpha1.UEFISecureBoot)}, true, true},
		"host before InfraEnv":       {[]client.Object{host(metal3v1alpha1.UEFI), annotated("true")}, false, true},
		"host leaves it to InfraEnv": {[]client.Object{host(""), annotated("true")}, true, true},
	} {
		secure, known, err := infraenv.Lookup{Client: memory(t, c.objects...)}.SecureBoot(t.Context(), "52:54:00:aa:00:01")
		if err != nil || secure != c.secure || known != c.known {
			t.Errorf("%s: %t %t %v, want %t %t", name, secure, known, err, c.secure, c.known)
		}
	}
}
