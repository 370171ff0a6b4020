package reservations

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func meta(name string, age time.Duration) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "site", Name: name, CreationTimestamp: metav1.NewTime(time.Unix(1e9, 0).Add(-age))}
}

func host(name, mac string, age time.Duration) metal3v1alpha1.BareMetalHost {
	h := metal3v1alpha1.BareMetalHost{ObjectMeta: meta(name, age)}
	h.Spec.BootMACAddress = mac
	return h
}

func config(name string, age time.Duration, yaml string, ports ...agentv1beta1.Interface) agentv1beta1.NMStateConfig {
	c := agentv1beta1.NMStateConfig{ObjectMeta: meta(name, age)}
	c.Spec.NetConfig.Raw = []byte(yaml)
	for i := range ports {
		c.Spec.Interfaces = append(c.Spec.Interfaces, &ports[i])
	}
	return c
}

const static = `
interfaces:
- {name: eth0, type: ethernet, state: up, ipv4: {enabled: true, address: [{ip: 10.7.0.60, prefix-length: 24}]}, ipv6: {enabled: true, address: [{ip: "fd07::60", prefix-length: 64}]}}
- {name: eth1, type: ethernet, state: up, ipv4: {enabled: true, dhcp: true}}
- {name: eth0.7, type: vlan, state: up, vlan: {base-iface: eth0, id: 7}, ipv4: {enabled: true, address: [{ip: 10.7.0.61, prefix-length: 24}]}}
`

func TestDecide(t *testing.T) {
	const a, b = "52:54:00:00:00:0a", "52:54:00:00:00:0b"
	ports := []agentv1beta1.Interface{{Name: "eth0", MacAddress: "52:54:00:00:00:0A"}, {Name: "eth1", MacAddress: b}}
	addresses := func(texts ...string) (list []netip.Addr) {
		for _, text := range texts {
			list = append(list, netip.MustParseAddr(text))
		}
		return list
	}
	for name, c := range map[string]struct {
		hosts   []metal3v1alpha1.BareMetalHost
		configs []agentv1beta1.NMStateConfig
		want    []Host
	}{
		"nothing":          {want: []Host{}},
		"a BareMetalHost":  {hosts: []metal3v1alpha1.BareMetalHost{host("worker-0", "52:54:00:00:00:0A", 0)}, want: []Host{{MAC: a, Hostname: "worker-0"}}},
		"no boot MAC":      {hosts: []metal3v1alpha1.BareMetalHost{host("worker-0", "", 0)}, want: []Host{}},
		"the older has it": {hosts: []metal3v1alpha1.BareMetalHost{host("young", a, 0), host("old", a, time.Hour)}, want: []Host{{MAC: a, Hostname: "old"}}},
		"an NMStateConfig": {
			configs: []agentv1beta1.NMStateConfig{config("n", 0, static, ports...)},
			want:    []Host{{Addresses: addresses("10.7.0.61")}, {MAC: a, Addresses: addresses("10.7.0.60", "fd07::60")}},
		},
		"both": {
			hosts:   []metal3v1alpha1.BareMetalHost{host("worker-0", a, 0)},
			configs: []agentv1beta1.NMStateConfig{config("n", 0, static, ports...)},
			want:    []Host{{Addresses: addresses("10.7.0.61")}, {MAC: a, Hostname: "worker-0", Addresses: addresses("10.7.0.60", "fd07::60")}},
		},
		"an address twice": {
			configs: []agentv1beta1.NMStateConfig{
				config("young", 0, static, agentv1beta1.Interface{Name: "eth0", MacAddress: b}),
				config("old", time.Hour, static, agentv1beta1.Interface{Name: "eth0", MacAddress: a}),
			},
			want: []Host{{Addresses: addresses("10.7.0.61")}, {MAC: a, Addresses: addresses("10.7.0.60", "fd07::60")}},
		},
		"not readable": {configs: []agentv1beta1.NMStateConfig{config("n", 0, "interfaces: 7", ports...)}, want: []Host{}},
	} {
		t.Run(name, func(t *testing.T) {
			got := Decide(c.hosts, c.configs)
			if diff := cmp.Diff(c.want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Error(diff)
			}
		})
	}
	gone := host("worker-0", a, 0)
	gone.DeletionTimestamp = &metav1.Time{}
	*gone.DeletionTimestamp = metav1.Now()
	if got := Decide([]metal3v1alpha1.BareMetalHost{gone}, nil); len(got) != 0 {
		t.Errorf("a host that is being deleted keeps %v", got)
	}
}
