package baremetalhost

import (
	"context"
	"fmt"
	"time"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/bmc"
	"github.com/slipway-io/slipway/services/bmc/redfish"
	"github.com/slipway-io/slipway/services/bmh"
)

// register tries the credentials; the login happened when this is called.
func (v *visit) register(ctx context.Context, c *redfish.Client) error {
	power, err := c.Power(ctx)
	if err != nil {
		return err
	}
	status := &v.host.Status
	first := status.GoodCredentials.Version == ""
	v.host.UpdateTriedCredentials(*v.login.Secret)
	v.host.UpdateGoodCredentials(*v.login.Secret)
	status.Provisioning.ID = string(v.host.UID)
	if power == bmc.On || power == bmc.Off {
		status.PoweredOn = power == bmc.On
	}
	if first {
		v.event(corev1.EventTypeNormal, "BMCAccessValidated", "the BMC at "+v.login.Config.Address.HostPort()+" accepts the credentials")
	}
	return nil
}

// inspect out of band: HardwareData first, the status after it.
func (v *visit) inspect(ctx context.Context, c *redfish.Client) error {
	found, err := c.Inspect(ctx)
	if err != nil {
		return err
	}
	details := bmh.Details(found)
	data := &metal3v1alpha1.HardwareData{ObjectMeta: metav1.ObjectMeta{Namespace: v.host.Namespace, Name: v.host.Name}}
	_, err = controllerutil.CreateOrUpdate(ctx, v.client, data, func() error {
		if found.AssetTag != "" {
			metav1.SetMetaDataAnnotation(&data.ObjectMeta, api.AssetTagAnnotation, found.AssetTag)
		}
		if !equality.Semantic.DeepEqual(data.Spec.HardwareDetails, details) {
			data.Spec.HardwareDetails = details
		}
		return controllerutil.SetControllerReference(v.host, data, v.client.Scheme())
	})
	if err != nil {
		return fmt.Errorf("write HardwareData %s/%s: %w", v.host.Namespace, v.host.Name, err)
	}
	v.host.Status.HardwareDetails = details
	v.event(corev1.EventTypeNormal, "InspectionComplete", fmt.Sprintf("found through the BMC: %s %s, serial %s, %d MiB, %d threads, %d NICs, %d disks",
		found.Manufacturer, found.Product, found.Serial, found.RAM, found.CPU.Count, len(found.NICs), len(found.Storage)))
	return nil
}

// reinspect takes the annotation away once the status asks for the inspection.
func (v *visit) reinspect(ctx context.Context, next bmh.State) error {
	v.host.Status.HardwareDetails = nil
	v.enter(next)
	if err := v.write(ctx); err != nil {
		return err
	}
	return v.annotate(ctx, map[string]string{api.InspectAnnotation: ""})
}

func (v *visit) prepare(context.Context, *redfish.Client) error {
	v.host.Status.Provisioning.RootDeviceHints = v.host.Spec.RootDeviceHints.DeepCopy()
	return nil
}

// cleanUp leaves the machine off, without a medium and without an override.
func (v *visit) cleanUp(ctx context.Context, c *redfish.Client) error {
	if err := c.SetPower(ctx, bmc.Off, false); err != nil {
		return err
	}
	v.powered(false)
	if err := v.takeOut(ctx, c); err != nil {
		return err
	}
	v.host.Status.Provisioning.Image = metal3v1alpha1.Image{}
	if err := v.annotate(ctx, map[string]string{api.MediumEjectedAnnotation: "", api.BootMethodAnnotation: "", api.BootCorrectedAnnotation: ""}); err != nil {
		return err
	}
	v.event(corev1.EventTypeNormal, "DeprovisioningComplete", bmh.Deprovisioned(v.host))
	return nil
}

func (v *visit) powerOff(ctx context.Context, c *redfish.Client) error {
	if err := c.SetPower(ctx, bmc.Off, false); err != nil {
		return err
	}
	v.powered(false)
	return nil
}

// powered notes the power, and says when it changed.
func (v *visit) powered(on bool) {
	if v.host.Status.PoweredOn == on {
		return
	}
	v.host.Status.PoweredOn = on
	reason, note := "PowerOff", "the machine is off"
	if on {
		reason, note = "PowerOn", "the machine is on"
	}
	v.event(corev1.EventTypeNormal, reason, note)
	v.metrics.power(reason)
}

// release lets the object go; nothing of it is left to be written.
func (v *visit) release(ctx context.Context) error {
	v.before.Status = *v.host.Status.DeepCopy()
	v.again = time.Minute
	return v.change(ctx, "remove finalizer", func(host *metal3v1alpha1.BareMetalHost) {
		controllerutil.RemoveFinalizer(host, metal3v1alpha1.BareMetalHostFinalizer)
	})
}
