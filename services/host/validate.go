package host

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/openshift/assisted-service/api/common"
	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Outcomes of a validation.
const (
	success = "success"
	failure = "failure"
	pending = "pending"
)

// Limits of a host's clock against ours.
const (
	maxBehind = 20 * time.Minute
	maxAhead  = time.Hour
)

const (
	network  = "network"
	hardware = "hardware"
)

// check is one validation's verdict; an empty problem is success.
type check struct {
	id, category string
	problem, ok  string
	// needsInventory leaves the check pending until there is one; boundOnly leaves it out in the pool.
	needsInventory, boundOnly bool
}

// validate judges a host.
func validate(a *agentv1beta1.Agent, seen Observed) common.ValidationsStatus {
	info := common.ValidationsStatus{network: {}, hardware: {}}
	for _, c := range checks(a, seen) {
		if c.boundOnly && !Bound(a) {
			continue
		}
		result := common.ValidationResult{ID: c.id, Status: success, Message: c.ok}
		switch {
		case c.needsInventory && !inventoried(a):
			result.Status, result.Message = pending, "Waiting for the host's inventory"
		case c.problem != "":
			result.Status, result.Message = failure, c.problem
		}
		info[c.category] = append(info[c.category], result)
	}
	return info
}

func checks(a *agentv1beta1.Agent, seen Observed) []check {
	inventory, need := a.Status.Inventory, seen.Need
	missing := ""
	if !inventoried(a) {
		missing = "The host has sent no inventory yet"
	}
	return []check{
		{id: "connected", category: network, problem: silence(seen), ok: "Host is connected"},
		{id: "time-synced-between-host-and-service", category: network, boundOnly: true, problem: skewed(seen.Contact.Skew),
			ok: "Host clock is synchronized with service"},
		{id: "has-inventory", category: hardware, problem: missing, ok: "Valid inventory exists for the host"},
		{id: "has-min-cpu-cores", category: hardware, needsInventory: true, ok: fmt.Sprintf("%d CPU cores", inventory.Cpu.Count),
			problem: when(inventory.Cpu.Count < need.CPUs, "the host has %d CPU cores, %d are needed", inventory.Cpu.Count, need.CPUs)},
		{id: "has-min-memory", category: hardware, needsInventory: true, ok: fmt.Sprintf("%d MiB of memory", memory(inventory)>>20),
			problem: when(memory(inventory)+memoryTolerance < need.MemoryBytes, "the host has %d MiB of memory, %d MiB are needed",
				memory(inventory)>>20, need.MemoryBytes>>20)},
		{id: "has-min-valid-disks", category: hardware, needsInventory: true, problem: disksProblem(a), ok: "Sufficient disk capacity"},
		{id: "hostname-valid", category: hardware, needsInventory: true, problem: hostnameProblem(Hostname(a)),
			ok: fmt.Sprintf("Hostname %s is allowed", Hostname(a))},
		{id: "hostname-unique", category: hardware, needsInventory: true, boundOnly: true,
			ok: fmt.Sprintf("Hostname %s is unique in cluster", Hostname(a)),
			problem: when(seen.SameHostname != "", "hostname %s is also that of Agent %s in the same cluster; set spec.hostname",
				Hostname(a), seen.SameHostname)},
	}
}

func when(bad bool, format string, args ...any) string {
	if !bad {
		return ""
	}
	return fmt.Sprintf(format, args...)
}

func memory(inventory agentv1beta1.HostInventory) int64 {
	return max(inventory.Memory.PhysicalBytes, inventory.Memory.UsableBytes)
}

func silence(seen Observed) string {
	if seen.connected() {
		return ""
	}
	return fmt.Sprintf("the host has been silent since %s", seen.Contact.At.UTC().Format(time.RFC3339))
}

func skewed(skew time.Duration) string {
	if skew < -maxBehind {
		return fmt.Sprintf("the host's clock is %s behind", (-skew).Round(time.Second))
	}
	if skew > maxAhead {
		return fmt.Sprintf("the host's clock is %s ahead", skew.Round(time.Second))
	}
	return ""
}

// disksProblem is also that of the disk which the spec names: a host with another one must not be taken by a cluster.
func disksProblem(a *agentv1beta1.Agent) string {
	inventory := a.Status.Inventory
	if len(inventory.Disks) == 0 {
		return "the host has no disk"
	}
	if a.Spec.InstallationDiskID != "" {
		if _, err := installationDisk(a); err != nil {
			return err.Error()
		}
	}
	if _, found := smallestDisk(inventory); found {
		return ""
	}
	var reasons []string
	for _, disk := range inventory.Disks {
		for _, reason := range disk.InstallationEligibility.NotEligibleReasons {
			if !strings.HasPrefix(reason, "disk ") {
				reason = "disk " + disk.Name + ": " + reason
			}
			reasons = append(reasons, reason)
		}
	}
	return "no disk can be installed to: " + strings.Join(reasons, "; ")
}

// hostnameProblem says what is wrong with a node's name.
func hostnameProblem(name string) string {
	if forbiddenHostname(name) {
		return fmt.Sprintf("hostname %s is forbidden; set spec.hostname", name)
	}
	if len(name) > 63 {
		return fmt.Sprintf("hostname %s is longer than 63 characters", name)
	}
	if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
		return fmt.Sprintf("hostname %s: %s", name, strings.Join(problems, "; "))
	}
	return ""
}

func forbiddenHostname(name string) bool {
	return slices.Contains([]string{
		"localhost", "localhost.localdomain", "localhost4", "localhost4.localdomain4", "localhost6", "localhost6.localdomain6",
	}, name)
}

// failing are the messages of a host's validations that keep it from its installation.
func failing(info common.ValidationsStatus) []string {
	var messages []string
	for _, category := range []string{network, hardware} {
		for _, result := range info[category] {
			if result.Status == failure {
				messages = append(messages, result.Message)
			}
		}
	}
	return messages
}
