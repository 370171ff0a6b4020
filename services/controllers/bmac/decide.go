package bmac

import (
	"strconv"
	"strings"
	"time"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	"k8s.io/utils/ptr"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/host"
)

const (
	// askedAnnotation is when the BMC was asked for the last restart, RFC 3339: what does not come of it is asked for again.
	askedAnnotation = "slipway.io/restart-asked"
	// patience with a restart: big servers take ten minutes from power-on to their operating system.
	patience = 20 * time.Minute
	// liveISO is the format of an image that is booted and not written.
	liveISO = "live-iso"
	// hardReboot does not ask the operating system, which may be dead.
	hardReboot = `{"mode":"hard"}`
)

// place is where in its life an Agent is, as far as its machine's power is concerned.
type place string

const (
	// inDiscovery: the discovery image runs, or is to be booted.
	inDiscovery place = "discovery"
	// atWork: the discovery image runs and must not be disturbed.
	atWork place = "at work"
	// onDisk: the operating system is written and is what boots.
	onDisk place = "on disk"
	// leaving: the operating system is to be left for the discovery image.
	leaving place = "leaving"
)

func placeOf(agent *agentv1beta1.Agent) place {
	if agent == nil {
		return inDiscovery
	}
	if host.Installed(agent) {
		return onDisk
	}
	switch host.State(agent) {
	case api.StateReclaiming, api.StateReclaimingRebooting, api.StateUnbindingPendingUserAction:
		return leaving
	case api.StateInstalling, api.StateInstallingInProgress, api.StateError:
		return atWork
	}
	return inDiscovery
}

// Decide makes a BareMetalHost what its Agent's life asks for; agent is nil before the machine was seen, image is the URL of
// the InfraEnv's discovery ISO, empty while there is none. It returns when to look again though nothing happens, 0 for never.
func Decide(bmh *metal3v1alpha1.BareMetalHost, agent *agentv1beta1.Agent, image string, now time.Time) time.Duration {
	if bmh.Annotations == nil {
		bmh.Annotations = map[string]string{}
	}
	instruct(bmh, agent, image)
	switch placeOf(agent) {
	case onDisk:
		bmh.Annotations[api.BootImageAnnotation] = api.BootImageInstalled
		delete(bmh.Annotations, api.RebootAnnotationBMAC)
		return correct(bmh, agent, now)
	case leaving:
		setImage(bmh, image)
		return leave(bmh, now)
	case inDiscovery:
		setImage(bmh, image)
		delete(bmh.Annotations, api.BootImageAnnotation)
		delete(bmh.Annotations, api.BootCorrectionAnnotation)
		// An Agent that somebody deleted says nothing about a restart that is under way.
		if agent != nil || !bmh.Status.PoweredOn {
			delete(bmh.Annotations, api.RebootAnnotationBMAC)
			delete(bmh.Annotations, askedAnnotation)
		}
	}
	return 0
}

// instruct people who have to boot a machine that has no BMC, or none that Slipway may reach, until its Agent speaks for it.
func instruct(bmh *metal3v1alpha1.BareMetalHost, agent *agentv1beta1.Agent, image string) {
	delete(bmh.Annotations, api.InstructionAnnotation)
	if bmh.HasBMCDetails() || agent != nil || image == "" {
		return
	}
	name := bmh.Name
	if bmh.Spec.BootMACAddress != "" {
		name += " (MAC " + strings.ToLower(bmh.Spec.BootMACAddress) + ")"
	}
	bmh.Annotations[api.InstructionAnnotation] = "boot host " + name + " from " + image + ", or from the network"
}

// setImage gives the discovery image; only the first one turns the machine on, later its power is the user's.
func setImage(bmh *metal3v1alpha1.BareMetalHost, image string) {
	has := bmh.Spec.Image
	if image == "" || has != nil && has.URL == image && has.IsLiveISO() {
		return
	}
	if has == nil {
		bmh.Spec.Online = true
	}
	if bmh.Spec.AutomatedCleaningMode == "" {
		bmh.Spec.AutomatedCleaningMode = metal3v1alpha1.CleaningModeDisabled
	}
	bmh.Spec.Image = &metal3v1alpha1.Image{URL: image, DiskFormat: ptr.To(liveISO)}
}

// leave has the BMC restart the machine into the discovery image, again when nothing came of it.
func leave(bmh *metal3v1alpha1.BareMetalHost, now time.Time) time.Duration {
	installed := bmh.Annotations[api.BootImageAnnotation] != ""
	delete(bmh.Annotations, api.BootImageAnnotation)
	delete(bmh.Annotations, api.BootCorrectionAnnotation)
	if !bmh.HasBMCDetails() {
		return 0
	}
	asked, was := askedAt(bmh)
	if installed || !was || now.Sub(asked) >= patience {
		bmh.Annotations[api.RebootAnnotationBMAC] = hardReboot
		ask(bmh, now)
		return patience
	}
	if !bmh.Status.PoweredOn {
		delete(bmh.Annotations, api.RebootAnnotationBMAC)
	}
	return asked.Add(patience).Sub(now)
}

// correct counts how often an installed machine did not boot its disk: the BMC mends that once, then it is for people.
func correct(bmh *metal3v1alpha1.BareMetalHost, agent *agentv1beta1.Agent, now time.Time) time.Duration {
	asked, was := askedAt(bmh)
	if host.State(agent) != api.StateInstallingPendingUser {
		delete(bmh.Annotations, askedAnnotation)
		return 0
	}
	if !bmh.HasBMCDetails() || !bmh.Spec.Online {
		return 0
	}
	switch count := Corrections(bmh); {
	case count == 0:
		bmh.Annotations[api.BootCorrectionAnnotation] = "1"
		ask(bmh, now)
		return patience
	case count == 1 && was && now.Sub(asked) < patience:
		return asked.Add(patience).Sub(now)
	case count == 1:
		bmh.Annotations[api.BootCorrectionAnnotation] = "2"
	}
	return 0
}

// Corrections is how often the installed machine came back into the discovery image.
func Corrections(bmh *metal3v1alpha1.BareMetalHost) int {
	count, err := strconv.Atoi(bmh.Annotations[api.BootCorrectionAnnotation])
	if err != nil {
		return 0
	}
	return count
}

func ask(bmh *metal3v1alpha1.BareMetalHost, now time.Time) {
	bmh.Annotations[askedAnnotation] = now.UTC().Format(time.RFC3339)
}

func askedAt(bmh *metal3v1alpha1.BareMetalHost) (time.Time, bool) {
	asked, err := time.Parse(time.RFC3339, bmh.Annotations[askedAnnotation])
	return asked, err == nil
}
