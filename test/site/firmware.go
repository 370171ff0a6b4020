package site

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Firmware of a machine.
type Firmware string

// The firmwares that the site's machines come with.
const (
	BIOS       Firmware = "bios"
	UEFI       Firmware = "uefi"
	SecureBoot Firmware = "uefi-secure-boot"
	ArmUEFI    Firmware = "arm-uefi"
	Power      Firmware = "power"
	Z          Firmware = "z"
)

// platform is what QEMU has to be told about a firmware.
type platform struct {
	program string
	machine []string
	// code and vars are the flash images, none where the firmware is QEMU's own.
	code, vars string
	// bus ends the names of virtio devices.
	bus string
	// smbios is where the architecture has it.
	smbios bool
	// bare NICs have no boot ROM: the firmware has a network stack.
	bare bool
	// networkFirst is for firmware that does not go on to the network from an empty disk.
	networkFirst bool
}

// pcProcessor is what emulation is quick with: AES and AVX cost it more than what programs do without them. Both processors share a thread: whenever one waits for
// the other it would burn a host's processor. Without AES instructions, which are slow to emulate, TLS takes ChaCha20. As an in-order Intel it
// needs no mitigations, and Linux trusts its clock without asking a device for the time.
const pcProcessor = "qemu64,vendor=GenuineIntel,family=6,model=28,stepping=10,+cx16,+ssse3,+sse4.1,+sse4.2,+popcnt,+x2apic"

// Only TCG is used: a rehearsal has to work where virtualisation is nested away.
func (f Firmware) platform() platform {
	pc := platform{program: "qemu-system-x86_64", machine: []string{"-machine", "q35", "-accel", "tcg,thread=single", "-cpu", pcProcessor}, bus: "pci", smbios: true}
	switch f {
	case UEFI:
		pc.code, pc.vars, pc.bare = "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd", true
	case SecureBoot:
		pc.machine = []string{
			"-machine", "q35,smm=on", "-accel", "tcg,thread=single", "-cpu", pcProcessor,
			"-global", "driver=cfi.pflash01,property=secure,value=on", "-global", "ICH9-LPC.disable_s3=1",
		}
		// The variables with Microsoft's keys enrolled.
		pc.code, pc.vars, pc.bare = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd", true
	case ArmUEFI:
		return platform{
			program: "qemu-system-aarch64", machine: []string{"-machine", "virt", "-accel", "tcg,thread=multi", "-cpu", "cortex-a72"},
			code: "/usr/share/AAVMF/AAVMF_CODE.fd", vars: "/usr/share/AAVMF/AAVMF_VARS.fd", bus: "pci", smbios: true, bare: true,
		}
	case Power:
		return platform{
			program: "qemu-system-ppc64", bus: "pci", networkFirst: true,
			machine: []string{"-machine", "pseries,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken", "-accel", "tcg,thread=multi", "-cpu", "POWER9"},
		}
	case Z:
		return platform{
			program: "qemu-system-s390x", bus: "ccw", networkFirst: true,
			machine: []string{"-machine", "s390-ccw-virtio", "-accel", "tcg,thread=multi", "-cpu", "max"},
		}
	}
	return pc
}

// prepare gives a machine flash of its own for the firmware's variables.
func (f Firmware) prepare(dir string) error {
	from := f.platform().vars
	if from == "" {
		return nil
	}
	vars, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("read variables (package ovmf or qemu-efi-aarch64): %w", err)
	}
	return os.WriteFile(filepath.Join(dir, "vars.fd"), vars, 0o600)
}

// arguments of QEMU.
func (m *Machine) arguments() []string {
	p := m.Firmware.platform()
	args := append([]string{"-name", m.Name}, p.machine...)
	args = append(args,
		"-smp", fmt.Sprint(m.CPUs), "-m", fmt.Sprint(m.MemoryMiB), "-uuid", m.UUID,
		"-display", "none", "-nodefaults", "-no-user-config",
		"-serial", "file:"+m.Console(),
		"-qmp", "unix:"+qmpSocket+",server=on,wait=off",
		"-drive", "if=none,id=d0,format=raw,cache=unsafe,discard=unmap,file="+m.Disk(),
		"-device", "virtio-rng-"+p.bus,
		"-device", "virtio-blk-"+p.bus+",id=disk,drive=d0,serial=disk-"+m.Name+m.bootIndex(fromDisk),
	)
	for i, mac := range m.MACs() {
		id, nic := fmt.Sprintf("n%d", i), ""
		if p.bare {
			nic = ",romfile="
		}
		if i == 0 {
			nic += ",id=nic" + m.bootIndex(fromNetwork)
		}
		args = append(args, "-netdev", "tap,id="+id+",ifname="+m.tap(i)+",script=no,downscript=no",
			"-device", "virtio-net-"+p.bus+",netdev="+id+",mac="+mac+nic)
	}
	if p.smbios {
		args = append(args,
			"-smbios", "type=1,manufacturer=Slipway,product=Virtual site,serial=SITE-"+m.Name+",uuid="+m.UUID,
			"-smbios", "type=2,manufacturer=Slipway,product=Virtual site,serial=SITE-"+m.Name)
	}
	return append(args, append(m.flash(p), m.drive(p)...)...)
}

func (m *Machine) flash(p platform) (args []string) {
	if p.code != "" {
		args = append(args,
			"-drive", "if=pflash,format=raw,unit=0,readonly=on,file="+p.code,
			"-drive", "if=pflash,format=raw,unit=1,file="+filepath.Join(m.dir, "vars.fd"))
	}
	without := m.NoPXE
	if m.once == fromHTTP {
		without = []string{"IPv4", "IPv6"}
	}
	for _, family := range without {
		args = append(args, "-fw_cfg", "name=opt/org.tianocore/"+family+"PXESupport,string=n")
	}
	return args
}

// drive for CDs. That of a BMC is always there, and a read that fails is done again: the machine stands still meanwhile.
func (m *Machine) drive(p platform) []string {
	if m.Media == "" && m.BMC == nil {
		return nil
	}
	from := ""
	switch {
	case strings.HasPrefix(m.Media, "http://"):
		from = ",driver=raw,file.driver=http,file.readahead=1M,file.url=" + m.Media
	case m.Media != "":
		from = ",format=raw,file=" + m.Media
	}
	return []string{
		"-drive", "if=none,id=cd0,media=cdrom,readonly=on" + from,
		"-device", "virtio-scsi-" + p.bus + ",id=scsi0", "-device", "scsi-cd,id=cd,bus=scsi0.0,drive=cd0,rerror=stop" + m.bootIndex(fromCD),
	}
}
