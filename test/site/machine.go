package site

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Machine is a QEMU machine with an empty disk whose cables go to one segment of the site.
type Machine struct {
	Name     string
	Firmware Firmware
	// Segment that its cables go to, the site's first when empty.
	Segment string
	// MAC of the first NIC, which boots. Each further NIC has the next one.
	MAC string
	// NICs, 1 when zero.
	NICs int
	// UUID is what SMBIOS says, or what the architecture has in its place.
	UUID string
	// NoPXE are the address families, IPv4 and IPv6, over which UEFI does not try PXE; without both it comes to HTTP boot.
	NoPXE []string
	// Media is the file or the http URL of an inserted CD, which boots first.
	Media string
	// MemoryMiB and CPUs, 2560 and 2 when zero.
	MemoryMiB, CPUs int
	// DiskGiB, 8 when zero; the file is sparse.
	DiskGiB int
	// BMC that owns the machine, nil when it has none.
	BMC *BMC

	dir string

	// mu guards what a BMC and a person may do at once.
	mu   sync.Mutex
	qemu *exec.Cmd
	done chan struct{}
	// poweredOn is when it last got power.
	poweredOn time.Time
	monitor   *monitor
	// once is where the next start, and only that, comes from.
	once source
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
	if m.NICs == 0 {
		m.NICs = 1
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
	if err := m.Firmware.prepare(m.dir); err != nil {
		return fmt.Errorf("prepare firmware of %s: %w", m.Name, err)
	}
	for i := range m.NICs {
		if err := addTap(m.tap(i), m.Segment); err != nil {
			return err
		}
	}
	return nil
}

// tap is the name of a cable; links have room for 15 bytes.
func (m *Machine) tap(nic int) string {
	if nic == 0 {
		return "tap-" + m.Name
	}
	return fmt.Sprintf("tap%d-%s", nic, m.Name)
}

// MACs of all NICs.
func (m *Machine) MACs() []string {
	first, err := net.ParseMAC(m.MAC)
	if err != nil {
		return nil
	}
	var all []string
	for i := range m.NICs {
		mac := bytes.Clone(first)
		mac[4] += byte(i)
		all = append(all, net.HardwareAddr(mac).String())
	}
	return all
}

// qmpSocket is relative, because a socket's path has room for 107 bytes.
const qmpSocket = "qmp.sock"

// PowerOn starts QEMU; a machine that is on stays as it is.
func (m *Machine) PowerOn() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.powerOn()
}

func (m *Machine) powerOn() error {
	if m.running() {
		return nil
	}
	log, err := os.OpenFile(filepath.Join(m.dir, "qemu.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open QEMU log of %s: %w", m.Name, err)
	}
	defer log.Close()
	// The socket of the QEMU before leads nowhere.
	if err := os.Remove(filepath.Join(m.dir, qmpSocket)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove old QEMU socket of %s: %w", m.Name, err)
	}
	m.qemu = exec.Command(m.Firmware.platform().program, m.arguments()...)
	m.qemu.Dir, m.qemu.Stdout, m.qemu.Stderr = m.dir, log, log
	m.qemu.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := m.qemu.Start(); err != nil {
		return fmt.Errorf("power on %s: %w", m.Name, err)
	}
	m.poweredOn = time.Now()
	m.done = make(chan struct{})
	go func(qemu *exec.Cmd, done chan struct{}) {
		// The exit code says nothing that the log does not say better.
		_ = qemu.Wait()
		close(done)
	}(m.qemu, m.done)
	if m.monitor, err = watch(m.dir, qmpSocket, m.done); err != nil {
		return errors.Join(fmt.Errorf("power on %s: %w", m.Name, err), m.powerOff())
	}
	return m.bootOrder()
}

// PoweredOn is when the machine last got power.
func (m *Machine) PoweredOn() time.Time { return m.poweredOn }

// Running says whether the machine has power.
func (m *Machine) Running() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.running()
}

func (m *Machine) running() bool {
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

// CPU is the time that the machine has used of the processors since its power-on: what a boot costs, however busy the host is.
func (m *Machine) CPU() (time.Duration, error) {
	if !m.Running() {
		return 0, fmt.Errorf("%s has no power", m.Name)
	}
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", m.qemu.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("look for threads of %s: %w", m.Name, err)
	}
	var sum time.Duration
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // a thread that has ended
		}
		var spent int64
		if _, scanned := fmt.Sscan(string(text), &spent); err != nil || scanned != nil {
			return 0, fmt.Errorf("read %s: %w", file, errors.Join(err, scanned))
		}
		sum += time.Duration(spent)
	}
	return sum, nil
}

// PowerOff pulls the plug.
func (m *Machine) PowerOff() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.powerOff()
}

func (m *Machine) powerOff() error {
	if !m.running() {
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
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.command(ctx, "system_reset", nil)
}

// command of the machine that runs.
func (m *Machine) command(ctx context.Context, command string, arguments map[string]any) error {
	if !m.running() {
		return fmt.Errorf("%s of %s: it is off", command, m.Name)
	}
	if err := m.monitor.do(ctx, command, arguments); err != nil {
		return fmt.Errorf("machine %s: %w", m.Name, err)
	}
	return nil
}
