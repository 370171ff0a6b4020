package inventory

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-io/slipway/cmd/slipway-agent/internal/machine"
	"github.com/slipway-io/slipway/services/agentapi/wire"
)

const sector = 512

// disks are the whole disks that the kernel knows, in the order of their names.
func disks(root machine.Root) []wire.Disk {
	byID, byPath := links(root, "by-id"), links(root, "by-path")
	mounts := mounted(root)
	found := []wire.Disk{}
	for _, name := range root.Names("sys/block") {
		size := number(root.Line("sys/block", name, "size")) * sector
		if size == 0 || !isDisk(name) {
			continue
		}
		disk := wire.Disk{
			Name: name, Path: "/dev/" + name, ByID: byID[name], ByPath: byPath[name], SizeBytes: size, DriveType: driveType(root, name),
			Model: root.Line("sys/block", name, "device/model"), Vendor: root.Line("sys/block", name, "device/vendor"),
			Serial: serial(root, name), WWN: wwn(root, name, byID[name]), HCTL: hctl(root, name),
			Removable: root.Line("sys/block", name, "removable") == "1",
			Holders:   strings.Join(holders(root, name), ","), HasUUID: serial(root, name) != "",
		}
		disk.ID = disk.Path
		for _, id := range []string{disk.ByID, disk.ByPath} {
			if id != "" {
				disk.ID = id
				break
			}
		}
		reasons := unfit(root, name, disk, mounts)
		disk.IsMedia = slices.ContainsFunc(reasons, func(r string) bool { return strings.Contains(r, "installation media") })
		disk.Eligibility = wire.Eligibility{Eligible: len(reasons) == 0, NotEligibleReasons: reasons}
		found = append(found, disk)
	}
	return found
}

// isDisk leaves out what is no disk: memory, loops, optical drives, floppies, and what is made of other disks.
func isDisk(name string) bool {
	return !regexp.MustCompile(`^(loop|ram|zram|sr|fd|dm-|md|nbd|mtd)[0-9]`).MatchString(name) &&
		!regexp.MustCompile(`^mmcblk[0-9]+(boot|rpmb)`).MatchString(name)
}

// links maps kernel names to the best link of /dev/disk/<kind>: a WWN before others, then the first in order.
func links(root machine.Root, kind string) map[string]string {
	best := map[string]string{}
	for _, link := range root.Names("dev/disk", kind) {
		target, err := os.Readlink(root.Path("dev/disk", kind, link))
		if err != nil {
			continue
		}
		name, path := filepath.Base(target), "/dev/disk/"+kind+"/"+link
		stable := strings.HasPrefix(link, "wwn-") || strings.HasPrefix(link, "nvme-eui.")
		if best[name] == "" || stable && !strings.Contains(best[name], "/wwn-") {
			best[name] = path
		}
	}
	return best
}

func driveType(root machine.Root, name string) string {
	if root.Line("sys/block", name, "queue/rotational") == "0" {
		return "SSD"
	}
	return "HDD"
}

func serial(root machine.Root, name string) string {
	for _, file := range []string{"serial", "device/serial"} {
		if value := root.Line("sys/block", name, file); value != "" {
			return value
		}
	}
	// SCSI keeps it in a vital product data page: four bytes of head, then the text.
	const head = 4
	page, err := os.ReadFile(root.Path("sys/block", name, "device/vpd_pg80"))
	if err != nil || len(page) <= head {
		return ""
	}
	return strings.TrimSpace(strings.Trim(strings.ToValidUTF8(string(page[head:]), ""), "\x00"))
}

func wwn(root machine.Root, name, byID string) string {
	if _, id, ok := strings.Cut(byID, "/wwn-"); ok {
		return id
	}
	for _, file := range []string{"wwid", "device/wwid"} {
		if value := root.Line("sys/block", name, file); value != "" {
			return strings.TrimPrefix(strings.TrimPrefix(value, "naa."), "eui.")
		}
	}
	return ""
}

// hctl is the SCSI address, the last element of the device's path.
func hctl(root machine.Root, name string) string {
	target, err := os.Readlink(root.Path("sys/block", name, "device"))
	if err != nil || strings.Count(filepath.Base(target), ":") != 3 {
		return ""
	}
	return filepath.Base(target)
}

func holders(root machine.Root, name string) []string {
	found := root.Names("sys/block", name, "holders")
	for _, partition := range root.Partitions(name) {
		found = append(found, root.Names("sys/block", name, partition, "holders")...)
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// mounted maps major:minor to where it is mounted.
func mounted(root machine.Root) map[string]string {
	at := map[string]string{}
	for line := range strings.Lines(root.Line("proc/self/mountinfo")) {
		if fields := strings.Fields(line); len(fields) > 4 {
			at[fields[2]] = fields[4]
		}
	}
	return at
}

// unfit are the reasons why the agent would not install to a disk.
func unfit(root machine.Root, name string, disk wire.Disk, mounts map[string]string) []string {
	reasons := []string{}
	if disk.Removable {
		reasons = append(reasons, "disk is removable")
	}
	if root.Line("sys/block", name, "ro") == "1" {
		reasons = append(reasons, "disk is read-only")
	}
	if disk.Holders != "" {
		reasons = append(reasons, "disk is in use by "+disk.Holders)
	}
	swaps := root.Line("proc/swaps")
	for _, part := range append([]string{""}, root.Partitions(name)...) {
		device := name
		if part != "" {
			device = part
		}
		if where, is := mounts[root.Line("sys/block", name, part, "dev")]; is {
			reason := fmt.Sprintf("%s is mounted at %s", device, where)
			if strings.HasSuffix(where, "iso") {
				reason += " (installation media)"
			}
			reasons = append(reasons, reason)
		}
		if strings.Contains(swaps, "/dev/"+device+" ") || strings.Contains(swaps, "/dev/"+device+"\t") {
			reasons = append(reasons, device+" is used as swap")
		}
	}
	return reasons
}
