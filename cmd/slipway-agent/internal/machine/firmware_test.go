package machine_test

import (
	"testing"

	"github.com/slipway-io/slipway/cmd/slipway-agent/internal/machine"
)

// kvmZ is /proc/sysinfo of a guest of KVM, lpar that of a partition.
const (
	kvmZ = "Manufacturer:         IBM\nType:                 3906\nModel:                M03              M03\nSequence Code:        00000000000A1B2C\n" +
		"Plant:                02\n\nLPAR Number:          12\nLPAR Name:            ZLP12\nLPAR UUID:            e4b1a6d0-0000-4000-8000-000000000012\n\n" +
		"VM00 Name:            zworker0\nVM00 Control Program: KVM/Linux\nVM00 UUID:            77000000-0000-4000-8000-000000000001\n"
	lpar = "Manufacturer:         IBM\nType:                 8561\nModel:                T01              T01\nSequence Code:        00000000000A1B2C\n" +
		"LPAR Number:          12\nLPAR Name:            ZLP12\nLPAR UUID:            E4B1A6D0-0000-4000-8000-000000000012\n"
)

func TestSystem(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  machine.System
		id    string
	}{
		"KVM on IBM Z": {map[string]string{"proc/sysinfo": kvmZ},
			machine.System{Manufacturer: "IBM", Product: "3906 M03 M03", Serial: "00000000000A1B2C-zworker0", UUID: "77000000-0000-4000-8000-000000000001", Virtual: true},
			"77000000-0000-4000-8000-000000000001"},
		"LPAR": {map[string]string{"proc/sysinfo": lpar},
			machine.System{Manufacturer: "IBM", Product: "8561 T01 T01", Serial: "00000000000A1B2C-12", UUID: "e4b1a6d0-0000-4000-8000-000000000012"},
			"e4b1a6d0-0000-4000-8000-000000000012"},
		"QEMU's Power": {map[string]string{"proc/device-tree/model": "IBM pSeries (emulated by qemu)\x00", "proc/device-tree/vm,uuid": "77000000-0000-4000-8000-000000000004\x00"},
			machine.System{Manufacturer: "IBM", Product: "IBM pSeries (emulated by qemu)", UUID: "77000000-0000-4000-8000-000000000004", Virtual: true},
			"77000000-0000-4000-8000-000000000004"},
		"Power": {map[string]string{"proc/device-tree/model": "IBM,9009-42A\x00", "proc/device-tree/system-id": "IBM,0278ABCDE\x00",
			"sys/class/net/eth0/address": "52:54:00:00:00:01", "sys/class/net/eth0/device/x": ""},
			machine.System{Manufacturer: "IBM", Product: "IBM,9009-42A", Serial: "IBM,0278ABCDE"}, "99693c83-2d5b-ad7b-d26e-7c3605f8fe8d"},
		"nothing": {nil, machine.System{}, "deaddead-dead-dead-dead-deaddeaddead"},
	} {
		r := root(t, c.files)
		if got := r.System(); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
		if got := r.HostID(); got != c.id {
			t.Errorf("%s: host id %s, want %s", name, got, c.id)
		}
	}
}
