package dhcp

import (
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

// Chain boots every machine the same way: firmware gets iPXE, iPXE gets the boot script.
type Chain struct {
	HTTPPort uint16 // of the plain HTTP front; 8080 when 0
}

// Boot decides from the client alone. Architectures without a loader get nothing and go on to their next boot device.
func (c Chain) Boot(client Client) Offer {
	arch, http := client.Arch, client.HTTP
	switch {
	case client.IPXE:
		if cpu(arch) == "" {
			return Offer{}
		}
		return Offer{client.Local, c.script(client), class(http)}
	case http && arch == iana.EFI_X86_64_HTTP:
		return Offer{client.Local, c.url(client.Local, ipxe.LoaderPath+ipxe.LoaderUEFI, ""), classHTTP}
	case http:
		return Offer{}
	case arch == iana.INTEL_X86PC:
		return Offer{client.Local, ipxe.LoaderBIOS, classPXE}
	case arch == iana.EFI_X86_64, arch == iana.EFI_BC:
		return Offer{client.Local, ipxe.LoaderUEFI, classPXE}
	}
	return Offer{}
}

// script is rendered for the client instead of leaving ${net0/mac} to iPXE: net0 need not be the card that boots.
func (c Chain) script(client Client) string {
	query := url.Values{"mac": {strings.ReplaceAll(client.MAC.String(), ":", "-")}, "arch": {cpu(client.Arch)}}
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
	u := url.URL{Scheme: "http", Host: netip.AddrPortFrom(host, port).String(), Path: path, RawQuery: query}
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
	if archs := p.ClientArch(); len(archs) > 0 {
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
	return c, c.PXE || c.HTTP || c.IPXE
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
