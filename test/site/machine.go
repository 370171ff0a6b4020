package site

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Firmware of a machine.
type Firmware string

// The firmwares that the site's machines come with.
const (
	BIOS Firmware = "bios"
	UEFI Firmware = "uefi"
)

// Machine is a QEMU machine with an empty disk whose only cable goes to the site's bridge.
type Machine struct {
	Name     string
	Firmware Firmware
	// MAC of the only NIC.
	MAC string
	// UUID is what SMBIOS says.
	UUID string
	// MemoryMiB and CPUs, 2560 and 2 when zero.
	MemoryMiB, CPUs int
	// DiskGiB, 8 when zero; the file is sparse.
	DiskGiB int

	dir  string
	qemu *exec.Cmd
	done chan struct{}
}

// Console is the file with what the machine printed on its serial line.
func (m *Machine) Console() string {
	return filepath.Join(m.dir, "console.log")
}

// Disk is the file behind the machine's disk.
func (m *Machine) Disk() string {
	return filepath.Join(m.dir, "disk.raw")
}

// prepare makes the disk, the firmware's variables and the cable.
func (m *Machine) prepare(siteDir string, index int) error {
	m.dir = filepath.Join(siteDir, "machines", m.Name)
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return fmt.Errorf("make directory of %s: %w", m.Name, err)
	}
	if m.MemoryMiB == 0 {
		m.MemoryMiB = 2560
	}
	if m.CPUs == 0 {
		m.CPUs = 2
	}
	if m.DiskGiB == 0 {
		m.DiskGiB = 8
	}
	if m.MAC == "" {
		m.MAC = fmt.Sprintf("52:54:00:77:00:%02x", index+1)
	}
	if m.UUID == "" {
		m.UUID = fmt.Sprintf("77000000-0000-4000-8000-0000000000%02x", index+1)
	}
	disk, err := os.Create(m.Disk())
	if err != nil {
		return fmt.Errorf("make disk of %s: %w", m.Name, err)
	}
	defer disk.Close()
	if err := disk.Truncate(int64(m.DiskGiB) << 30); err != nil {
		return fmt.Errorf("size disk of %s: %w", m.Name, err)
	}
	if m.Firmware == UEFI {
		vars, err := os.ReadFile("/usr/share/OVMF/OVMF_VARS_4M.fd")
		if err != nil {
			return fmt.Errorf("read UEFI variables (package ovmf): %w", err)
		}
		if err := os.WriteFile(filepath.Join(m.dir, "vars.fd"), vars, 0o600); err != nil {
			return fmt.Errorf("write UEFI variables of %s: %w", m.Name, err)
		}
	}
	return addTap("tap-" + m.Name)
}

// arguments of QEMU: the disk comes first, so an empty one falls through to the network.
// Only TCG is used: a rehearsal has to work where virtualisation is nested away.
func (m *Machine) arguments() []string {
	nic := "virtio-net-pci,netdev=n0,bootindex=2,mac=" + m.MAC
	args := []string{
		"-name", m.Name, "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max",
		"-smp", fmt.Sprint(m.CPUs), "-m", fmt.Sprint(m.MemoryMiB), "-uuid", m.UUID,
		"-smbios", "type=1,manufacturer=Slipway,product=Virtual site,serial=SITE-" + m.Name + ",uuid=" + m.UUID,
		"-smbios", "type=2,manufacturer=Slipway,product=Virtual site,serial=SITE-" + m.Name,
		"-display", "none", "-nodefaults", "-no-user-config",
		"-serial", "file:" + m.Console(),
		"-qmp", "unix:" + m.qmpSocket() + ",server=on,wait=off",
		"-netdev", "tap,id=n0,ifname=tap-" + m.Name + ",script=no,downscript=no",
		"-drive", "if=none,id=d0,format=raw,cache=unsafe,discard=unmap,file=" + m.Disk(),
		"-device", "virtio-blk-pci,drive=d0,bootindex=1,serial=disk-" + m.Name,
		"-device", "virtio-rng-pci",
	}
	if m.Firmware == UEFI {
		return append(args, "-device", nic+",romfile=",
			"-drive", "if=pflash,format=raw,unit=0,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd",
			"-drive", "if=pflash,format=raw,unit=1,file="+filepath.Join(m.dir, "vars.fd"))
	}
	return append(args, "-device", nic)
}

// qmpSocket is relative, because a socket's path has room for 107 bytes.
func (m *Machine) qmpSocket() string {
	return "qmp.sock"
}

// PowerOn starts QEMU; a machine that is on stays as it is.
func (m *Machine) PowerOn() error {
	if m.Running() {
		return nil
	}
	log, err := os.OpenFile(filepath.Join(m.dir, "qemu.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open QEMU log of %s: %w", m.Name, err)
	}
	defer log.Close()
	m.qemu = exec.Command("qemu-system-x86_64", m.arguments()...)
	m.qemu.Dir, m.qemu.Stdout, m.qemu.Stderr = m.dir, log, log
	m.qemu.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := m.qemu.Start(); err != nil {
		return fmt.Errorf("power on %s: %w", m.Name, err)
	}
	m.done = make(chan struct{})
	go func(qemu *exec.Cmd, done chan struct{}) {
		// The exit code says nothing that the log does not say better.
		_ = qemu.Wait()
		close(done)
	}(m.qemu, m.done)
	return nil
}

// Running says whether the machine has power.
func (m *Machine) Running() bool {
	if m.done == nil {
		return false
	}
	select {
	case <-m.done:
		return false
	default:
		return true
	}
}

// PowerOff pulls the plug.
func (m *Machine) PowerOff() error {
	if !m.Running() {
		return nil
	}
	if err := m.qemu.Process.Kill(); err != nil {
		return fmt.Errorf("power off %s: %w", m.Name, err)
	}
	<-m.done
	return nil
}

// Reset presses the reset button.
func (m *Machine) Reset(ctx context.Context) error {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	// Through /proc the path stays short, however deep the site's directory is.
	directory, err := os.Open(m.dir)
	if err != nil {
		return fmt.Errorf("open directory of %s: %w", m.Name, err)
	}
	defer directory.Close()
	conn, err := dialer.DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d/%s", directory.Fd(), m.qmpSocket()))
	if err != nil {
		return fmt.Errorf("reach QEMU of %s: %w", m.Name, err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return fmt.Errorf("reach QEMU of %s: %w", m.Name, err)
	}
	answers := json.NewDecoder(io.LimitReader(conn, 1<<20))
	var greeting json.RawMessage
	if err := answers.Decode(&greeting); err != nil {
		return fmt.Errorf("greet QEMU of %s: %w", m.Name, err)
	}
	for _, command := range []string{"qmp_capabilities", "system_reset"} {
		if _, err := fmt.Fprintf(conn, "{\"execute\":%q}\n", command); err != nil {
			return fmt.Errorf("%s of %s: %w", command, m.Name, err)
		}
		var answer json.RawMessage
		if err := answers.Decode(&answer); err != nil {
			return fmt.Errorf("%s of %s: %w", command, m.Name, err)
		}
		if bytes.Contains(answer, []byte(`"error"`)) {
			return fmt.Errorf("%s of %s: %s", command, m.Name, answer)
		}
	}
	return nil
}
