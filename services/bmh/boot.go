package bmh

import (
	"fmt"
	"slices"
	"strings"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/bmc"
)

// Way of booting an image.
type Way struct {
	// Boot is BootCD, BootHTTP or BootPXE.
	Boot bmc.Boot
	// URL of the medium or of what UEFI fetches; empty for PXE.
	URL string
	// Why this one, for people.
	Why string
}

// The ways' names in annotations.
const (
	VirtualMedia = "virtual-media"
	HTTP         = "http"
	PXE          = "pxe"
)

// Name of the way in the annotation slipway.io/boot-method.
func (w Way) Name() string {
	return map[bmc.Boot]string{bmc.BootCD: VirtualMedia, bmc.BootHTTP: HTTP, bmc.BootPXE: PXE}[w.Boot]
}

// Ways in which the image of the host can be booted, the best first: what follows is for a BMC that turns out to be unable.
// loader is the URL of the appliance's loader for UEFI HTTP boot, empty when there is none.
func Ways(host *metal3v1alpha1.BareMetalHost, scheme bmc.Scheme, can bmc.Capabilities, loader string) ([]Way, error) {
	image := host.Spec.Image
	if image == nil || image.URL == "" {
		return nil, fmt.Errorf("a custom deploy needs an agent of its own: give spec.image with format live-iso, or the label %s", api.InfraEnvLabel)
	}
	if !image.IsLiveISO() {
		return nil, fmt.Errorf("spec.image has a disk image, which the machine would have to write itself: give format live-iso, or bind the host to a cluster by the label %s", api.InfraEnvLabel)
	}
	ours := host.Labels[api.InfraEnvLabel] != ""
	if wanted := host.Annotations[api.BootMethodWantedAnnotation]; wanted != "" {
		return forced(host, wanted, ours, loader)
	}
	legacy := host.Spec.BootMode == metal3v1alpha1.Legacy
	var ways []Way
	var not []string
	if can.VirtualMedia {
		ways = append(ways, Way{bmc.BootCD, image.URL, "the BMC has a virtual CD"})
	} else {
		not = append(not, "the BMC has no virtual CD")
	}
	switch target := httpURL(host, ours, loader); {
	case legacy:
		not = append(not, "bootMode legacy knows no HTTP boot")
	case !can.UEFIHTTP:
		not = append(not, "the BMC offers no UEFI HTTP boot")
	case target == "":
		not = append(not, "there is no loader to boot by HTTP")
	default:
		ways = append(ways, Way{bmc.BootHTTP, target, why(not, "the BMC offers UEFI HTTP boot")})
	}
	switch {
	case !ours:
		not = append(not, "PXE needs the host's label "+api.InfraEnvLabel)
	case host.Spec.BootMACAddress == "":
		not = append(not, "PXE needs spec.bootMACAddress")
	case !can.PXE:
		not = append(not, "the BMC offers no PXE")
	default:
		ways = append(ways, Way{bmc.BootPXE, "", why(not, "PXE is what is left")})
	}
	if len(ways) == 0 {
		return nil, fmt.Errorf("no way to boot the image: %s", strings.Join(not, "; "))
	}
	prefer(ways, scheme)
	return ways, nil
}

// prefer what the address' scheme names over what is best.
func prefer(ways []Way, scheme bmc.Scheme) {
	if scheme.Boot() != bmc.BootHTTP {
		return
	}
	index := slices.IndexFunc(ways, func(w Way) bool { return w.Boot == bmc.BootHTTP })
	if index > 0 {
		way := ways[index]
		way.Why = "the BMC's address has the scheme " + string(scheme)
		copy(ways[1:index+1], ways[:index])
		ways[0] = way
	}
}

// Start is what a machine that is off is started with.
type Start string

// The starts.
const (
	// StartImage: the image of the spec, by its way.
	StartImage Start = "image"
	// StartDisk: whatever its firmware finds.
	StartDisk Start = "disk"
	// StartLater: its image is still to come, and there is nothing else that it is to run.
	StartLater Start = "later"
)

// StartWith decides what a machine is started with whose power is to go on.
func StartWith(host *metal3v1alpha1.BareMetalHost) Start {
	switch state := host.Status.Provisioning.State; {
	case Installed(host):
		return StartDisk
	case state == provisioned && host.Spec.Image.IsLiveISO():
		return StartImage
	case state == available && host.Labels[api.InfraEnvLabel] != "":
		return StartLater
	}
	return StartDisk
}

func why(not []string, so string) string { return strings.Join(append(slices.Clone(not), so), "; ") }

// httpURL is the loader, which then finds the InfraEnv; other images are fetched as they are.
func httpURL(host *metal3v1alpha1.BareMetalHost, ours bool, loader string) string {
	if ours {
		return loader
	}
	return host.Spec.Image.URL
}

func forced(host *metal3v1alpha1.BareMetalHost, wanted string, ours bool, loader string) ([]Way, error) {
	because := "the annotation " + api.BootMethodWantedAnnotation + " wants it"
	switch wanted {
	case VirtualMedia:
		return []Way{{bmc.BootCD, host.Spec.Image.URL, because}}, nil
	case HTTP:
		target := httpURL(host, ours, loader)
		if target == "" {
			return nil, fmt.Errorf("%s is %s, and there is no loader to boot by HTTP", api.BootMethodWantedAnnotation, wanted)
		}
		return []Way{{bmc.BootHTTP, target, because}}, nil
	case PXE:
		if !ours {
			return nil, fmt.Errorf("%s is %s, which needs the host's label %s", api.BootMethodWantedAnnotation, wanted, api.InfraEnvLabel)
		}
		return []Way{{bmc.BootPXE, "", because}}, nil
	default:
		return nil, fmt.Errorf("annotation %s: %q is none of %s, %s, %s", api.BootMethodWantedAnnotation, wanted, VirtualMedia, HTTP, PXE)
	}
}

// Deprovisioned says for people what a host is when its image was taken back, its disks among it.
func Deprovisioned(host *metal3v1alpha1.BareMetalHost) string {
	text := "the machine is off, without a medium; its disks are as they were"
	if host.Spec.AutomatedCleaningMode == metal3v1alpha1.CleaningModeMetadata {
		text += ": automatedCleaningMode metadata has the disk wiped when the discovery image runs on it, before a cluster gets it"
	}
	return text
}
