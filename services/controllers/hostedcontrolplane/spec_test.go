package hostedcontrolplane

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/slipway-io/slipway/services/controlplane"
)

func plane(uid string, port int32) hypershiftv1beta1.HostedControlPlane {
	return hypershiftv1beta1.HostedControlPlane{
		ObjectMeta: metav1.ObjectMeta{Namespace: "clusters-" + uid, Name: uid, UID: types.UID(uid)},
		Status:     hypershiftv1beta1.HostedControlPlaneStatus{ControlPlaneEndpoint: hypershiftv1beta1.APIEndpoint{Port: port}},
	}
}

func TestPickPort(t *testing.T) {
	full := make([]hypershiftv1beta1.HostedControlPlane, 0, lastPort-firstPort+1)
	for port := int32(firstPort); port <= lastPort; port++ {
		full = append(full, plane(fmt.Sprint("c", port), port))
	}
	for name, one := range map[string]struct {
		wanted int32
		others []hypershiftv1beta1.HostedControlPlane
		want   int32
	}{
		"first":             {0, nil, firstPort},
		"next":              {0, []hypershiftv1beta1.HostedControlPlane{plane("a", firstPort), plane("b", firstPort+1)}, firstPort + 2},
		"gap":               {0, []hypershiftv1beta1.HostedControlPlane{plane("b", firstPort+1)}, firstPort},
		"wanted":            {31443, []hypershiftv1beta1.HostedControlPlane{plane("a", firstPort)}, 31443},
		"wanted and taken":  {31443, []hypershiftv1beta1.HostedControlPlane{plane("a", 31443)}, 0},
		"own is not taken":  {31443, []hypershiftv1beta1.HostedControlPlane{plane("me", 31443)}, 31443},
		"nothing is free":   {0, full, 0},
		"without a port":    {0, []hypershiftv1beta1.HostedControlPlane{plane("a", 0)}, firstPort},
		"wanted beside all": {443, full, 443},
		"the appliance's":   {6443, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			me := plane("me", 0)
			got, err := pickPort(one.wanted, &me, one.others, []int{6443})
			if got != one.want || (err == nil) != (one.want != 0) {
				t.Errorf("%d, %v, want %d", got, err, one.want)
			}
		})
	}
}

func TestWaiting(t *testing.T) {
	status := controlplane.Status{Components: []controlplane.ComponentStatus{
		{Name: "etcd", Ready: true}, {Name: "kube-apiserver", Message: "exit status 1"}, {Name: "kube-scheduler"},
	}}
	if got, want := waiting(status), "Waiting for kube-apiserver (exit status 1), kube-scheduler"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if degraded(status) != metav1.ConditionFalse {
		t.Error("a first start is no degradation")
	}
	status.Components[1].Restarts = 1
	if degraded(status) != metav1.ConditionTrue {
		t.Error("a component that does not come back is a degradation")
	}
}

func TestAdvertised(t *testing.T) {
	v4, v6 := netip.MustParseAddr("10.7.0.2"), netip.MustParseAddr("fd07::2")
	six := []netip.Prefix{netip.MustParsePrefix("fd02::/112")}
	four := []netip.Prefix{netip.MustParsePrefix("172.31.0.0/16")}
	for name, one := range map[string]struct {
		spec controlplane.Spec
		want netip.Addr
	}{
		"v4":          {controlplane.Spec{ServiceCIDRs: four}, v4},
		"v6":          {controlplane.Spec{ServiceCIDRs: six}, v6},
		"dual":        {controlplane.Spec{ServiceCIDRs: append(six, four...)}, v6},
		"published":   {controlplane.Spec{APIHost: "10.7.0.9", ServiceCIDRs: four}, netip.MustParseAddr("10.7.0.9")},
		"named":       {controlplane.Spec{APIHost: "api.example.com", ServiceCIDRs: four}, v4},
		"no services": {controlplane.Spec{}, v4},
	} {
		if got := advertised(one.spec, []netip.Addr{v4, v6}); got != one.want {
			t.Errorf("%s: %s, want %s", name, got, one.want)
		}
	}
}

func TestAlsoServed(t *testing.T) {
	site := []netip.Addr{netip.MustParseAddr("10.7.0.2"), netip.MustParseAddr("fd07::2")}
	for host, want := range map[string][]string{
		"10.7.0.2": {"fd07::2"}, "fd07::2": {"10.7.0.2"}, "10.7.0.9": nil, "api.example.com": nil, "": nil,
	} {
		if got := alsoServed(host, site); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", host, got, want)
		}
	}
}
