package hostfirmwaresettings

import (
	"context"
	"fmt"
	"time"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	if had := before.Status.FirmwareSchema; had != nil && had.Name != name {
		// The firmware is another one, and this host may have been the last with the old one.
		_, err = r.collect(ctx, host.Namespace)
		return err
	}
	return nil
}
