package baremetalhost

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/bmc"
	"github.com/slipway-io/slipway/services/bmc/redfish"
	"github.com/slipway-io/slipway/services/bmh"
)

// boot the image of the spec, whatever the machine does now.
func (v *visit) boot(ctx context.Context, c *redfish.Client) error {
	begun, err := v.begun(ctx, c)
	if err != nil {
		return err
	}
	if !begun {
		if err := v.startImage(ctx, c); err != nil {
			return err
		}
	}
	v.host.Status.Provisioning.Image = *v.host.Spec.Image.DeepCopy()
	return nil
}

// begun whether the machine was started with this image already and only the status does not say so: the appliance ended between
// the two. The method is written when the machine is off and armed, and goes when the image does.
func (v *visit) begun(ctx context.Context, c *redfish.Client) (bool, error) {
	method, _, _ := strings.Cut(v.host.Annotations[api.BootMethodAnnotation], ":")
	if method == "" {
		return false, nil
	}
	power, err := c.Power(ctx)
	if err != nil || power != bmc.On {
		return false, err
	}
	// By the network an InfraEnv's image is whichever it is at that time; the URL of any other may have changed since.
	same := v.host.Labels[api.InfraEnvLabel] != ""
	if method == bmh.VirtualMedia {
		media, err := c.Media(ctx)
		if err != nil {
			return false, err
		}
		same = slices.Contains(media, v.host.Spec.Image.URL)
	}
	if same {
		v.powered(true)
	}
	return same, nil
}

// startImage by the first way that the BMC turns out to be able to.
func (v *visit) startImage(ctx context.Context, c *redfish.Client) error {
	can, err := c.Capabilities(ctx)
	if err != nil {
		return err
	}
	arch := v.host.Spec.Architecture
	if arch == "" && v.host.Status.HardwareDetails != nil {
		arch = v.host.Status.HardwareDetails.CPU.Arch
	}
	ways, err := bmh.Ways(v.host, v.login.Config.Address.Scheme, can, v.options.Loader(arch))
	if err != nil {
		return &bmc.Fault{Kind: bmh.Unbootable, Err: err}
	}
	var last error
	for _, way := range ways {
		if last != nil {
			way.Why = last.Error() + "; " + way.Why
		}
		rung, err := v.arm(ctx, c, way)
		if err == nil {
			return v.started(ctx, c, way, rung)
		}
		last = err
		if kind := bmc.Kind(err); kind != bmc.Unsupported && kind != bmc.License {
			break
		}
	}
	return last
}

// arm the next start: the medium while the machine may still run, the rest when it is off, as some refuse it before.
func (v *visit) arm(ctx context.Context, c *redfish.Client, way bmh.Way) (string, error) {
	rung := ""
	if way.Boot == bmc.BootCD {
		var err error
		if rung, err = c.InsertMedia(ctx, way.URL); err != nil {
			return "", err
		}
		rung += "; "
	}
	if err := c.SetPower(ctx, bmc.Off, false); err != nil {
		return "", err
	}
	v.powered(false)
	target := way.URL
	if way.Boot != bmc.BootHTTP {
		target = ""
	}
	once, err := v.inMode(c).BootOnce(ctx, way.Boot, target)
	if bmc.Kind(err) == bmc.Unsupported && v.host.Spec.BootMode != "" {
		v.event(corev1.EventTypeWarning, "BootModeKept", "the BMC does not change the boot mode, the firmware's setup does: "+err.Error())
		once, err = c.BootOnce(ctx, way.Boot, target)
	}
	return rung + once, err
}

// inMode that the spec has; without one the machine keeps its own.
func (v *visit) inMode(c *redfish.Client) *redfish.Client {
	switch v.host.Spec.BootMode {
	case "":
		return c
	case metal3v1alpha1.Legacy:
		return c.InMode("Legacy")
	default:
		return c.InMode("UEFI")
	}
}

// started says how before the machine runs, so that who sees it running knows.
func (v *visit) started(ctx context.Context, c *redfish.Client, way bmh.Way, rung string) error {
	v.event(corev1.EventTypeNormal, "BootingImage", fmt.Sprintf("by %s (%s): %s", way.Name(), rung, way.Why))
	err := v.annotate(ctx, map[string]string{
		api.BootMethodAnnotation: way.Name() + ": " + way.Why, api.MediumEjectedAnnotation: "", api.BootCorrectedAnnotation: "",
	})
	if err != nil {
		return err
	}
	return v.turnOn(ctx, c)
}

func (v *visit) turnOn(ctx context.Context, c *redfish.Client) error {
	if err := c.SetPower(ctx, bmc.On, false); err != nil {
		return err
	}
	v.powered(true)
	v.memory.asked = time.Time{}
	return nil
}

// takeOut the medium and the override, and look that none is left.
func (v *visit) takeOut(ctx context.Context, c *redfish.Client) error {
	if err := c.EjectMedia(ctx); err != nil {
		return err
	}
	if _, err := c.BootOnce(ctx, bmc.BootNone, ""); err != nil && bmc.Kind(err) != bmc.Unsupported {
		return err
	}
	left, err := c.Media(ctx)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return &bmc.Fault{Kind: bmc.Stuck, Err: errors.New("the BMC accepted to eject the medium and still shows it: eject it in the BMC's web page")}
	}
	return nil
}

// toDisk has the disk boot next: nothing else is left in the machine, and bmac may let it restart.
func (v *visit) toDisk(ctx context.Context, c *redfish.Client) error {
	if v.host.Annotations[api.MediumEjectedAnnotation] != "" {
		return nil
	}
	if err := v.takeOut(ctx, c); err != nil {
		return err
	}
	v.event(corev1.EventTypeNormal, "MediumEjected", "no medium and no boot override is left: the disk boots next")
	return v.annotate(ctx, map[string]string{api.MediumEjectedAnnotation: time.Now().UTC().Format(time.RFC3339)})
}

// correct an installed host that came back into the discovery image: once, then people are told.
func (v *visit) correct(ctx context.Context, c *redfish.Client) error {
	correction, err := bmh.Correct(v.host.Annotations)
	if err != nil {
		return &bmc.Fault{Kind: bmh.BootOrder, Err: err}
	}
	count := v.host.Annotations[api.BootCorrectionAnnotation]
	switch correction {
	case bmh.FromDisk:
		if err := v.takeOut(ctx, c); err != nil {
			return err
		}
		if err := c.SetPower(ctx, bmc.Off, false); err != nil {
			return err
		}
		if _, err := c.BootOnce(ctx, bmc.BootDisk, ""); err != nil {
			return err
		}
		v.event(corev1.EventTypeWarning, "BootCorrected", "the installed host came back into the discovery image: it is started once from its disk")
		if err := v.turnOn(ctx, c); err != nil {
			return err
		}
		return v.annotate(ctx, map[string]string{api.BootCorrectedAnnotation: count})
	case bmh.ForPeople:
		return &bmc.Fault{Kind: bmh.BootOrder, Err: fmt.Errorf("the host is installed and came back into the discovery image %s times, although no medium is left and it was started from its disk: put the disk first in the boot order of its firmware", count)}
	}
	return nil
}
