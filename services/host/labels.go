package host

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
)

// labelPrefix of what an Agent's inventory shows as labels.
const labelPrefix = "inventory.agent-install.openshift.io/"

// Labels are the inventory in words that a selector can use; none before there is an inventory.
func Labels(a *agentv1beta1.Agent) map[string]string {
	if !inventoried(a) {
		return nil
	}
	inventory := a.Status.Inventory
	ssd := slices.ContainsFunc(inventory.Disks, func(d agentv1beta1.HostDisk) bool { return d.DriveType == "SSD" })
	virt := slices.Contains(inventory.Cpu.Flags, "vmx") || slices.Contains(inventory.Cpu.Flags, "svm")
	return map[string]string{
		labelPrefix + "storage-hasnonrotationaldisk": strconv.FormatBool(ssd),
		labelPrefix + "cpu-architecture":             labelValue(inventory.Cpu.Architecture),
		labelPrefix + "cpu-virtenabled":              strconv.FormatBool(virt),
		labelPrefix + "host-manufacturer":            labelValue(inventory.SystemVendor.Manufacturer),
		labelPrefix + "host-productname":             labelValue(inventory.SystemVendor.ProductName),
		labelPrefix + "host-isvirtual":               strconv.FormatBool(inventory.SystemVendor.Virtual),
	}
}

// labelValue drops what a label's value may not hold.
func labelValue(text string) string {
	const longest = 63
	value := regexp.MustCompile(`[^A-Za-z0-9_.-]+`).ReplaceAllString(text, "")
	if len(value) > longest {
		value = value[:longest]
	}
	return strings.Trim(value, "_.-")
}
