package bmac

import (
	"slices"
	"strings"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"

	"github.com/slipway-io/slipway/services/host"
)

// diskFor is the id of the disk that the hints mean: of several the smallest that can be installed to; else host.NoDisk.
func diskFor(hints *metal3v1alpha1.RootDeviceHints, disks []agentv1beta1.HostDisk) string {
	fit := slices.DeleteFunc(slices.Clone(disks), func(disk agentv1beta1.HostDisk) bool { return !hinted(hints, disk) })
	if len(fit) == 0 {
		return host.NoDisk
	}
	slices.SortStableFunc(fit, func(a, b agentv1beta1.HostDisk) int {
		if a.InstallationEligibility.Eligible != b.InstallationEligibility.Eligible {
			if a.InstallationEligibility.Eligible {
				return -1
			}
			return 1
		}
		return int(min(max(a.SizeBytes-b.SizeBytes, -1), 1))
	})
	return fit[0].ID
}

// hinted says that a disk is what every hint that is given says. Sizes are in units of 1000³ bytes; letters' case does not count.
func hinted(hints *metal3v1alpha1.RootDeviceHints, disk agentv1beta1.HostDisk) bool {
	const gigabyte = 1_000_000_000
	same := func(hint string, values ...string) bool {
		return hint == "" || slices.ContainsFunc(values, func(v string) bool { return v != "" && strings.EqualFold(hint, v) })
	}
	holds := func(hint, value string) bool {
		return hint == "" || strings.Contains(strings.ToLower(value), strings.ToLower(hint))
	}
	wwn := strings.TrimPrefix(strings.ToLower(disk.Wwn), "0x")
	hex := func(hint string) string { return strings.TrimPrefix(strings.ToLower(hint), "0x") }
	return same(hints.DeviceName, disk.Path, "/dev/"+disk.Name, disk.ByPath, disk.ByID) &&
		same(hints.HCTL, disk.Hctl) && holds(hints.Model, disk.Model) && holds(hints.Vendor, disk.Vendor) &&
		same(hints.SerialNumber, disk.Serial) && disk.SizeBytes >= int64(hints.MinSizeGigabytes)*gigabyte &&
		// A WWN may be shown with its vendor's extension behind the 16 digits of its own.
		(hints.WWN == "" || wwn != "" && (wwn == hex(hints.WWN) || len(wwn) > 16 && wwn[:16] == hex(hints.WWN))) &&
		same(hex(hints.WWNWithExtension), wwn) &&
		(hints.WWNVendorExtension == "" || len(wwn) > 16 && wwn[16:] == hex(hints.WWNVendorExtension)) &&
		(hints.Rotational == nil || disk.DriveType == map[bool]string{true: "HDD", false: "SSD"}[*hints.Rotational])
}
