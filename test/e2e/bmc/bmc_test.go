//go:build e2e

// Package bmc is the virtual site's BMCs without an appliance: a Redfish client switches real machines.
package bmc

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-io/slipway/services/bmc"
	"github.com/slipway-io/slipway/services/bmc/redfish"
	"github.com/slipway-io/slipway/test/site"
)

// patience with one start of a machine, which is seconds on an idle host.
const patience = 4 * time.Minute

func TestMain(m *testing.M) { os.Exit(site.Main(m.Run)) }

// machine under test, and what its console says first when it starts from a source.
type machine struct {
	*site.Machine
	cd, disk string
	// pxe and http are the vendor classes of its firmware in DHCP.
	pxe, http string
}

func machines() []machine {
	return []machine{
		{&site.Machine{Name: "bios", Firmware: site.BIOS, MemoryMiB: 512, CPUs: 1, DiskGiB: 1, BMC: &site.BMC{Profile: "Supermicro X12"}},
			"from CD", "from disk", "PXEClient:Arch:00000", ""},
		{&site.Machine{Name: "uefi", Firmware: site.UEFI, MemoryMiB: 512, CPUs: 1, DiskGiB: 1, BMC: &site.BMC{Profile: "iDRAC10", IPv6: true}},
			`starting Boot[0-9A-F]{4} "UEFI QEMU QEMU CD-ROM`, `starting Boot[0-9A-F]{4} "UEFI Non-Block Boot Device`, "PXEClient:Arch:00007", "HTTPClient:Arch:00016"},
	}
}

// TestMachines: virtual CD once, then the disk although the medium is still in, eject while it runs, PXE once, HTTP boot once, off.
func TestMachines(t *testing.T) {
	all, config := machines(), site.Under()
	for _, one := range all {
		config.Machines = append(config.Machines, one.Machine)
	}
	opened, err := site.Open(config)
	must(t, err)
	dir := filepath.Join(config.Dir, "media")
	must(t, os.Mkdir(dir, 0o755))
	medium(t, dir)
	listener, err := net.Listen("tcp", site.Addresses()[0].Addr().String()+":8080")
	must(t, err)
	server := &http.Server{Handler: http.FileServer(http.Dir(dir))}
	go func() { _ = server.Serve(listener) }() // Close ends it
	defer server.Close()
	asked := listen(t)
	var wait sync.WaitGroup
	for _, one := range all {
		wait.Go(func() {
			t.Run(one.Name, func(t *testing.T) {
				one.install(t, dir)
				one.walk(t, opened, "http://"+listener.Addr().String()+"/medium.iso", asked)
			})
		})
	}
	wait.Wait()
}

func (m machine) walk(t *testing.T, opened *site.Site, image string, asked *classes) {
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	defer func() { must(t, m.PowerOff()) }()
	address, err := bmc.ParseAddress(m.BMC.Address())
	must(t, err)
	c, err := redfish.Open(ctx, bmc.Config{
		Address: address, Credentials: bmc.Credentials{Username: site.BMCUser, Password: m.BMC.Password()}, TLS: &tls.Config{RootCAs: opened.BMCRoots()},
	})
	must(t, err)
	once := func(target bmc.Boot) {
		t.Helper()
		_, err := c.BootOnce(ctx, target, "")
		must(t, err)
	}
	start := time.Now()
	step := func(what string) { t.Logf("%5.1f s %s", time.Since(start).Seconds(), what) }

	_, err = c.InsertMedia(ctx, image)
	must(t, err)
	once(bmc.BootCD)
	must(t, c.SetPower(ctx, bmc.On, false))
	from := m.says(t, 0, m.cd)
	step("started from the CD")
	must(t, c.Reset(ctx))
	m.says(t, from, m.disk)
	step("restarted from the disk")
	must(t, c.EjectMedia(ctx))
	left, err := c.Media(ctx)
	must(t, err)
	if len(left) > 0 || m.Media != "" {
		t.Errorf("media after the eject: %v, %s", left, m.Media)
	}
	once(bmc.BootPXE)
	must(t, c.Reset(ctx))
	asked.wait(t, m.MAC, m.pxe)
	step("asked for PXE")
	if m.http != "" {
		once(bmc.BootHTTP)
		must(t, c.SetPower(ctx, bmc.Off, false))
		must(t, c.SetPower(ctx, bmc.On, false))
		asked.wait(t, m.MAC, m.http)
		step("asked for HTTP boot")
	}
	must(t, c.SetPower(ctx, bmc.Off, false))
	if power, err := c.Power(ctx); err != nil || power != bmc.Off || m.Running() {
		t.Errorf("power %s, %v, runs %t", power, err, m.Running())
	}
	must(t, c.Close(ctx))
}

// says waits until the console shows the pattern behind an offset, and gives the offset behind it.
func (m machine) says(t *testing.T, from int, pattern string) int {
	t.Helper()
	wanted := regexp.MustCompile(pattern)
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		console, err := os.ReadFile(m.Console())
		must(t, err)
		if len(console) >= from {
			if at := wanted.FindIndex(console[from:]); at != nil {
				return from + at[1]
			}
		}
		if time.Since(begin) > patience {
			t.Fatalf("its console does not say %s, but %q", pattern, console[min(from, len(console)):])
		}
	}
}

// bootSector prints a word on the serial line and halts.
func bootSector(word string) []byte {
	code := []byte{0xba, 0xf8, 0x03} // mov dx, 0x3f8
	for _, letter := range []byte(word) {
		code = append(code, 0xb0, letter, 0xee) // mov al, letter; out dx, al
	}
	sector := make([]byte, 512)
	copy(sector, append(code, 0xf4, 0xeb, 0xfd)) // hlt; jmp to it
	sector[510], sector[511] = 0x55, 0xaa
	return sector
}

// medium is an ISO that both firmwares start.
func medium(t *testing.T, dir string) {
	must(t, os.Mkdir(filepath.Join(dir, "root"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "root", "boot.bin"), bootSector("from CD\n"), 0o644))
	run(t, "truncate", "-s", "2880K", filepath.Join(dir, "root", "efi.img"))
	efi(t, filepath.Join(dir, "root", "efi.img"))
	run(t, "xorriso", "-as", "mkisofs", "-quiet", "-o", filepath.Join(dir, "medium.iso"), "-b", "boot.bin", "-no-emul-boot", "-boot-load-size", "4",
		"-eltorito-alt-boot", "-e", "efi.img", "-no-emul-boot", filepath.Join(dir, "root"))
}

// install something that starts on the machine's disk.
func (m machine) install(t *testing.T, dir string) {
	if m.Firmware == site.UEFI {
		efi(t, m.Disk())
		return
	}
	disk, err := os.OpenFile(m.Disk(), os.O_WRONLY, 0)
	must(t, err)
	defer disk.Close()
	_, err = disk.Write(bootSector("from disk\n"))
	must(t, err)
}

// efi makes a file system with a loader in a file.
func efi(t *testing.T, image string) {
	run(t, "mkfs.fat", image)
	run(t, "mmd", "-i", image, "::/EFI", "::/EFI/BOOT")
	run(t, "mcopy", "-i", image, "/usr/lib/ipxe/snponly.efi", "::/EFI/BOOT/BOOTX64.EFI")
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
}

// classes are what firmware asked for by DHCP, by MAC.
type classes struct {
	mu   sync.Mutex
	seen map[string][]byte
}

func listen(t *testing.T) *classes {
	conn, err := net.ListenPacket("udp4", ":67")
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	c := &classes{seen: map[string][]byte{}}
	go func() {
		packet := make([]byte, 2048)
		for {
			n, _, err := conn.ReadFrom(packet)
			if err != nil {
				return
			}
			if n < 240 {
				continue
			}
			c.mu.Lock()
			mac := hex.EncodeToString(packet[28:34])
			c.seen[mac] = append(c.seen[mac], packet[240:n]...)
			c.mu.Unlock()
		}
	}()
	return c
}

func (c *classes) wait(t *testing.T, mac, class string) {
	t.Helper()
	for begin := time.Now(); time.Since(begin) < patience; time.Sleep(100 * time.Millisecond) {
		c.mu.Lock()
		found := bytes.Contains(c.seen[strings.ReplaceAll(mac, ":", "")], []byte(class))
		c.mu.Unlock()
		if found {
			return
		}
	}
	t.Fatal(fmt.Errorf("%s does not ask as %s", mac, class))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
