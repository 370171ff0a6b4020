package dnsrecords

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func node(name string, ready corev1.ConditionStatus, addresses ...string) corev1.Node {
	n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse}, {Type: corev1.NodeReady, Status: ready}}
	for _, address := range addresses {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: address})
	}
	n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: name})
	return n
}

func list(texts ...string) []netip.Addr {
	var all []netip.Addr
	for _, text := range texts {
		all = append(all, netip.MustParseAddr(text))
	}
	return all
}

func TestDecide(t *testing.T) {
	site := list("10.7.0.2", "fd07::2")
	plane := func(change func(*hypershiftv1beta1.HostedControlPlane)) *hypershiftv1beta1.HostedControlPlane {
		p := &hypershiftv1beta1.HostedControlPlane{ObjectMeta: metav1.ObjectMeta{Name: "demo"}}
		p.Spec.DNS.BaseDomain = "site.example"
		change(p)
		return p
	}
	api := map[string][]netip.Addr{"api.demo.site.example": site, "api-int.demo.site.example": site}
	for _, c := range []struct {
		name  string
		plane *hypershiftv1beta1.HostedControlPlane
		nodes []corev1.Node
		want  Names
	}{
		{"without nodes", plane(func(*hypershiftv1beta1.HostedControlPlane) {}), nil, Names{"demo.site.example": api}},
		{
			"only nodes that work, both families", plane(func(*hypershiftv1beta1.HostedControlPlane) {}),
			[]corev1.Node{
				node("b", corev1.ConditionTrue, "10.7.0.51", "fd07::51"), node("a", corev1.ConditionTrue, "10.7.0.50"),
				node("c", corev1.ConditionFalse, "10.7.0.52"), node("d", corev1.ConditionUnknown, "10.7.0.53"),
			},
			Names{"demo.site.example": {
				"api.demo.site.example": site, "api-int.demo.site.example": site,
				"*.apps.demo.site.example": list("10.7.0.50", "10.7.0.51", "fd07::51"),
			}},
		},
		{
			"own address", plane(func(p *hypershiftv1beta1.HostedControlPlane) { p.Status.ControlPlaneEndpoint.Host = "fd07::9" }), nil,
			Names{"demo.site.example": {"api.demo.site.example": list("fd07::9"), "api-int.demo.site.example": list("fd07::9")}},
		},
		{
			"an address of the site", plane(func(p *hypershiftv1beta1.HostedControlPlane) { p.Status.ControlPlaneEndpoint.Host = "10.7.0.2" }), nil,
			Names{"demo.site.example": api},
		},
		{"named endpoint", plane(func(p *hypershiftv1beta1.HostedControlPlane) {
			p.Status.ControlPlaneEndpoint.Host = "api.demo.site.example"
		}), nil,
			Names{"demo.site.example": api}},
		{
			"own prefix of apps", plane(func(p *hypershiftv1beta1.HostedControlPlane) { p.Spec.DNS.BaseDomainPrefix = ptr.To("shop") }),
			[]corev1.Node{node("a", corev1.ConditionTrue, "10.7.0.50")},
			Names{"demo.site.example": api, "apps.shop.site.example": {"*.apps.shop.site.example": list("10.7.0.50")}},
		},
		{
			"no prefix of apps", plane(func(p *hypershiftv1beta1.HostedControlPlane) { p.Spec.DNS.BaseDomainPrefix = ptr.To("") }),
			[]corev1.Node{node("a", corev1.ConditionTrue, "10.7.0.50")},
			Names{"demo.site.example": api, "apps.site.example": {"*.apps.site.example": list("10.7.0.50")}},
		},
		{"no domain", plane(func(p *hypershiftv1beta1.HostedControlPlane) { p.Spec.DNS.BaseDomain = "" }), nil, Names{}},
		{"not a domain", plane(func(p *hypershiftv1beta1.HostedControlPlane) { p.Spec.DNS.BaseDomain = "*.x" }), nil, Names{}},
		{"being deleted", plane(func(p *hypershiftv1beta1.HostedControlPlane) { p.DeletionTimestamp = ptr.To(metav1.Now()) }), nil,
			Names{"demo.site.example": api}},
	} {
		t.Run(c.name, func(t *testing.T) {
			nodes := func(*hypershiftv1beta1.HostedControlPlane) []corev1.Node { return c.nodes }
			names := Decide([]hypershiftv1beta1.HostedControlPlane{*c.plane}, nodes, site)
			if diff := cmp.Diff(c.want, names, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDecideOlderKeepsDomain(t *testing.T) {
	plane := func(namespace string, age int64, address string) hypershiftv1beta1.HostedControlPlane {
		p := hypershiftv1beta1.HostedControlPlane{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "demo"}}
		p.CreationTimestamp = metav1.Unix(1_000_000-age, 0)
		p.Spec.DNS = hypershiftv1beta1.DNSSpec{BaseDomain: "site.example", BaseDomainPrefix: ptr.To("")}
		p.Status.ControlPlaneEndpoint.Host = address
		return p
	}
	nodes := func(p *hypershiftv1beta1.HostedControlPlane) []corev1.Node {
		if p.Namespace == "b" {
			return nil
		}
		return []corev1.Node{node("n", corev1.ConditionTrue, "10.7.0.50")}
	}
	for _, c := range []struct {
		name   string
		planes []hypershiftv1beta1.HostedControlPlane
		want   netip.Addr
	}{
		{"by age", []hypershiftv1beta1.HostedControlPlane{plane("a", 1, "10.0.0.1"), plane("b", 2, "10.0.0.2")}, netip.MustParseAddr("10.0.0.2")},
		{"same second, by name", []hypershiftv1beta1.HostedControlPlane{plane("c", 1, "10.0.0.3"), plane("b", 1, "10.0.0.2")}, netip.MustParseAddr("10.0.0.2")},
	} {
		t.Run(c.name, func(t *testing.T) {
			names := Decide(c.planes, nodes, nil)
			if got := names["demo.site.example"]["api.demo.site.example"]; len(got) != 1 || got[0] != c.want {
				t.Errorf("api is %v, want %s", got, c.want)
			}
			if len(names) != 1 {
				t.Errorf("nodes of the younger cluster answer for the older one: %v", names)
			}
		})
	}
}
