package dhcp

import (
	"net"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// smbios is 00112233-4455-6677-8899-aabbccddeeff as firmware has it in memory.
const smbios = "\x00\x33\x22\x11\x00\x55\x44\x77\x66\x88\x99\xaa\xbb\xcc\xdd\xee\xff"

// pxe is what firmware of an architecture adds to its packets.
func pxe(arch iana.Arch) []dhcpv4.Modifier {
	class := "PXEClient:Arch:00007:UNDI:003000"
	if arch == 0 {
		class = "PXEClient:Arch:00000:UNDI:002001"
	}
	if strings.Contains(arch.String(), "HTTP") {
		class = "HTTPClient:Arch:00016:UNDI:003001"
	}
	return []dhcpv4.Modifier{
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier(class)),
		dhcpv4.WithOption(dhcpv4.OptClientArch(arch)),
		dhcpv4.WithGeneric(dhcpv4.OptionClientMachineIdentifier, []byte(smbios)),
	}
}

func TestChain(t *testing.T) {
	const script = "http://10.7.0.2:8080/boot.ipxe?arch=x86_64&mac=52-54-00-00-00-01&uuid=00112233-4455-6677-8899-aabbccddeeff"
	ipxeROM := func(arch iana.Arch) []dhcpv4.Modifier {
		return append(pxe(arch), dhcpv4.WithGeneric(dhcpv4.OptionUserClassInformation, []byte("iPXE")))
	}
	for name, c := range map[string]struct {
		mods        []dhcpv4.Modifier
		file, class string
	}{
		"not booting":                  {nil, "", ""},
		"BIOS":                         {pxe(iana.INTEL_X86PC), "undionly.kpxe", "PXEClient"},
		"UEFI, 7":                      {pxe(iana.EFI_X86_64), "snponly.efi", "PXEClient"},
		"UEFI, 9":                      {pxe(iana.EFI_BC), "snponly.efi", "PXEClient"},
		"UEFI HTTP":                    {pxe(iana.EFI_X86_64_HTTP), "http://10.7.0.2:8080/loaders/snponly.efi", "HTTPClient"},
		"UEFI 32 bit":                  {pxe(iana.EFI_IA32), "", ""},
		"arm64":                        {pxe(iana.EFI_ARM64), "grubaa64.efi", "PXEClient"},
		"arm64 HTTP":                   {pxe(iana.EFI_ARM64_HTTP), "http://10.7.0.2:8080/loaders/grubaa64.efi", "HTTPClient"},
		"Open Firmware":                {pxe(12), "core.elf", "PXEClient"},
		"petitboot":                    {pxe(14), "pxelinux.0", "PXEClient"},
		"IBM Z":                        {onlyArch(31), "boot/at/10.7.0.2/s390x/01-52-54-00-00-00-01.ins", ""},
		"IBM Z, extended":              {onlyArch(32), "boot/at/10.7.0.2/s390x/01-52-54-00-00-00-01.ins", ""},
		"SLOF":                         {append(onlyArch(12), slofAsks()), "boot/at/10.7.0.2/slof/", ""},
		"SLOF without an architecture": {[]dhcpv4.Modifier{slofAsks()}, "boot/at/10.7.0.2/slof/", ""},
		"RISC-V":                       {pxe(27), "", ""},
		"iPXE BIOS":                    {ipxeROM(iana.INTEL_X86PC), script, "PXEClient"},
		"iPXE UEFI":                    {ipxeROM(iana.EFI_X86_64), script, "PXEClient"},
		"iPXE arm64":                   {ipxeROM(iana.EFI_ARM64), "", ""},
		"iPXE as RFC 3004":             {append(ipxeROM(iana.EFI_X86_64), dhcpv4.WithOption(dhcpv4.OptRFC3004UserClass([]string{"iPXE"}))), script, "PXEClient"},
		"arch from the class":          {[]dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptClassIdentifier("PXEClient:Arch:00007:UNDI:003000"))}, "snponly.efi", "PXEClient"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			for _, kind := range []dhcpv4.MessageType{discover, ask} {
				d, _ := s.send(1, kind, append([]dhcpv4.Modifier{asking("10.7.0.100")}, c.mods...)...)
				if d.Reply == nil {
					t.Fatal(d.Outcome)
				}
				r := d.Reply
				file := r.BootFileName
				if file == "" {
					file = r.BootFileNameOption()
				}
				if file != c.file || r.ClassIdentifier() != c.class {
					t.Errorf("file %q class %q, want %q %q", file, r.ClassIdentifier(), c.file, c.class)
				}
				if file != "" && r.ServerIPAddr.String() != "10.7.0.2" {
					t.Errorf("next server %s", r.ServerIPAddr)
				}
				if r.BootFileName != "" && r.BootFileName != c.file {
					t.Errorf("the boot file is cut: %q", r.BootFileName)
				}
			}
		})
	}
}

// slofAsks is what SLOF wants to know, an architecture among it.
func slofAsks() dhcpv4.Modifier {
	return dhcpv4.WithRequestedOptions(dhcpv4.OptionTFTPServerName, dhcpv4.OptionBootfileName, dhcpv4.OptionClientSystemArchitectureType)
}

// onlyArch is firmware that sends option 93 and no vendor class.
func onlyArch(arch iana.Arch) []dhcpv4.Modifier {
	return []dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptClientArch(arch))}
}

type signed map[string]bool

func (s signed) SecureBoot(mac net.HardwareAddr) bool { return s[mac.String()] }

func TestChainSecureBoot(t *testing.T) {
	chain := Chain{HTTPPort: 8080, Signed: signed{mac(1).String(): true}}
	for name, c := range map[string]struct {
		client Client
		want   string
	}{
		"UEFI":            {Client{MAC: mac(1), Arch: iana.EFI_X86_64}, "shimx64.efi"},
		"UEFI HTTP":       {Client{MAC: mac(1), Arch: iana.EFI_X86_64_HTTP, HTTP: true}, "http://10.7.0.2:8080/loaders/shimx64.efi"},
		"another machine": {Client{MAC: mac(2), Arch: iana.EFI_X86_64}, "snponly.efi"},
		"BIOS has none":   {Client{MAC: mac(1), Arch: iana.INTEL_X86PC}, "undionly.kpxe"},
	} {
		c.client.Local = ip("10.7.0.2")
		if got := chain.Boot(c.client).BootFile; got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// Petitboot asks for the options of PXELINUX (RFC 5071); who does not ask gets none.
func TestPXELINUXOptions(t *testing.T) {
	s := newSite(t)
	request := dhcpv4.WithRequestedOptions(dhcpv4.OptionPXELinuxConfigFile, dhcpv4.OptionPXELinuxPathPrefix)
	d, _ := s.send(1, discover, append(pxe(14), request)...)
	file, prefix := d.Reply.Options.Get(dhcpv4.OptionPXELinuxConfigFile), d.Reply.Options.Get(dhcpv4.OptionPXELinuxPathPrefix)
	if string(file) != "pxelinux.cfg/01-52-54-00-00-00-01" || string(prefix) != "tftp://10.7.0.2/boot/at/10.7.0.2/ppc64le/" {
		t.Errorf("config file %q, path prefix %q", file, prefix)
	}
	if d, _ := s.send(2, discover, pxe(14)...); d.Reply.Options.Has(dhcpv4.OptionPXELinuxPathPrefix) {
		t.Error("a client that did not ask gets a path prefix")
	}
}

func TestClientUUID(t *testing.T) {
	p := packet(t, 1, discover, pxe(iana.EFI_X86_64)...)
	want := uuid.MustParse("00112233-4455-6677-8899-aabbccddeeff")
	if c, boots := clientOf(p, ip("10.7.0.2")); !boots || c.UUID != want {
		t.Errorf("firmware's %s, want %s", c.UUID, want)
	}
}

func TestChainOverTLS(t *testing.T) {
	chain := Chain{HTTPPort: 8443, Secure: true}
	for arch, want := range map[iana.Arch]string{iana.EFI_X86_64_HTTP: "https://10.7.0.2:8443/loaders/snponly.efi"} {
		if offer := chain.Boot(Client{MAC: mac(1), Arch: arch, HTTP: true, Local: ip("10.7.0.2")}); offer.BootFile != want {
			t.Errorf("got %s, want %s", offer.BootFile, want)
		}
	}
	offer := chain.Boot(Client{MAC: mac(1), Arch: iana.EFI_X86_64, IPXE: true, Local: ip("10.7.0.2")})
	if want := "https://10.7.0.2:8443/boot.ipxe?arch=x86_64&mac=52-54-00-00-00-01"; offer.BootFile != want {
		t.Errorf("got %s, want %s", offer.BootFile, want)
	}
}

func TestChainIPv6(t *testing.T) {
	offer := Chain{HTTPPort: 80}.Boot(Client{MAC: mac(1), Arch: iana.EFI_X86_64, IPXE: true, Local: ip("fd00:7::2")})
	if want := "http://[fd00:7::2]:80/boot.ipxe?arch=x86_64&mac=52-54-00-00-00-01"; offer.BootFile != want {
		t.Errorf("got %s, want %s", offer.BootFile, want)
	}
}
