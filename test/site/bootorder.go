package site

import (
	"context"
	"fmt"
)

// source is what a machine boots from.
type source string

const (
	fromDisk    source = "disk"
	fromNetwork source = "nic"
	fromCD      source = "cd"
	// fromHTTP is the network without PXE; the firmware takes the URL from DHCP, as an iLO does.
	fromHTTP source = "http"
)

// device of QEMU by its id.
func (s source) device() source {
	if s == fromHTTP {
		return fromNetwork
	}
	return s
}

// first in the order is what a machine is to boot from once.
const first = 1

// order of a device without an override: the disk, so that an empty one falls through to the network. A CD that a person inserted
// comes before, that of a BMC last: its override chooses it. Zero means that the firmware is not told.
func (m *Machine) order(device source) int {
	switch {
	case m.Firmware.platform().networkFirst && device == fromDisk:
		return 0
	case m.Firmware.platform().networkFirst && device == fromNetwork:
		return first
	case device == fromDisk:
		return 2
	case device == fromNetwork:
		return 3
	case m.BMC == nil:
		return first
	default:
		return 4
	}
}

// bootIndex of a device in QEMU's arguments.
func (m *Machine) bootIndex(device source) string {
	index := m.order(device)
	if m.once.device() == device {
		index = first
	}
	if index == 0 {
		return ""
	}
	return fmt.Sprintf(",bootindex=%d", index)
}

// bootOrder ends the override of the start that just began: firmware reads the order that stood at its reset, and the next reset gives
// it the one that is set here.
func (m *Machine) bootOrder() error {
	device := m.once.device()
	if device == "" {
		return nil
	}
	m.once = ""
	return m.command(context.Background(), "qom-set", map[string]any{"path": "/machine/peripheral/" + string(device), "property": "bootindex", "value": m.order(device)})
}
