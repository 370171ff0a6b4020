package hostfirmwaresettings

import (
	"context"
	"fmt"
	"time"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/services/bmh"
)

const (
	// bySchema is the index of HostFirmwareSettings by the FirmwareSchema of their status.
	bySchema = "status.schema.name"
	// unused is how long a FirmwareSchema is nobody's before it goes: one that was just made is not in a status yet.
	unused = 10 * time.Minute
)

// schemaOf HostFirmwareSettings, for the index.
func schemaOf(object client.Object) []string {
	settings, is := object.(*metal3v1alpha1.HostFirmwareSettings)
	if !is || settings.Status.FirmwareSchema == nil {
		return nil
	}
	return []string{settings.Status.FirmwareSchema.Name}
}

// schema by its content, made where there is none; it is never changed, and hosts share it.
func (r *Reconciler) schema(ctx context.Context, host *metal3v1alpha1.BareMetalHost, now reading) (string, error) {
	var vendor, model string
	if hardware := host.Status.HardwareDetails; hardware != nil {
		vendor, model = hardware.SystemVendor.Manufacturer, hardware.SystemVendor.ProductName
	}
	name, err := bmh.SchemaName(vendor, model, now.schema)
	if err != nil {
		return "", err
	}
	schema := &metal3v1alpha1.FirmwareSchema{}
	schema.Namespace, schema.Name = host.Namespace, name
	err = r.Client.Get(ctx, client.ObjectKeyFromObject(schema), schema)
	if err == nil {
		return name, nil
	}
	if !apierrors.IsNotFound(err) {
		return "", fmt.Errorf("read FirmwareSchema %s/%s: %w", host.Namespace, name, err)
	}
	schema.Spec = metal3v1alpha1.FirmwareSchemaSpec{HardwareVendor: vendor, HardwareModel: model, Schema: now.schema}
	if err := r.Client.Create(ctx, schema); err != nil && !apierrors.IsAlreadyExists(err) {
		return "", fmt.Errorf("create FirmwareSchema %s/%s: %w", host.Namespace, name, err)
	}
	return name, nil
}

// collect deletes the FirmwareSchemas of a namespace that no HostFirmwareSettings has, and says when to look again, 0 for never. They
// have no owners: thousands of hosts share one, and each would be a write of all of them.
func (r *Reconciler) collect(ctx context.Context, namespace string) (time.Duration, error) {
	schemas := &metal3v1alpha1.FirmwareSchemaList{}
	if err := r.Client.List(ctx, schemas, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return 0, fmt.Errorf("list FirmwareSchemas of namespace %s: %w", namespace, err)
	}
	var again time.Duration
	for i := range schemas.Items {
		schema := &schemas.Items[i]
		users := &metal3v1alpha1.HostFirmwareSettingsList{}
		if err := r.Client.List(ctx, users, client.InNamespace(namespace), client.MatchingFields{bySchema: schema.Name}, client.UnsafeDisableDeepCopy, client.Limit(1)); err != nil {
			return 0, fmt.Errorf("list HostFirmwareSettings of namespace %s: %w", namespace, err)
		}
		if len(users.Items) > 0 {
			continue
		}
		if young := unused - time.Since(schema.CreationTimestamp.Time); young > 0 {
			again = max(again, young)
			continue
		}
		if err := client.IgnoreNotFound(r.Client.Delete(ctx, schema.DeepCopy())); err != nil {
			return 0, fmt.Errorf("delete FirmwareSchema %s/%s: %w", namespace, schema.Name, err)
		}
	}
	return again, nil
}
