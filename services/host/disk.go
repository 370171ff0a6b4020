package host

import (
	"fmt"
	"slices"
	"strings"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
)

// Requirements are the least that a host must have to be installed.
type Requirements struct {
	CPUs        int64
	MemoryBytes int64
	DiskBytes   int64
}

// DefaultRequirements are those of Slipway's own machine OS: 2 CPU cores, 1.5 GiB of memory, a disk of 8 GB.
func DefaultRequirements() Requirements {
	return Requirements{CPUs: 2, MemoryBytes: 3 << 29, DiskBytes: 8_000_000_000}
}

// NoDisk is the installation disk of a host whose declaration fits none of its disks, in the words of the assisted service.
const NoDisk = "/dev/not-found-by-hints"

// memoryTolerance is what firmware may keep for itself.
const memoryTolerance = 100 << 20

// judgeDisk adds to the agent's own reasons why a disk is no installation target.
func judgeDisk(disk *agentv1beta1.HostDisk, need Requirements) {
	eligibility := &disk.InstallationEligibility
	if eligibility.NotEligibleReasons == nil {
		eligibility.NotEligibleReasons = []string{}
	}
	if disk.SizeBytes < need.DiskBytes {
		reason := fmt.Sprintf("disk %s %s is smaller than %s", disk.Name, gigabytes(disk.SizeBytes), gigabytes(need.DiskBytes))
		if !slices.Contains(eligibility.NotEligibleReasons, reason) {
			eligibility.NotEligibleReasons = append(eligibility.NotEligibleReasons, reason)
		}
	}
	eligibility.Eligible = len(eligibility.NotEligibleReasons) == 0
}

func gigabytes(bytes int64) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(bytes)/1e9), ".0") + " GB"
}

// FindDisk is the disk that a user's name means: its id, a by-id or by-path link, /dev/sda or sda.
func FindDisk(inventory agentv1beta1.HostInventory, name string) (agentv1beta1.HostDisk, bool) {
	for _, disk := range inventory.Disks {
		for _, known := range []string{disk.ID, disk.ByID, disk.ByPath, disk.Path, disk.Name} {
			if known != "" && known == name {
				return disk, true
			}
		}
	}
	return agentv1beta1.HostDisk{}, false
}

// smallestDisk is the eligible disk that is taken when the user names none.
func smallestDisk(inventory agentv1beta1.HostInventory) (agentv1beta1.HostDisk, bool) {
	var best agentv1beta1.HostDisk
	found := false
	for _, disk := range inventory.Disks {
		if !disk.InstallationEligibility.Eligible {
			continue
		}
		if !found || disk.SizeBytes < best.SizeBytes || disk.SizeBytes == best.SizeBytes && disk.Name < best.Name {
			best, found = disk, true
		}
	}
	return best, found
}

// installationDisk is the spec's disk, else the smallest eligible one; the error is the user's to read.
func installationDisk(a *agentv1beta1.Agent) (string, error) {
	inventory := a.Status.Inventory
	if a.Spec.InstallationDiskID == "" {
		disk, _ := smallestDisk(inventory)
		return disk.ID, nil
	}
	disk, found := FindDisk(inventory, a.Spec.InstallationDiskID)
	if !found {
		var ids []string
		for _, disk := range inventory.Disks {
			ids = append(ids, disk.ID)
		}
		if a.Spec.InstallationDiskID == NoDisk {
			return "", fmt.Errorf("spec.rootDeviceHints of the host's BareMetalHost fit none of its disks (%s)", strings.Join(ids, ", "))
		}
		return "", fmt.Errorf("installation_disk_id %q is none of the host's disks (%s)", a.Spec.InstallationDiskID, strings.Join(ids, ", "))
	}
	if !disk.InstallationEligibility.Eligible {
		return "", fmt.Errorf("installation_disk_id %q cannot be installed to: %s", a.Spec.InstallationDiskID,
			strings.Join(disk.InstallationEligibility.NotEligibleReasons, ", "))
	}
	return disk.ID, nil
}
