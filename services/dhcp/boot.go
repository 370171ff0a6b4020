package dhcp

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/slipway-io/slipway/ipxe"
)

// Arch is a client's architecture as RFC 4578 and IANA number it.
type Arch = iana.Arch

// Vendor classes of clients that boot, which an answer repeats.
const (
	classPXE  = "PXEClient"
	classHTTP = "HTTPClient"
)

// Chain gives firmware the loader of its architecture: x86 gets iPXE and that the boot script, the others get GRUB, or the
// files that their firmware itself reads.
type Chain struct {
	HTTPPort uint16 // of the front that boots; 8080 when 0
	Secure   bool   // it speaks TLS
	// Signed says which x86 machines start the signed chain (shim, GRUB) instead of iPXE; nil for none.
	Signed Signed
}

// Signed tells whether the machine with this MAC has Secure Boot switched on.
type Signed interface {
	SecureBoot(mac net.HardwareAddr) bool
}

// Architectures that iana has no name for. IBM Z: https://www.iana.org/assignments/dhcpv6-parameters (processor
// architecture types).
const (
	archPowerOpenFirmware = iana.Arch(12)
	archPowerOPAL         = iana.Arch(14)
	archS390Basic         = iana.Arch(31)
	archS390Extended      = iana.Arch(32)
)

// Boot decides from the client alone. Architectures without a loader get nothing and go on to their next boot device.
func (c Chain) Boot(client Client) Offer {
	arch, http := client.Arch, client.HTTP
	switch {
	case client.IPXE:
		if cpu(arch) != "x86_64" {
			return Offer{}
		}
		return Offer{NextServer: client.Local, BootFile: c.script(client), VendorClass: class(http)}
	case http:
		return c.overHTTP(client)
	case client.SLOF:
		// A name that ends with a slash lets SLOF look for pxelinux.cfg/01-<mac> below it.
		return overTFTP(client, "boot/at/"+bracketed(client.Local)+"/slof/")
	case arch == iana.INTEL_X86PC:
		return overTFTP(client, ipxe.LoaderBIOS)
	case arch == iana.EFI_X86_64, arch == iana.EFI_BC:
		return overTFTP(client, c.uefi(client))
	case arch == iana.EFI_ARM64:
		return overTFTP(client, ipxe.LoaderArm64)
	case arch == archPowerOpenFirmware:
		return overTFTP(client, ipxe.LoaderPower)
	case arch == archPowerOPAL:
		// Petitboot looks for pxelinux.cfg/01-<mac> below the prefix and needs no loader.
		offer := overTFTP(client, "pxelinux.0")
		offer.PathPrefix = "tftp://" + bracketed(client.Local) + "/" + directory(client) + "/"
		offer.ConfigFile = "pxelinux.cfg/01-" + hyphens(client.MAC)
		return offer
	case arch == archS390Basic, arch == archS390Extended:
		return overTFTP(client, directory(client)+"/01-"+hyphens(client.MAC)+".ins")
	}
	return Offer{}
}

func overTFTP(client Client, file string) Offer {
	return Offer{NextServer: client.Local, BootFile: file, VendorClass: classPXE}
}

// overHTTP is UEFI HTTP boot.
func (c Chain) overHTTP(client Client) Offer {
	var file string
	switch client.Arch {
	case iana.EFI_X86_64_HTTP, iana.EFI_BC_HTTP:
		file = c.uefi(client)
	case iana.EFI_ARM64_HTTP:
		file = ipxe.LoaderArm64
	default:
		return Offer{}
	}
	return Offer{NextServer: client.Local, BootFile: c.url(client.Local, ipxe.LoaderPath+file, ""), VendorClass: classHTTP}
}

func (c Chain) uefi(client Client) string {
	if c.Signed != nil && c.Signed.SecureBoot(client.MAC) {
		return ipxe.LoaderShim
	}
	return ipxe.LoaderUEFI
}

// directory is where the boot files of the client's architecture are on the TFTP server; the address tells the server,
// which is given nothing but the name, how it was reached.
func directory(client Client) string {
	return "boot/at/" + bracketed(client.Local) + "/" + cpu(client.Arch)
}

func bracketed(a netip.Addr) string {
	if a.Is4() {
		return a.String()
	}
	return "[" + a.String() + "]"
}

func hyphens(mac net.HardwareAddr) string { return strings.ReplaceAll(mac.String(), ":", "-") }

// script is rendered for the client instead of leaving ${net0/mac} to iPXE: net0 need not be the card that boots.
func (c Chain) script(client Client) string {
	query := url.Values{"mac": {hyphens(client.MAC)}, "arch": {cpu(client.Arch)}}
	if client.UUID != uuid.Nil {
		query.Set("uuid", client.UUID.String())
	}
	return c.url(client.Local, ipxe.ScriptPath, query.Encode())
}

func (c Chain) url(host netip.Addr, path, query string) string {
	port := c.HTTPPort
	if port == 0 {
		port = 8080
	}
	scheme := "http"
	if c.Secure {
		scheme = "https"
	}
	u := url.URL{Scheme: scheme, Host: netip.AddrPortFrom(host, port).String(), Path: path, RawQuery: query}
	return u.String()
}

func class(http bool) string {
	if http {
		return classHTTP
	}
	return classPXE
}

// cpu names an architecture as `uname -m` does, empty where there is nothing to boot yet.
func cpu(a Arch) string {
	switch a {
	case iana.INTEL_X86PC, iana.EFI_X86_64, iana.EFI_BC, iana.EFI_X86_64_HTTP, iana.EFI_BC_HTTP, iana.INTEL_X86PC_HTTP:
		return "x86_64"
	case iana.EFI_ARM64, iana.EFI_ARM64_HTTP:
		return "aarch64"
	case archPowerOpenFirmware, archPowerOPAL:
		return "ppc64le"
	case archS390Basic, archS390Extended:
		return "s390x"
	}
	return ""
}

// clientOf reads what a packet says about its sender. The second result is false for a client that does not boot.
func clientOf(p *dhcpv4.DHCPv4, local netip.Addr) (Client, bool) {
	vendor := p.ClassIdentifier()
	c := Client{
		MAC:   p.ClientHWAddr,
		PXE:   strings.HasPrefix(vendor, classPXE),
		HTTP:  strings.HasPrefix(vendor, classHTTP),
		IPXE:  slices.Contains(p.UserClass(), "iPXE") || string(p.Options.Get(dhcpv4.OptionUserClassInformation)) == "iPXE",
		Local: local,
	}
	archs := p.ClientArch()
	if len(archs) > 0 {
		c.Arch = archs[0]
	} else if n, ok := archOfClass(vendor); ok {
		c.Arch = n
	}
	if raw := p.Options.Get(dhcpv4.OptionClientMachineIdentifier); len(raw) == 17 && raw[0] == 0 {
		copy(c.UUID[:], raw[1:])
		// Firmware and iPXE send it as SMBIOS has it: the first three fields are little endian.
		slices.Reverse(c.UUID[0:4])
		slices.Reverse(c.UUID[4:6])
		slices.Reverse(c.UUID[6:8])
	}
	// SLOF says no class, and nobody else asks the server for an architecture.
	c.SLOF = vendor == "" && (len(archs) == 0 || c.Arch == archPowerOpenFirmware) && p.ParameterRequestList().Has(dhcpv4.OptionClientSystemArchitectureType)
	// The firmware of KVM on IBM Z sends an architecture without a class.
	return c, c.PXE || c.HTTP || c.IPXE || c.SLOF || len(archs) > 0
}

// archOfClass reads the number in "PXEClient:Arch:00007:UNDI:003000".
func archOfClass(vendor string) (Arch, bool) {
	parts := strings.Split(vendor, ":")
	if len(parts) < 3 || parts[1] != "Arch" {
		return 0, false
	}
	n, err := strconv.ParseUint(parts[2], 10, 16)
	return Arch(n), err == nil
}
