package hostfirmwaresettings

import (
	"slices"
	"testing"
	"time"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/slipway-io/slipway/services/api"
)

// TestCollect: a schema goes with the last host that had it, not while it is young and not with those of other namespaces.
func TestCollect(t *testing.T) {
	scheme, err := api.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	schema := func(namespace, name string, age time.Duration) *metal3v1alpha1.FirmwareSchema {
		return &metal3v1alpha1.FirmwareSchema{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, CreationTimestamp: metav1.NewTime(time.Now().Add(-age))}}
	}
	settings := &metal3v1alpha1.HostFirmwareSettings{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "w0"}}
	settings.Status.FirmwareSchema = &metal3v1alpha1.SchemaReference{Namespace: "a", Name: "used"}
	kube := fake.NewClientBuilder().WithScheme(scheme).WithIndex(&metal3v1alpha1.HostFirmwareSettings{}, bySchema, schemaOf).WithObjects(
		settings, schema("a", "used", time.Hour), schema("a", "old", time.Hour), schema("a", "young", time.Minute), schema("b", "other", time.Hour)).Build()
	r := &Reconciler{Client: kube}
	left := func(want ...string) {
		t.Helper()
		all := &metal3v1alpha1.FirmwareSchemaList{}
		if err := kube.List(t.Context(), all); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, one := range all.Items {
			names = append(names, one.Name)
		}
		if slices.Sort(names); !slices.Equal(names, want) {
			t.Errorf("left %v, want %v", names, want)
		}
	}
	// A host that is gone is what wakes it.
	result, err := r.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKey{Namespace: "a", Name: "gone"}})
	if err != nil || result.RequeueAfter <= 5*time.Minute || result.RequeueAfter > unused {
		t.Errorf("%v, %v", result, err)
	}
	left("other", "used", "young")
	if err := kube.Delete(t.Context(), settings); err != nil {
		t.Fatal(err)
	}
	if _, err := r.collect(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	left("other", "young")
}
