// Package machine reads what the kernel says of the machine, below a root that tests can replace.
package machine

import (
	"crypto/md5"
	"encoding/hex"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Root is where /sys, /proc and /dev are found; "/" on a real machine.
type Root string

// Path is a file's place below the root.
func (r Root) Path(elements ...string) string {
	return filepath.Join(append([]string{string(r)}, elements...)...)
}

// Line reads a small file without the space around it; empty when there is none.
func (r Root) Line(elements ...string) string {
	data, err := os.ReadFile(r.Path(elements...))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(strings.ToValidUTF8(string(data), ""))
}

// Names lists a directory, sorted; nothing when there is none.
func (r Root) Names(elements ...string) []string {
	entries, err := os.ReadDir(r.Path(elements...))
	if err != nil {
		return nil
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// Exists says whether there is such a file.
func (r Root) Exists(elements ...string) bool {
	_, err := os.Lstat(r.Path(elements...))
	return err == nil
}

// Partitions are the kernel's names of those of a disk, such as sda1 of sda.
func (r Root) Partitions(disk string) []string {
	var found []string
	for _, entry := range r.Names("sys/block", disk) {
		if r.Exists("sys/block", disk, entry, "partition") {
			found = append(found, entry)
		}
	}
	return found
}

// DMI is one word of the firmware's, empty when the firmware has left it blank.
func (r Root) DMI(name string) string {
	value := r.Line("sys/class/dmi/id", name)
	if blank(value) {
		return ""
	}
	return value
}

// blank says that a firmware's word says nothing.
func blank(value string) bool {
	value = strings.ToLower(strings.TrimSpace(value))
	if strings.Trim(value, "0. -") == "" || strings.HasPrefix(value, "pca_number.acc") {
		return true
	}
	return slices.Contains([]string{
		"unknown", "none", "(none)", "default string", "not specified", "unspecified base board serial number", "not applicable",
		"to be filled by o.e.m.", "to be filled by o.e.m", "system serial number", "base board serial number", "serial number",
		"o.e.m.", "oem", "n/a", "invalid",
	}, value)
}

// HostID names the machine for ever: from its board's serial number, else the firmware's UUID, else its lowest MAC address.
func (r Root) HostID() string {
	if serial := r.DMI("board_serial"); serial != "" {
		return derived(serial)
	}
	if product := usableUUID(r.Line("sys/class/dmi/id/product_uuid")); product != "" {
		return product
	}
	if uuid := r.System().UUID; uuid != "" {
		return uuid
	}
	if macs := r.MACs(); len(macs) > 0 {
		return derived(macs[0])
	}
	return "deaddead-dead-dead-dead-deaddeaddead"
}

// MACs are the addresses of the machine's own interfaces, sorted.
func (r Root) MACs() []string {
	var macs []string
	for _, name := range r.Names("sys/class/net") {
		if !r.Exists("sys/class/net", name, "device") {
			continue
		}
		mac := r.Line("sys/class/net", name, "bonding_slave/perm_hwaddr")
		if mac == "" {
			mac = r.Line("sys/class/net", name, "address")
		}
		if parsed, err := net.ParseMAC(mac); err == nil && strings.Trim(mac, "0:") != "" {
			macs = append(macs, parsed.String())
		}
	}
	slices.Sort(macs)
	return slices.Compact(macs)
}

func derived(from string) string {
	sum := md5.Sum([]byte(from))
	text := hex.EncodeToString(sum[:])
	return strings.Join([]string{text[:8], text[8:12], text[12:16], text[16:20], text[20:]}, "-")
}

func isUUID(text string) bool {
	parts := strings.Split(text, "-")
	if len(parts) != 5 {
		return false
	}
	for i, length := range []int{8, 4, 4, 4, 12} {
		if len(parts[i]) != length || strings.Trim(parts[i], "0123456789abcdef") != "" {
			return false
		}
	}
	return true
}
