package bmh

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/bmc"
)

// SoftPatience is how long an operating system has to shut down before the power goes.
const SoftPatience = 3 * time.Minute

// Restart is what the reboot annotations ask for.
type Restart struct {
	// Once: the annotation without a suffix, which goes when the host is off. Held: one with a suffix, which its owner takes away.
	Once, Held bool
	// Hard without asking the operating system.
	Hard bool
	// Bad names annotations whose value is not understood; they count as soft.
	Bad []string
}

// Restarts reads the annotations reboot.metal3.io and reboot.metal3.io/…: empty, or {"mode": "hard"|"soft"}. Hard wins.
func Restarts(annotations map[string]string) Restart {
	var restart Restart
	for key, value := range annotations {
		switch {
		case key == api.RebootAnnotation:
			restart.Once = true
		case strings.HasPrefix(key, api.RebootAnnotation+"/"):
			restart.Held = true
		default:
			continue
		}
		if strings.TrimSpace(value) == "" {
			continue
		}
		var arguments metal3v1alpha1.RebootAnnotationArguments
		if err := json.Unmarshal([]byte(value), &arguments); err != nil {
			restart.Bad = append(restart.Bad, key)
			continue
		}
		restart.Hard = restart.Hard || arguments.Mode == metal3v1alpha1.RebootModeHard
	}
	return restart
}

// Wanted is whether a restart is asked for at all.
func (r Restart) Wanted() bool { return r.Once || r.Held }

// PowerStep is what to do about the power.
type PowerStep string

// The steps.
const (
	Leave   PowerStep = "leave"
	LookBy  PowerStep = "look again soon"
	TurnOn  PowerStep = "on"
	AskOff  PowerStep = "ask the operating system"
	TurnOff PowerStep = "off"
)

// PowerNext decides about the power: what is, what is wanted, and since when the operating system was asked to shut down, zero
// when it was not.
func PowerNext(power bmc.Power, online bool, restart Restart, asked, now time.Time) PowerStep {
	want := online && !restart.Wanted()
	switch {
	case power != bmc.On && power != bmc.Off:
		return LookBy
	case (power == bmc.On) == want:
		return Leave
	case want:
		return TurnOn
	case restart.Hard || !asked.IsZero() && now.Sub(asked) >= SoftPatience:
		return TurnOff
	case asked.IsZero():
		return AskOff
	default:
		return LookBy
	}
}

// Installed whether the host's disk is what is to boot.
func Installed(host *metal3v1alpha1.BareMetalHost) bool {
	return host.Annotations[api.BootImageAnnotation] == api.BootImageInstalled
}

// Correction is what to do about an installed host that came back into the discovery image.
type Correction string

// The corrections: none, a one-time start from the disk, and a word for people.
const (
	NoCorrection Correction = ""
	FromDisk     Correction = "from disk"
	ForPeople    Correction = "for people"
)

// Correct reads how often it came back and how often that was corrected.
func Correct(annotations map[string]string) (Correction, error) {
	text, found := annotations[api.BootCorrectionAnnotation]
	if !found {
		return NoCorrection, nil
	}
	count, err := strconv.Atoi(text)
	if err != nil {
		return NoCorrection, fmt.Errorf("read annotation %s: %q is no number", api.BootCorrectionAnnotation, text)
	}
	corrected, err := strconv.Atoi(annotations[api.BootCorrectedAnnotation])
	if err != nil {
		corrected = 0
	}
	switch {
	case count < 1:
		return NoCorrection, nil
	case corrected == 0:
		return FromDisk, nil
	case count > 1:
		return ForPeople, nil
	default:
		return NoCorrection, nil
	}
}
