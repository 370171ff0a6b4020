package inventory

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-io/slipway/cmd/slipway-agent/internal/machine"
	"github.com/slipway-io/slipway/services/agentapi/wire"
)

func fixture(t *testing.T, files, symlinks map[string]string) machine.Root {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range symlinks {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.Symlink(target, path)); err != nil {
			t.Fatal(err)
		}
	}
	return machine.Root(dir)
}

func TestDisks(t *testing.T) {
	root := fixture(t, map[string]string{
		"sys/block/sda/size": "41943040", "sys/block/sda/queue/rotational": "1", "sys/block/sda/dev": "8:0",
		"sys/block/sda/device/model": "DISK  \n", "sys/block/sda/device/vpd_pg80": "\x00\x80\x00\x04S123",
		"sys/block/sda/device/wwid":    "naa.5000c500a1b2c3d4\n",
		"sys/block/sda/sda1/partition": "1", "sys/block/sda/sda1/dev": "8:1", "sys/block/sda/sda1/holders/dm-0": "",
		"sys/block/nvme0n1/size": "2097152", "sys/block/nvme0n1/queue/rotational": "0", "sys/block/nvme0n1/serial": "N1\n",
		"sys/block/nvme0n1/dev": "259:0", "sys/block/nvme0n1/nvme0n1p1/partition": "1", "sys/block/nvme0n1/nvme0n1p1/dev": "259:1",
		"sys/block/sdb/size": "100", "sys/block/sdb/removable": "1", "sys/block/sdb/ro": "1", "sys/block/sdb/dev": "8:16",
		"sys/block/sdc/size": "0", "sys/block/sr0/size": "100", "sys/block/loop0/size": "100", "sys/block/zram0/size": "8",
		"sys/block/mmcblk0boot0/size": "100", "sys/block/vda/size": "2048", "sys/block/vda/dev": "253:0",
		"proc/self/mountinfo": "36 35 259:1 / /run/media/iso rw - iso9660 /dev/nvme0n1p1 ro\n",
		"proc/swaps":          "Filename Type Size\n/dev/vda partition 1\n",
	}, map[string]string{
		"dev/disk/by-id/ata-DISK":                 "../../sda",
		"dev/disk/by-id/wwn-0x5000c500a1b2c3d4":   "../../sda",
		"dev/disk/by-path/pci-0000:00:1f.2-ata-1": "../../sda",
		"dev/disk/by-path/pci-0000:00:05.0":       "../../vda",
	})
	want := []wire.Disk{
		{
			ID: "/dev/disk/by-path/x", Name: "nvme0n1", Path: "/dev/nvme0n1", DriveType: "SSD", SizeBytes: 1 << 30, Serial: "N1",
			HasUUID: true, IsMedia: true,
			Eligibility: wire.Eligibility{NotEligibleReasons: []string{"nvme0n1p1 is mounted at /run/media/iso (installation media)"}},
		},
		{
			ID: "/dev/disk/by-id/wwn-0x5000c500a1b2c3d4", ByID: "/dev/disk/by-id/wwn-0x5000c500a1b2c3d4", Name: "sda", Path: "/dev/sda",
			ByPath: "/dev/disk/by-path/pci-0000:00:1f.2-ata-1", DriveType: "HDD", SizeBytes: 20 << 30, Model: "DISK", Serial: "S123",
			WWN: "0x5000c500a1b2c3d4", HasUUID: true, Holders: "dm-0",
			Eligibility: wire.Eligibility{NotEligibleReasons: []string{"disk is in use by dm-0"}},
		},
		{
			ID: "/dev/sdb", Name: "sdb", Path: "/dev/sdb", DriveType: "HDD", SizeBytes: 51200, Removable: true,
			Eligibility: wire.Eligibility{NotEligibleReasons: []string{"disk is removable", "disk is read-only"}},
		},
		{
			ID: "/dev/disk/by-path/pci-0000:00:05.0", ByPath: "/dev/disk/by-path/pci-0000:00:05.0", Name: "vda", Path: "/dev/vda",
			DriveType: "HDD", SizeBytes: 1 << 20, Eligibility: wire.Eligibility{NotEligibleReasons: []string{"vda is used as swap"}},
		},
	}
	want[0].ID = "/dev/nvme0n1"
	if diff := cmp.Diff(want, disks(root)); diff != "" {
		t.Error(diff)
	}
}

func TestInterfacesAndRoutes(t *testing.T) {
	root := fixture(t, map[string]string{
		"sys/class/net/eth0/address": "52:54:00:AA:00:01", "sys/class/net/eth0/device/vendor": "0x1af4", "sys/class/net/eth0/carrier": "1",
		"sys/class/net/eth0/speed": "-1", "sys/class/net/lo/address": "00:00:00:00:00:00", "sys/class/net/br0/address": "52:54:00:00:00:02",
		"sys/class/net/eth1/address": "52:54:00:00:00:0b", "sys/class/net/eth1/device/vendor": "0x8086", "sys/class/net/eth1/speed": "25000",
		"sys/class/net/eth1/bonding_slave/perm_hwaddr": "52:54:00:00:00:03", "sys/class/net/bond0/bonding/mode": "x",
		"sys/class/net/bond0/address": "52:54:00:00:00:0b", "proc/net/vlan/eth0.7": "", "sys/class/net/br-ex/bridge/bridge_id": "8000", "sys/class/net/br-ex/address": "52:54:00:00:00:0c", "sys/class/net/eth0.7/address": "52:54:00:aa:00:01",
		"proc/net/route": "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n" +
			"eth0\t00000000\t0107000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\neth0\t0007000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\nbroken\n",
		"proc/net/ipv6_route": "00000000000000000000000000000000 00 00000000000000000000000000000000 00 20010db8000000000000000000000001 00000400 1 0 00000003 eth0\n" +
			"fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 1 0 00000001 eth0\n",
	}, nil)
	addresses := func(name string) (v4, v6 []string, mtu int, flags []string) {
		if name == "eth0" {
			return []string{"10.0.7.9/24"}, []string{"2001:db8::9/64"}, 1500, []string{"up"}
		}
		return nil, nil, 1500, nil
	}
	var got []string
	for _, nic := range interfaces(root, addresses) {
		got = append(got, strings.Join([]string{nic.Name, nic.Type, nic.MACAddress}, " "))
		if nic.IPv4Addresses == nil || nic.IPv6Addresses == nil || nic.Flags == nil || nic.SpeedMbps < 0 {
			t.Errorf("%+v", nic)
		}
	}
	want := []string{
		"bond0 bond 52:54:00:00:00:0b", "br-ex bridge 52:54:00:00:00:0c", "eth0 physical 52:54:00:aa:00:01", "eth0.7 vlan 52:54:00:aa:00:01", "eth1 physical 52:54:00:00:00:03",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	wantRoutes := []wire.Route{
		{Interface: "eth0", Destination: "0.0.0.0", Gateway: "10.0.7.1", Family: 2, Metric: 100},
		{Interface: "eth0", Destination: "10.0.7.0", Family: 2},
		{Interface: "eth0", Destination: "::", Gateway: "2001:db8::1", Family: 10, Metric: 1024},
	}
	if diff := cmp.Diff(wantRoutes, routes(root)); diff != "" {
		t.Error(diff)
	}
	nics := interfaces(root, addresses)
	if name := hostname(nics); name == "" || name == "localhost" {
		t.Errorf("hostname %q", name)
	}
}

func TestMemoryAndBoot(t *testing.T) {
	root := fixture(t, map[string]string{
		"proc/meminfo": "MemTotal:        1900000 kB\nMemFree: 1 kB\n", "sys/devices/system/memory/block_size_bytes": "8000000\n",
		"sys/devices/system/memory/memory0/online": "1", "sys/devices/system/memory/memory1/online": "0",
		"sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c": "\x06\x00\x00\x00\x01",
		"proc/cmdline": "quiet BOOTIF=01-52-54-00-AA-00-01\n", "sys/class/tpm/tpm0/tpm_version_major": "2",
		"sys/bus/pci/devices/0000:00:01.0/class": "0x030000", "sys/bus/pci/devices/0000:00:01.0/vendor": "0x10de",
		"sys/bus/pci/devices/0000:00:02.0/class": "0x020000",
	}, nil)
	found := Collect(root, time.Unix(7, 0))
	if m := found.Memory; m.UsableBytes != 1900000*1024 || m.PhysicalBytes != m.UsableBytes {
		t.Errorf("one block of 128 MiB is less than the kernel has: %+v", m)
	}
	if b := found.Boot; b.CurrentBootMode != "uefi" || b.SecureBootState != "Enabled" || b.PXEInterface != "52:54:00:aa:00:01" {
		t.Errorf("%+v", b)
	}
	if found.TPMVersion != "2.0" || len(found.GPUs) != 1 || found.GPUs[0].VendorID != "10de" || found.CPU.Flags == nil {
		t.Errorf("%+v", found)
	}
}

// TestThisMachine looks at the machine that runs the test: nothing may panic, and what every machine has is there.
func TestThisMachine(t *testing.T) {
	found := Collect("/", time.Now())
	if found.CPU.Count < 1 || found.Memory.UsableBytes == 0 || found.Hostname == "" || found.CPU.Architecture == "" {
		t.Errorf("%+v", found)
	}
}

// Processors are listed differently on every architecture.
func TestCPU(t *testing.T) {
	for name, c := range map[string]struct {
		cpuinfo, model string
		count          int64
		flag           string
	}{
		"x86":   {"processor\t: 0\nmodel name\t: QEMU\nflags\t\t: fpu vme\n\nprocessor\t: 1\nmodel name\t: QEMU\nflags\t\t: fpu vme\n", "QEMU", 2, "vme"},
		"IBM Z": {"vendor_id       : IBM/S390\n# processors    : 2\nfeatures\t: esan3 zarch \nprocessor 0: version = FF,  identification = 000000,  machine = 3906\nprocessor 1: version = FF,  identification = 000001,  machine = 3906\n", "", 2, "zarch"},
		"Power": {"processor\t: 0\ncpu\t\t: POWER9 (architected), altivec supported\nclock\t\t: 1000.000000MHz\n", "POWER9 (architected), altivec supported", 1, ""},
		"Arm":   {"processor\t: 0\nFeatures\t: fp asimd\n", "", 1, "asimd"},
	} {
		got := cpu(fixture(t, map[string]string{"proc/cpuinfo": c.cpuinfo}, nil))
		if got.Count != c.count || got.ModelName != c.model || (c.flag != "" && !slices.Contains(got.Flags, c.flag)) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
