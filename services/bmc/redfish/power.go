package redfish

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/slipway-io/slipway/services/bmc"
)

// reset is what the power ladders know.
type reset struct {
	sys     *system
	allowed []string
}

func (r reset) offers(kind string) bool {
	return len(r.allowed) == 0 || slices.Contains(r.allowed, kind)
}

func resetRung(kind, source string, offers func(reset) bool) rung[reset] {
	return rung[reset]{
		name: kind, source: source, method: http.MethodPost,
		path: func(r reset) string { return r.sys.Actions.Reset.Target },
		body: func(reset) map[string]any { return map[string]any{"ResetType": kind} },
		offers: func(r reset) bool {
			return r.offers(kind) && (offers == nil || offers(r))
		},
	}
}

// The power ladders, bmc.md §2.3.
var (
	powerOn = []rung[reset]{
		resetRung("On", "Redfish", nil),
		resetRung("ForceOn", "BMCs that list no On", nil),
		resetRung("PushPowerButton", "boards with a button alone; it toggles, so only when off for certain", func(r reset) bool {
			return r.sys.PowerState == "Off" && slices.Contains(r.allowed, "PushPowerButton")
		}),
	}
	powerOff     = []rung[reset]{resetRung("ForceOff", "Redfish; the button is unsafe, it toggles", nil)}
	powerOffSoft = []rung[reset]{
		resetRung("GracefulShutdown", "Redfish", nil),
		resetRung("ForceOff", "BMCs without a graceful one", nil),
	}
	restart = []rung[reset]{
		resetRung("ForceRestart", "Redfish; bmclib's cycle", nil),
		resetRung("PowerCycle", "BMCs that list no ForceRestart; bmclib's reset", nil),
	}
)

// Power state; Unknown while the BMC starts itself.
func (c *Client) Power(ctx context.Context) (bmc.Power, error) {
	s, err := c.system(ctx)
	if err != nil {
		return bmc.Unknown, fmt.Errorf("read power: %w", err)
	}
	return s.power(), nil
}

func (s *system) power() bmc.Power {
	switch state := bmc.Power(s.PowerState); state {
	case bmc.On, bmc.Off, bmc.PoweringOn, bmc.PoweringOff:
		return state
	case "Paused":
		return bmc.On
	default:
		return bmc.Unknown
	}
}

// SetPower to On or Off. A soft Off asks the operating system and returns at once: whether it obeys is seen by Power. All
// else returns when the machine is so, or with a Stuck fault after a minute.
func (c *Client) SetPower(ctx context.Context, want bmc.Power, soft bool) error {
	s, err := c.system(ctx)
	if err != nil {
		return fmt.Errorf("set power: %w", err)
	}
	if s.power() == want {
		return nil
	}
	ladder := powerOn
	switch {
	case want == bmc.Off && soft:
		ladder = powerOffSoft
	case want == bmc.Off:
		ladder = powerOff
	case want != bmc.On:
		return fmt.Errorf("set power: %s is no state to ask for, On and Off are", want)
	}
	err = c.climbReset(ctx, "power "+string(want), ladder, s)
	if err != nil {
		// "Already so" is said as 400 or 409; the state tells.
		if again, readError := c.system(ctx); readError == nil && again.power() == want {
			return nil
		}
		return err
	}
	if want == bmc.Off && soft {
		return nil
	}
	return c.awaitPower(ctx, want)
}

// Reset restarts a machine that runs and starts one that does not.
func (c *Client) Reset(ctx context.Context) error {
	s, err := c.system(ctx)
	if err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	if s.power() == bmc.Off {
		return c.SetPower(ctx, bmc.On, false)
	}
	err = c.climbReset(ctx, "reset", restart, s)
	if bmc.Kind(err) != bmc.Unsupported {
		return err
	}
	if err := c.SetPower(ctx, bmc.Off, false); err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	return c.SetPower(ctx, bmc.On, false)
}

func (c *Client) climbReset(ctx context.Context, doing string, ladder []rung[reset], s *system) error {
	if s.Actions.Reset.Target == "" {
		s.Actions.Reset.Target = s.ID + "/Actions/ComputerSystem.Reset"
	}
	known := reset{sys: s, allowed: s.Actions.Reset.Allowed}
	if len(known.allowed) == 0 && s.Actions.Reset.Info != "" {
		known.allowed = c.actionInfo(ctx, s.Actions.Reset.Info)
	}
	_, err := climb(ctx, c, doing, ladder, func() reset { return known }, func(ctx context.Context, answer *reply) (bool, error) {
		return true, c.finish(ctx, answer)
	})
	return err
}

// actionInfo of the reset: what it lists, or nothing, which means that all is worth a try.
func (c *Client) actionInfo(ctx context.Context, path string) []string {
	var info struct {
		Parameters []struct {
			Name            string
			AllowableValues []string
		}
	}
	if _, err := c.get(ctx, path, &info); err != nil {
		c.shared.log.Debug("read what resets there are", "err", err)
		return nil
	}
	for _, parameter := range info.Parameters {
		if parameter.Name == "ResetType" {
			return parameter.AllowableValues
		}
	}
	return nil
}

func (c *Client) awaitPower(ctx context.Context, want bmc.Power) error {
	var state bmc.Power
	for waited, step := time.Duration(0), time.Second; waited <= time.Minute; waited, step = waited+step, min(step*2, 5*time.Second) {
		s, err := c.system(ctx)
		// 5xx while the BMC is busy with the power says nothing.
		if err != nil && bmc.Kind(err) != bmc.Busy {
			return fmt.Errorf("await power %s: %w", want, err)
		}
		if err == nil {
			if state = s.power(); state == want {
				return nil
			}
		}
		if err := c.shared.wait(ctx, step); err != nil {
			return err
		}
	}
	if state == "" {
		return &bmc.Fault{Kind: bmc.Busy, Err: errors.New("await power: the BMC tells no state for a minute")}
	}
	return &bmc.Fault{Kind: bmc.Stuck, Err: fmt.Errorf("the BMC accepted power %s, and a minute later the machine is still %s", want, state)}
}
