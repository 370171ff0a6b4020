package api

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sort"
	"strings"

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
	HTTP       HTTP                 `json:"http,omitempty"`
	Registry   Registry             `json:"registry,omitempty"`
	// Releases are OCI layout directories that are imported into the registry at start. Without any the appliance runs from the newest release that was
	// mirrored into its registry, and waits for one.
	Releases []string `json:"releases,omitempty"`
	// OSImages are directories with a machine OS (os.json, kernel, initrd, rootfs, disk).
	OSImages []string `json:"osImages,omitempty"`
	// Loaders is the directory with undionly.kpxe, snponly.efi, shimx64.efi, grubx64.efi, grubaa64.efi and core.elf;
	// each is for machines of one kind.
	Loaders string `json:"loaders,omitempty"`
	// Agent is the file of the static slipway-agent that hosts download; beside the slipway binary when empty. Those of other
	// architectures lie beside it as slipway-agent-aarch64, slipway-agent-ppc64le and slipway-agent-s390x.
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

// DNS is how names outside the site are answered.
type DNS struct {
	// Forward lists upstream servers; none means that foreign names are refused.
	Forward []netip.Addr `json:"forward,omitempty"`
}

// Registry is who may use the site's registry. Who may log in to it is in the Secret slipway-system/registry-users.
type Registry struct {
	// Htpasswd is a file of users with bcrypt hashes who may pull and push everything. They can log in before there is an API for the Secret, to
	// bring the first release; the Secret's users come in addition, and first where names are the same.
	Htpasswd string `json:"htpasswd,omitempty"`
	// AnonymousPull lets everybody pull, which is the default. Without it only users pull, but for releases: hosts fetch those before they have any secret.
	AnonymousPull *bool `json:"anonymousPull,omitempty"`
}

// Anonymous tells whether everybody may pull.
func (r Registry) Anonymous() bool { return r.AnonymousPull == nil || *r.AnonymousPull }

// HTTP is how machines get what they boot.
type HTTP struct {
	// Plain is "boot" (the default): loaders, scripts and images are also there without TLS, for firmware that can do none; or "off":
	// nobody listens on ports.http, and all that boots has to do TLS and to trust the site's CA.
	Plain string `json:"plain,omitempty"`
}

// Off tells whether there is no plain HTTP.
func (h HTTP) Off() bool { return h.Plain == "off" }

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

// unquotedOff is what YAML 1.1 makes of the word off when a text is wanted.
const unquotedOff = "false"

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
	if c.HTTP.Plain == unquotedOff {
		c.HTTP.Plain = "off"
	}
	for name, nic := range c.Interfaces {
		nic.DHCP.setDefaults()
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
	if plain := c.HTTP.Plain; plain != "" && plain != "boot" && plain != "off" {
		faults = append(faults, fmt.Errorf("http.plain: %q is none of boot, off", plain))
	}
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
	for _, prefix := range n.Addresses {
		if prefix.Addr().IsLinkLocalUnicast() && prefix.Addr().Is6() {
			faults = append(faults, fmt.Errorf("interfaces.%s.addresses: %s is link-local, which hosts cannot be told: give a global or a unique local address", name, prefix.Addr()))
		}
	}
	return append(faults, n.validateDHCP("interfaces."+name+".dhcp")...)
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
func (n Interface) IPv4() (netip.Prefix, bool) { return n.first(netip.Addr.Is4) }

// IPv6 is the interface's first IPv6 address with its prefix.
func (n Interface) IPv6() (netip.Prefix, bool) { return n.first(netip.Addr.Is6) }

func (n Interface) first(family func(netip.Addr) bool) (netip.Prefix, bool) {
	for _, prefix := range n.Addresses {
		if family(prefix.Addr()) {
			return prefix, true
		}
	}
	return netip.Prefix{}, false
}
