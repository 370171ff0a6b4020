package bmc

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Scheme is the driver of a BareMetalHost's BMC address, without its carrier. All mean Redfish; which vendor answers is
// seen on the wire, so that what a scheme says is how the host is to boot.
type Scheme string

// The schemes that manifests of the field carry.
const (
	Redfish             Scheme = "redfish"
	RedfishVirtualMedia Scheme = "redfish-virtualmedia"
	RedfishUEFIHTTP     Scheme = "redfish-uefihttp"
	IDRAC               Scheme = "idrac"
	IDRACRedfish        Scheme = "idrac-redfish"
	IDRACVirtualMedia   Scheme = "idrac-virtualmedia"
	ILO4                Scheme = "ilo4"
	ILO4VirtualMedia    Scheme = "ilo4-virtualmedia"
	ILO5                Scheme = "ilo5"
	ILO5Redfish         Scheme = "ilo5-redfish"
	ILO5VirtualMedia    Scheme = "ilo5-virtualmedia"
)

var schemes = []Scheme{
	Redfish, RedfishVirtualMedia, RedfishUEFIHTTP, IDRAC, IDRACRedfish, IDRACVirtualMedia, ILO4, ILO4VirtualMedia, ILO5, ILO5Redfish, ILO5VirtualMedia,
}

// Boot is the way of booting that the scheme asks for: BootCD, BootHTTP or BootPXE.
func (s Scheme) Boot() Boot {
	switch {
	case strings.HasSuffix(string(s), "-virtualmedia"):
		return BootCD
	case strings.HasSuffix(string(s), "-uefihttp"):
		return BootHTTP
	default:
		return BootPXE
	}
}

// Address is where a BMC listens and which of its systems is meant.
type Address struct {
	Scheme Scheme
	// HTTP without TLS, from a carrier "+http".
	HTTP bool
	// Host is an IP address in its canonical form without brackets, or a DNS name in lower case.
	Host string
	// Port is never zero.
	Port int
	// SystemPath is the ComputerSystem's path, empty for a BMC's only system.
	SystemPath string
}

const maxAddress = 2048

var dnsName = regexp.MustCompile(`^([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.?$`)

// ParseAddress reads `<scheme>[+http|+https]://host[:port][/redfish/v1/Systems/…]`; IPv6 literals stand in brackets.
func ParseAddress(text string) (Address, error) {
	if len(text) > maxAddress {
		return Address{}, fmt.Errorf("BMC address has %d characters, of at most %d", len(text), maxAddress)
	}
	text = strings.TrimSpace(text)
	if !strings.Contains(text, "://") {
		return Address{}, errors.New("BMC address has no scheme: write for example redfish-virtualmedia://192.0.2.7/redfish/v1/Systems/1")
	}
	u, err := url.Parse(text)
	if err != nil {
		// What url.Parse says holds the text, and that may hold a password.
		return Address{}, errors.New("BMC address is no URL: write for example redfish-virtualmedia://192.0.2.7/redfish/v1/Systems/1")
	}
	switch {
	case u.User != nil:
		return Address{}, errors.New("BMC address holds a user name: credentials belong into the Secret that credentialsName names")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return Address{}, errors.New("BMC address has a query or a fragment: leave away what begins with ? or #")
	}
	var a Address
	if err := a.scheme(u.Scheme); err != nil {
		return Address{}, err
	}
	if err := a.host(u); err != nil {
		return Address{}, err
	}
	if err := a.system(u); err != nil {
		return Address{}, err
	}
	return a, nil
}

func (a *Address) scheme(text string) error {
	driver, carrier, found := strings.Cut(strings.ToLower(text), "+")
	if found && carrier != "http" && carrier != "https" {
		return fmt.Errorf("carrier +%s of the BMC address is unknown: write +http, +https or none, which is https", carrier)
	}
	if !slices.Contains(schemes, Scheme(driver)) {
		names := make([]string, len(schemes))
		for i, s := range schemes {
			names[i] = string(s)
		}
		return fmt.Errorf("scheme %s of the BMC address is not spoken here, only Redfish is: use one of %s", driver, strings.Join(names, ", "))
	}
	a.Scheme, a.HTTP = Scheme(driver), carrier == "http"
	return nil
}

func (a *Address) host(u *url.URL) error {
	host := u.Hostname()
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Is6() != strings.HasPrefix(u.Host, "[") {
			return fmt.Errorf("host %s of the BMC address: IPv6 addresses, and only they, stand in brackets", host)
		}
		if ip.Is4In6() || ip.IsUnspecified() || ip.IsMulticast() {
			return fmt.Errorf("host %s of the BMC address is not the address of one machine", host)
		}
		a.Host = ip.String()
	} else {
		a.Host = strings.ToLower(host)
		if len(a.Host) > 253 || !dnsName.MatchString(a.Host) {
			return fmt.Errorf("host %q of the BMC address is neither an IP address nor a DNS name", host)
		}
	}
	a.Port = a.defaultPort()
	if _, _, given := strings.Cut(strings.TrimPrefix(u.Host, "["+host+"]"), ":"); !given {
		return nil
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil || port < 1 || port > 65535 {
		return fmt.Errorf("port %q of the BMC address is none: give 1 to 65535, or none for %d", u.Port(), a.defaultPort())
	}
	a.Port = port
	return nil
}

func (a *Address) system(u *url.URL) error {
	if strings.ContainsFunc(u.Path, func(r rune) bool { return r < 0x21 || r == 0x7f || r == '?' || r == '#' || r == '%' || r == '\\' }) {
		return fmt.Errorf("path %q of the BMC address has characters that no Redfish path has", u.Path)
	}
	system := path.Clean("/" + u.Path)
	switch {
	case system == "/" || system == "/redfish" || system == "/redfish/v1" || system == "/redfish/v1/Systems":
		return nil
	case !strings.HasPrefix(system, "/redfish/v1/"):
		return fmt.Errorf("path %s of the BMC address is not below /redfish/v1: give the system's, such as /redfish/v1/Systems/1, or none", system)
	case strings.HasPrefix(system, "/redfish/v1/Managers") || strings.HasPrefix(system, "/redfish/v1/Chassis"):
		return fmt.Errorf("path %s of the BMC address is not a system's: give one below /redfish/v1/Systems, for virtual media too, or none", system)
	}
	a.SystemPath = system
	return nil
}

func (a Address) defaultPort() int {
	if a.HTTP {
		return 80
	}
	return 443
}

// IP of the BMC, when the address has one and not a name.
func (a Address) IP() (netip.Addr, bool) {
	ip, err := netip.ParseAddr(a.Host)
	return ip, err == nil
}

// HostPort as it stands in a URL: with brackets around IPv6, without the carrier's own port.
func (a Address) HostPort() string {
	host := a.Host
	if ip, ok := a.IP(); ok && ip.Is6() {
		host = "[" + host + "]"
		host = strings.Replace(host, "%", "%25", 1)
	}
	if a.Port == a.defaultPort() || a.Port == 0 {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(a.Port))
}

// Endpoint is the BMC's base URL, the same for all systems behind it.
func (a Address) Endpoint() string {
	if a.HTTP {
		return "http://" + a.HostPort()
	}
	return "https://" + a.HostPort()
}

// String parses to the same Address.
func (a Address) String() string {
	carrier := ""
	if a.HTTP {
		carrier = "+http"
	}
	return string(a.Scheme) + carrier + "://" + a.HostPort() + a.SystemPath
}
