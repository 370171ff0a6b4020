// Package inventory says what a machine consists of, from /sys, /proc and /dev.
package inventory

import (
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-io/slipway/cmd/slipway-agent/internal/machine"
	"github.com/slipway-io/slipway/services/agentapi/wire"
)

// Collect looks at everything; what a machine does not have stays empty.
func Collect(root machine.Root, now time.Time) wire.Inventory {
	inventory := wire.Inventory{
		BMCAddress: "0.0.0.0", BMCV6Address: "::/0",
		SystemVendor: vendor(root), CPU: cpu(root), Memory: memory(root), Boot: boot(root),
		Interfaces: interfaces(root, addresses), Disks: disks(root), GPUs: gpus(root), Routes: routes(root),
		TPMVersion: tpm(root), Timestamp: now.Unix(),
	}
	inventory.Hostname = hostname(inventory.Interfaces)
	return inventory
}

// hostname replaces names that every machine has by the first usable MAC address with dashes.
func hostname(nics []wire.Interface) string {
	name, err := os.Hostname()
	if err == nil && !common(name) {
		return name
	}
	for _, usable := range []func(wire.Interface) bool{
		func(n wire.Interface) bool { return n.HasCarrier && len(n.IPv4Addresses)+len(n.IPv6Addresses) > 0 },
		func(n wire.Interface) bool { return n.MACAddress != "" },
	} {
		if i := slices.IndexFunc(nics, usable); i >= 0 && nics[i].MACAddress != "" {
			return strings.ReplaceAll(nics[i].MACAddress, ":", "-")
		}
	}
	return name
}

func common(name string) bool {
	return slices.Contains([]string{
		"", "(none)", "localhost", "localhost.localdomain", "localhost4", "localhost4.localdomain4",
		"localhost6", "localhost6.localdomain6", "debian", "fedora", "slipway",
	}, name)
}

func vendor(root machine.Root) wire.SystemVendor {
	v := wire.SystemVendor{
		Manufacturer: root.DMI("sys_vendor"), ProductName: root.DMI("product_name"), SerialNumber: root.DMI("product_serial"),
	}
	if v.SerialNumber == "" {
		v.SerialNumber = root.DMI("board_serial")
	}
	if v.Manufacturer == "" && v.ProductName == "" {
		system := root.System()
		return wire.SystemVendor{Manufacturer: system.Manufacturer, ProductName: system.Product, SerialNumber: system.Serial, Virtual: system.Virtual}
	}
	v.Virtual = slices.Contains(cpuFlags(root), "hypervisor") || root.Exists("sys/hypervisor/type") ||
		strings.HasPrefix(v.Manufacturer, "QEMU")
	return v
}

func cpu(root machine.Root) wire.CPU {
	c := wire.CPU{Flags: cpuFlags(root), Architecture: architecture()}
	for line := range strings.Lines(root.Line("proc/cpuinfo")) {
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		switch {
		case key == "processor", strings.HasPrefix(key, "processor "): // IBM Z has "processor 0: version = …"
			c.Count++
		case key == "model name", key == "cpu": // Power calls it cpu
			c.ModelName = value
		case key == "cpu MHz", key == "clock", key == "cpu MHz dynamic":
			if mhz, err := strconv.ParseFloat(strings.TrimSuffix(value, "MHz"), 64); err == nil && c.Frequency == 0 {
				c.Frequency = mhz
			}
		}
	}
	if khz := number(root.Line("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")); khz > 0 {
		c.Frequency = float64(khz) / 1000
	}
	return c
}

// architecture in the words of the assisted service.
func architecture() string {
	switch runtime.GOARCH {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	}
	return runtime.GOARCH
}

func cpuFlags(root machine.Root) []string {
	for line := range strings.Lines(root.Line("proc/cpuinfo")) {
		key, value, ok := strings.Cut(line, ":")
		if name := strings.TrimSpace(key); ok && (name == "flags" || strings.EqualFold(name, "features")) {
			return strings.Fields(value)
		}
	}
	return []string{}
}

// memory counts the memory blocks that the firmware gave; the kernel's own total lacks what it took for itself.
func memory(root machine.Root) wire.Memory {
	m := wire.Memory{PhysicalMethod: "meminfo"}
	for line := range strings.Lines(root.Line("proc/meminfo")) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			fields := strings.Fields(rest)
			if len(fields) > 0 {
				m.UsableBytes = number(fields[0]) * 1024
			}
		}
	}
	m.PhysicalBytes = m.UsableBytes
	size, err := strconv.ParseInt(root.Line("sys/devices/system/memory/block_size_bytes"), 16, 64)
	if err != nil || size <= 0 {
		return m
	}
	var blocks int64
	for _, name := range root.Names("sys/devices/system/memory") {
		if strings.HasPrefix(name, "memory") && root.Line("sys/devices/system/memory", name, "online") == "1" {
			blocks++
		}
	}
	if total := blocks * size; total >= m.UsableBytes {
		m.PhysicalBytes, m.PhysicalMethod = total, "ghw"
	}
	return m
}

func boot(root machine.Root) wire.Boot {
	b := wire.Boot{CurrentBootMode: "bios", CommandLine: root.Line("proc/cmdline"), DeviceType: "ephemeral", SecureBootState: "NotSupported"}
	if root.Exists("sys/firmware/efi") {
		b.CurrentBootMode, b.SecureBootState = "uefi", "Disabled"
		state := root.Line("sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c")
		if strings.HasSuffix(state, "\x01") {
			b.SecureBootState = "Enabled"
		}
	}
	for _, word := range strings.Fields(b.CommandLine) {
		if mac, ok := strings.CutPrefix(word, "BOOTIF="); ok {
			b.PXEInterface = strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(mac, "01-"), "-", ":"))
		}
	}
	return b
}

func tpm(root machine.Root) string {
	if !root.Exists("sys/class/tpm/tpm0") {
		return "none"
	}
	if root.Line("sys/class/tpm/tpm0/tpm_version_major") == "2" {
		return "2.0"
	}
	return "1.2"
}

// gpus are the PCI devices of the display class.
func gpus(root machine.Root) []wire.GPU {
	found := []wire.GPU{}
	for _, address := range root.Names("sys/bus/pci/devices") {
		if !strings.HasPrefix(root.Line("sys/bus/pci/devices", address, "class"), "0x03") {
			continue
		}
		found = append(found, wire.GPU{
			Address:  address,
			VendorID: strings.TrimPrefix(root.Line("sys/bus/pci/devices", address, "vendor"), "0x"),
			DeviceID: strings.TrimPrefix(root.Line("sys/bus/pci/devices", address, "device"), "0x"),
		})
	}
	return found
}

func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// addresses are an interface's own, in CIDR form, without link-local ones.
func addresses(name string) (v4, v6 []string, mtu int, flags []string) {
	nic, err := net.InterfaceByName(name)
	if err != nil {
		return nil, nil, 0, nil
	}
	list, err := nic.Addrs()
	if err != nil {
		list = nil
	}
	for _, address := range list {
		network, ok := address.(*net.IPNet)
		if !ok || network.IP.IsLinkLocalUnicast() {
			continue
		}
		if network.IP.To4() != nil {
			v4 = append(v4, network.String())
		} else {
			v6 = append(v6, network.String())
		}
	}
	return v4, v6, nic.MTU, strings.Split(nic.Flags.String(), "|")
}
