package bmh

import (
	"time"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-io/slipway/services/bmc"
)

// Enter a state: the status has it, and when the operations of the old and the new state ended and began.
func Enter(host *metal3v1alpha1.BareMetalHost, next State, now time.Time) {
	status := &host.Status
	if status.Provisioning.State == next {
		return
	}
	at := metav1.NewTime(now.UTC().Truncate(time.Second))
	if metric := host.OperationMetricForState(status.Provisioning.State); metric != nil {
		metric.End = at
	}
	if metric := host.OperationMetricForState(next); metric != nil {
		metric.Start, metric.End = at, metav1.Time{}
	}
	status.Provisioning.State = next
	switch next {
	case unmanaged:
		status.OperationalStatus = metal3v1alpha1.OperationalStatusDiscovered
	case registering, inspecting, provisioning:
		status.Provisioning.BootMode = host.BootMode()
	}
}

// Details of inspected hardware in the words of the API. Redfish knows no Linux names of disks.
func Details(h bmc.Hardware) *metal3v1alpha1.HardwareDetails {
	details := &metal3v1alpha1.HardwareDetails{
		SystemVendor: metal3v1alpha1.HardwareSystemVendor{Manufacturer: h.Manufacturer, ProductName: h.Product, SerialNumber: h.Serial},
		Firmware:     metal3v1alpha1.Firmware{BIOS: metal3v1alpha1.BIOS{Vendor: h.BIOS.Vendor, Version: h.BIOS.Version, Date: h.BIOS.Date}},
		RAMMebibytes: h.RAM, Hostname: h.Hostname,
		CPU: metal3v1alpha1.CPU{
			Arch: h.CPU.Architecture, Model: h.CPU.Model, ClockMegahertz: metal3v1alpha1.ClockSpeed(h.CPU.MHz), Count: h.CPU.Count, Flags: h.CPU.Flags,
		},
	}
	for _, nic := range h.NICs {
		details.NIC = append(details.NIC, metal3v1alpha1.NIC{Name: nic.Name, Model: nic.Model, MAC: nic.MAC, SpeedGbps: nic.Gbps})
	}
	for _, drive := range h.Storage {
		kind := metal3v1alpha1.DiskType(drive.Type)
		if kind != metal3v1alpha1.HDD && kind != metal3v1alpha1.SSD && kind != metal3v1alpha1.NVME {
			kind = ""
		}
		details.Storage = append(details.Storage, metal3v1alpha1.Storage{
			Name: drive.Name, Vendor: drive.Vendor, Model: drive.Model, SerialNumber: drive.Serial, WWN: drive.WWN, Type: kind,
			SizeBytes: metal3v1alpha1.Capacity(drive.Bytes), Rotational: drive.Rotational,
		})
	}
	return details
}
