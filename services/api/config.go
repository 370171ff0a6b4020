package api

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sort"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

// Config is the appliance's configuration file. It says what no Kubernetes kind of the ecosystem says: the site's network.
type Config struct {
	// Domain is the site's DNS domain; the appliance answers for it with authority.
	Domain string `json:"domain"`
	// Interfaces by name: where Slipway listens and, where asked, gives out leases.
	Interfaces map[string]Interface `json:"interfaces"`
	DNS        DNS                  `json:"dns,omitempty"`
	Ports      Ports                `json:"ports,omitempty"`
	// Releases are OCI layout directories that are imported into the registry at start.
	Releases []string `json:"releases,omitempty"`
	// OSImages are directories with a machine OS (os.json, kernel, initrd, rootfs, disk).
	OSImages []string `json:"osImages,omitempty"`
	// Loaders is the directory with undionly.kpxe and snponly.efi.
	Loaders string `json:"loaders,omitempty"`
	// Agent is the file of the static slipway-agent that hosts download; beside the slipway binary when empty.
	Agent string `json:"agent,omitempty"`
	// DefaultInfraEnv (namespace/name) takes the hosts that boot from the network without being known.
	// When empty, the only InfraEnv that exists does.
	DefaultInfraEnv string `json:"defaultInfraEnv,omitempty"`
}

// Interface is one of the appliance's network interfaces.
type Interface struct {
	// Addresses with prefix length; the first of each family is the one that hosts are told.
	Addresses []netip.Prefix `json:"addresses"`
	DHCP      DHCP           `json:"dhcp,omitempty"`
}

// DHCP is the lease service of an interface.
type DHCP struct {
	// Mode is "server" or "off" (the default).
	Mode string `json:"mode,omitempty"`
	// Pool is one or more ranges "first-last", separated by commas.
	Pool         string          `json:"pool,omitempty"`
	Gateway      netip.Addr      `json:"gateway,omitempty,omitzero"`
	NTP          []netip.Addr    `json:"ntp,omitempty"`
	LeaseTime    metav1.Duration `json:"leaseTime,omitempty,omitzero"`
	Reservations []Reservation   `json:"reservations,omitempty"`
}

// Reservation fixes the address of a MAC.
type Reservation struct {
	MAC      string     `json:"mac"`
	Address  netip.Addr `json:"address"`
	Hostname string     `json:"hostname,omitempty"`
}

// DNS is how names outside the site are answered.
type DNS struct {
	// Forward lists upstream servers; none means that foreign names are refused.
	Forward []netip.Addr `json:"forward,omitempty"`
}

// Ports that the appliance listens on; 0 takes the default.
type Ports struct {
	HTTP     int `json:"http,omitempty"`
	HTTPS    int `json:"https,omitempty"`
	Registry int `json:"registry,omitempty"`
	API      int `json:"api,omitempty"`
	DNS      int `json:"dns,omitempty"`
	TFTP     int `json:"tftp,omitempty"`
}

// All ports that the appliance itself needs.
func (p Ports) All() []int {
	return []int{p.HTTP, p.HTTPS, p.Registry, p.API, p.DNS, p.TFTP}
}

// ReadConfig reads and checks a configuration file; unknown keys are refused.
func ReadConfig(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	config, err := ParseConfig(data)
	if err != nil {
		return nil, fmt.Errorf("configuration %s: %w", path, err)
	}
	return config, nil
}

// ParseConfig is ReadConfig for bytes.
func ParseConfig(data []byte) (*Config, error) {
	config := &Config{}
	if err := yaml.UnmarshalStrict(data, config); err != nil {
		return nil, err
	}
	config.setDefaults()
	if err := config.Validate(); err != nil {
		return nil, err
	}
	return config, nil
}

func (c *Config) setDefaults() {
	for _, port := range []struct {
		at    *int
		value int
	}{
		{&c.Ports.HTTP, 8080}, {&c.Ports.HTTPS, 8443}, {&c.Ports.Registry, 5000},
		{&c.Ports.API, 6443}, {&c.Ports.DNS, 53}, {&c.Ports.TFTP, 69},
	} {
		if *port.at == 0 {
			*port.at = port.value
		}
	}
	for name, nic := range c.Interfaces {
		if nic.DHCP.Mode == "" {
			nic.DHCP.Mode = "off"
		}
		if nic.DHCP.LeaseTime.Duration == 0 {
			nic.DHCP.LeaseTime.Duration = time.Hour
		}
		c.Interfaces[name] = nic
	}
}

// Validate joins every fault of the file, so that all are seen at once.
func (c *Config) Validate() error {
	var faults []error
	if problems := validation.IsDNS1123Subdomain(c.Domain); len(problems) > 0 {
		faults = append(faults, fmt.Errorf("domain %q: %s", c.Domain, strings.Join(problems, "; ")))
	}
	if len(c.Interfaces) == 0 {
		faults = append(faults, errors.New("interfaces: name at least one interface with its addresses"))
	}
	for _, name := range c.InterfaceNames() {
		faults = append(faults, c.Interfaces[name].validate(name)...)
	}
	faults = append(faults, c.overlaps()...)
	seen := map[int]string{}
	for _, port := range []struct {
		name  string
		value int
	}{
		{"http", c.Ports.HTTP}, {"https", c.Ports.HTTPS}, {"registry", c.Ports.Registry}, {"api", c.Ports.API}, {"dns", c.Ports.DNS},
	} {
		if port.value < 1 || port.value > 65535 {
			faults = append(faults, fmt.Errorf("ports.%s: %d is not a port", port.name, port.value))
		}
		if other, taken := seen[port.value]; taken {
			faults = append(faults, fmt.Errorf("ports.%s: %d is taken by ports.%s", port.name, port.value, other))
		}
		seen[port.value] = port.name
	}
	return errors.Join(faults...)
}

func (n Interface) validate(name string) []error {
	var faults []error
	if len(n.Addresses) == 0 {
		faults = append(faults, fmt.Errorf("interfaces.%s.addresses: at least one address with prefix length is needed, as 10.7.0.2/24", name))
	}
	switch n.DHCP.Mode {
	case "off":
		return faults
	case "server":
	default:
		return append(faults, fmt.Errorf("interfaces.%s.dhcp.mode: %q is none of server, off", name, n.DHCP.Mode))
	}
	subnet, ok := n.IPv4()
	if !ok {
		return append(faults, fmt.Errorf("interfaces.%s.dhcp: mode server needs an IPv4 address on the interface", name))
	}
	ranges, err := n.DHCP.Ranges()
	if err != nil {
		return append(faults, fmt.Errorf("interfaces.%s.dhcp.pool: %w", name, err))
	}
	for _, r := range ranges {
		for _, end := range r {
			if !subnet.Contains(end) {
				faults = append(faults, fmt.Errorf("interfaces.%s.dhcp.pool: %s is outside %s", name, end, subnet.Masked()))
			}
		}
	}
	return faults
}

// overlaps finds pools of the whole file that share addresses.
func (c *Config) overlaps() []error {
	type span struct {
		where    string
		from, to netip.Addr
	}
	var spans []span
	for _, name := range c.InterfaceNames() {
		ranges, err := c.Interfaces[name].DHCP.Ranges()
		if err != nil {
			continue
		}
		for _, r := range ranges {
			spans = append(spans, span{"interfaces." + name + ".dhcp.pool", r[0], r[1]})
		}
	}
	sort.Slice(spans, func(i, j int) bool { return spans[i].from.Less(spans[j].from) })
	var faults []error
	for i := 1; i < len(spans); i++ {
		if !spans[i-1].to.Less(spans[i].from) {
			faults = append(faults, fmt.Errorf("%s: %s-%s overlaps %s-%s of %s", spans[i].where, spans[i].from, spans[i].to,
				spans[i-1].from, spans[i-1].to, spans[i-1].where))
		}
	}
	return faults
}

// InterfaceNames are sorted.
func (c *Config) InterfaceNames() []string {
	names := make([]string, 0, len(c.Interfaces))
	for name := range c.Interfaces {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// Addresses are all of the appliance's: those of IPv4 by interface, then those of IPv6.
func (c *Config) Addresses() []netip.Addr {
	var v4, v6 []netip.Addr
	for _, name := range c.InterfaceNames() {
		for _, prefix := range c.Interfaces[name].Addresses {
			if prefix.Addr().Is4() {
				v4 = append(v4, prefix.Addr())
			} else {
				v6 = append(v6, prefix.Addr())
			}
		}
	}
	return append(v4, v6...)
}

// SiteAddresses are those that hosts are told by default: the first of each family, IPv4 first.
func (c *Config) SiteAddresses() []netip.Addr {
	var site []netip.Addr
	for _, address := range c.Addresses() {
		if len(site) == 0 || site[len(site)-1].Is4() != address.Is4() {
			site = append(site, address)
		}
	}
	return site
}

// IPv4 is the interface's first IPv4 address with its prefix.
func (n Interface) IPv4() (netip.Prefix, bool) {
	for _, prefix := range n.Addresses {
		if prefix.Addr().Is4() {
			return prefix, true
		}
	}
	return netip.Prefix{}, false
}

// Ranges parses the pool into pairs of first and last address.
func (d DHCP) Ranges() ([][2]netip.Addr, error) {
	if d.Mode != "server" {
		return nil, nil
	}
	var ranges [][2]netip.Addr
	for part := range strings.SplitSeq(d.Pool, ",") {
		first, last, ok := strings.Cut(strings.TrimSpace(part), "-")
		if !ok {
			return nil, fmt.Errorf("%q is not a range first-last, as 10.7.0.50-10.7.0.199", part)
		}
		from, err := netip.ParseAddr(strings.TrimSpace(first))
		if err != nil {
			return nil, err
		}
		to, err := netip.ParseAddr(strings.TrimSpace(last))
		if err != nil {
			return nil, err
		}
		if to.Less(from) {
			return nil, fmt.Errorf("%s comes after %s", from, to)
		}
		ranges = append(ranges, [2]netip.Addr{from, to})
	}
	return ranges, nil
}
