package baremetalhost

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/bmc"
	"github.com/slipway-io/slipway/services/bmc/redfish"
	"github.com/slipway-io/slipway/services/bmh"
)

// keep power and boot source as they are wanted: one look at the BMC when they are.
func (v *visit) keep(ctx context.Context, c *redfish.Client) error {
	power, err := c.Power(ctx)
	if err != nil {
		return err
	}
	if power == bmc.On || power == bmc.Off {
		v.powered(power == bmc.On)
	}
	if bmh.Installed(v.host) {
		if err := v.toDisk(ctx, c); err != nil {
			return err
		}
		if err := v.correct(ctx, c); err != nil {
			return err
		}
	}
	restart := bmh.Restarts(v.host.Annotations)
	if len(restart.Bad) > 0 {
		v.event(corev1.EventTypeWarning, "InvalidAnnotationValue", fmt.Sprintf("annotations %v: the value is neither empty nor {\"mode\":\"hard\"} nor {\"mode\":\"soft\"}; it counts as soft", restart.Bad))
	}
	if restart.Once && power == bmc.Off {
		// Who asked sees the power off before the annotation goes.
		if err := v.write(ctx); err != nil {
			return err
		}
		if err := v.annotate(ctx, map[string]string{api.RebootAnnotation: ""}); err != nil {
			return err
		}
		restart.Once = false
	}
	return v.follow(ctx, c, bmh.PowerNext(power, v.host.Spec.Online, restart, v.memory.asked, time.Now()))
}

func (v *visit) follow(ctx context.Context, c *redfish.Client, next bmh.PowerStep) error {
	switch next {
	case bmh.Leave:
		v.memory.asked = time.Time{}
	case bmh.LookBy:
		v.again = soon
	case bmh.TurnOn:
		return v.start(ctx, c)
	case bmh.AskOff:
		v.memory.asked = time.Now()
		v.again = time.Second
		return c.SetPower(ctx, bmc.Off, true)
	case bmh.TurnOff:
		if err := c.SetPower(ctx, bmc.Off, false); err != nil {
			return err
		}
		v.powered(false)
		v.memory.asked = time.Time{}
		v.again = 100 * time.Millisecond
	}
	return nil
}

// start a machine that is off.
func (v *visit) start(ctx context.Context, c *redfish.Client) error {
	switch bmh.StartWith(v.host) {
	case bmh.StartImage:
		return v.startImage(ctx, c)
	case bmh.StartLater:
		// bmac's image wakes it.
		return nil
	}
	return v.turnOn(ctx, c)
}
