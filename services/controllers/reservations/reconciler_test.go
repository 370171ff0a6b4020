package reservations

import (
	"testing"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/slipway-io/slipway/services/api"
)

// book remembers what it was told.
type book struct{ told [][]Host }

func (b *book) Set(hosts []Host) { b.told = append(b.told, hosts) }

func TestReconcile(t *testing.T) {
	scheme, err := api.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	machine := host("worker-0", "52:54:00:00:00:0a", 0)
	network := config("worker-0", 0, static, agentv1beta1.Interface{Name: "eth0", MacAddress: "52:54:00:00:00:0a"})
	leases := &book{}
	r := &Reconciler{Client: fake.NewClientBuilder().WithScheme(scheme).WithObjects(&machine, &network).Build(), Leases: leases}
	reconcile := func(want int) {
		t.Helper()
		if _, err := r.Reconcile(t.Context(), ctrl.Request{}); err != nil {
			t.Fatal(err)
		}
		if len(leases.told) != want {
			t.Fatalf("told %d times, want %d: %v", len(leases.told), want, leases.told)
		}
	}
	reconcile(1)
	if last := leases.told[0]; len(last) != 2 || last[1].Hostname != "worker-0" || len(last[1].Addresses) != 2 {
		t.Errorf("told %v", last)
	}
	reconcile(1) // nothing changed
	if err := r.Client.DeleteAllOf(t.Context(), &metal3v1alpha1.BareMetalHost{}); err != nil {
		t.Fatal(err)
	}
	if err := r.Client.DeleteAllOf(t.Context(), &agentv1beta1.NMStateConfig{}); err != nil {
		t.Fatal(err)
	}
	reconcile(2)
	if last := leases.told[1]; len(last) != 0 {
		t.Errorf("told %v", last)
	}
}
