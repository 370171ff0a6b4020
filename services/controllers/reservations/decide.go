package reservations

import (
	"cmp"
	"net"
	"net/netip"
	"slices"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-io/slipway/services/nmstate"
)

// Host is what is kept for one network port. Without a MAC its addresses are kept from everybody.
type Host struct {
	MAC       string // small letters with colons
	Addresses []netip.Addr
	Hostname  string
}

// Decide gives the ports of all hosts, by MAC. Where two objects claim one MAC or one address, the older has it. A
// configuration that cannot be read reserves nothing: its InfraEnv's condition says what is wrong with it.
func Decide(hosts []metal3v1alpha1.BareMetalHost, configs []agentv1beta1.NMStateConfig) []Host {
	c := claims{hosts: map[string]*Host{}, taken: map[netip.Addr]bool{}}
	for _, config := range oldest(configs, func(c *agentv1beta1.NMStateConfig) *metav1.ObjectMeta { return &c.ObjectMeta }) {
		ports, others, err := nmstate.Addresses(network(config))
		if err != nil {
			continue
		}
		for mac, addresses := range ports {
			for _, address := range addresses {
				c.claim(mac, address)
			}
		}
		for _, address := range others {
			c.claim("", address)
		}
	}
	for _, host := range oldest(hosts, func(h *metal3v1alpha1.BareMetalHost) *metav1.ObjectMeta { return &h.ObjectMeta }) {
		mac, err := net.ParseMAC(host.Spec.BootMACAddress)
		if err != nil {
			continue
		}
		if port := c.port(mac.String()); port.Hostname == "" {
			port.Hostname = host.Name
		}
	}
	return c.list()
}

// claims are what was given so far.
type claims struct {
	hosts map[string]*Host
	taken map[netip.Addr]bool
}

func (c claims) port(mac string) *Host {
	if c.hosts[mac] == nil {
		c.hosts[mac] = &Host{MAC: mac}
	}
	return c.hosts[mac]
}

func (c claims) claim(mac string, address netip.Addr) {
	if c.taken[address] {
		return
	}
	c.taken[address] = true
	port := c.port(mac)
	port.Addresses = append(port.Addresses, address)
}

func (c claims) list() []Host {
	list := make([]Host, 0, len(c.hosts))
	for _, host := range c.hosts {
		slices.SortFunc(host.Addresses, netip.Addr.Compare)
		list = append(list, *host)
	}
	slices.SortFunc(list, func(a, b Host) int { return cmp.Compare(a.MAC, b.MAC) })
	return list
}

func network(config *agentv1beta1.NMStateConfig) nmstate.Host {
	host := nmstate.Host{Name: config.Namespace + "/" + config.Name, Config: config.Spec.NetConfig.Raw}
	for _, port := range config.Spec.Interfaces {
		if port != nil {
			host.Interfaces = append(host.Interfaces, nmstate.Interface{Name: port.Name, MAC: port.MacAddress})
		}
	}
	return host
}

// oldest first, without what is being deleted.
func oldest[T any](all []T, meta func(*T) *metav1.ObjectMeta) []*T {
	var list []*T
	for i := range all {
		if meta(&all[i]).DeletionTimestamp.IsZero() {
			list = append(list, &all[i])
		}
	}
	slices.SortFunc(list, func(a, b *T) int {
		x, y := meta(a), meta(b)
		return cmp.Or(x.CreationTimestamp.Compare(y.CreationTimestamp.Time), cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name))
	})
	return list
}
