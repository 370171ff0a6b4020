package hostfirmwaresettings

import (
	"context"
	"fmt"
	"time"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/services/bmh"
)

// The reasons of conditions, as upstream has them.
const (
	reasonSuccess = "Success"
	reasonInvalid = "ConfigurationError"
)

// status is written when it is another one.
func (r *Reconciler) status(ctx context.Context, host *metal3v1alpha1.BareMetalHost, settings *metal3v1alpha1.HostFirmwareSettings, now reading, differs bool, problem error, note string) error {
	name, err := r.schema(ctx, host, now)
	if err != nil {
		return err
	}
	before := settings.DeepCopy()
	status := &settings.Status
	status.FirmwareSchema = &metal3v1alpha1.SchemaReference{Namespace: host.Namespace, Name: name}
	status.Settings = now.values
	valid := metav1.Condition{Type: string(metal3v1alpha1.FirmwareSettingsValid), Status: metav1.ConditionTrue, Reason: reasonSuccess, ObservedGeneration: settings.Generation}
	if problem != nil {
		valid.Status, valid.Reason, valid.Message = metav1.ConditionFalse, reasonInvalid, problem.Error()
	}
	change := metav1.Condition{
		Type: string(metal3v1alpha1.FirmwareSettingsChangeDetected), Status: metav1.ConditionFalse, Reason: reasonSuccess, ObservedGeneration: settings.Generation, Message: note,
	}
	if differs {
		change.Status = metav1.ConditionTrue
	}
	meta.SetStatusCondition(&status.Conditions, valid)
	meta.SetStatusCondition(&status.Conditions, change)
	if equality.Semantic.DeepEqual(before.Status, *status) {
		return nil
	}
	updated := metav1.NewTime(time.Now().UTC().Truncate(time.Second))
	status.LastUpdated = &updated
	if err := r.Client.Status().Update(ctx, settings); err != nil {
		return fmt.Errorf("write status of HostFirmwareSettings %s/%s: %w", settings.Namespace, settings.Name, err)
	}
	return nil
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
	schema := &metal3v1alpha1.FirmwareSchema{ObjectMeta: metav1.ObjectMeta{Namespace: host.Namespace, Name: name}}
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
