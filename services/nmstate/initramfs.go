package nmstate

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Where the initramfs of CoreOS systems and of the assisted service has these.
const (
	networks = "etc/assisted/network"
	script   = "usr/local/bin/pre-network-manager-config.sh"
	unit     = "etc/systemd/system/pre-network-manager-config.service"
	wanted   = "etc/systemd/system/initrd.target.wants/pre-network-manager-config.service"
)

//go:embed files/pre-network-manager-config.sh
var scriptContent []byte

//go:embed files/pre-network-manager-config.service
var unitContent []byte

// File is one of an initramfs. A link's content is its target.
type File struct {
	Name       string
	Executable bool
	Private    bool
	Link       bool
	Content    []byte
}

// Initramfs has a directory for each host with its keyfiles and mac_interface.ini, whose lines are MAC=name, and what
// chooses one of them on a machine: a script that leaves the keyfiles in /etc/coreos-firstboot-network, and for
// initramfs with systemd its unit. Without any keyfile there are no files.
func Initramfs(hosts []Host) ([]File, error) {
	var files []File
	for i, host := range hosts {
		keyfiles, err := Keyfiles(host)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", host.Name, err)
		}
		if len(keyfiles) == 0 {
			continue
		}
		dir := fmt.Sprintf("%s/host%d/", networks, i)
		files = append(files, File{Name: dir + "mac_interface.ini", Private: true, Content: host.mapping()})
		for _, name := range slices.Sorted(maps.Keys(keyfiles)) {
			files = append(files, File{Name: dir + name, Private: true, Content: keyfiles[name]})
		}
	}
	if len(files) == 0 {
		return nil, nil
	}
	return append(files,
		File{Name: script, Executable: true, Content: scriptContent},
		File{Name: unit, Content: unitContent},
		File{Name: wanted, Link: true, Content: []byte("/" + unit)},
	), nil
}

func (h Host) mapping() []byte {
	ports := h.ports(&faults{})
	var lines []string
	for name, mac := range ports {
		lines = append(lines, mac+"="+name+"\n")
	}
	slices.Sort(lines)
	return []byte(strings.Join(lines, ""))
}
