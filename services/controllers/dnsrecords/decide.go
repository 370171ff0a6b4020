package dnsrecords

import (
	"cmp"
	"net/netip"
	"slices"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/slipway-io/slipway/services/controllers/guest"
)

// Names are the addresses of names, by zone and then by name.
type Names map[string]map[string][]netip.Addr

// Decide gives the names of all clusters; nodes of a cluster may be unknown. site is where the appliance serves the hosted APIs.
// Where two clusters claim one domain, the older keeps it. A cluster that is being deleted keeps its names to the end:
// its nodes are drained through them.
func Decide(planes []hypershiftv1beta1.HostedControlPlane, nodes func(*hypershiftv1beta1.HostedControlPlane) []corev1.Node, site []netip.Addr) Names {
	names := Names{}
	oldest := slices.Clone(planes)
	slices.SortFunc(oldest, func(a, b hypershiftv1beta1.HostedControlPlane) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	for i := range oldest {
		plane := &oldest[i]
		zone := plane.Name + "." + plane.Spec.DNS.BaseDomain
		if _, taken := names[zone]; taken || plane.Spec.DNS.BaseDomain == "" || len(validation.IsDNS1123Subdomain(zone)) > 0 {
			continue
		}
		api := site
		// Who published the API under an address of his own means that one; under one of the site it is reached at all of them.
		if own, err := netip.ParseAddr(plane.Status.ControlPlaneEndpoint.Host); err == nil && !slices.Contains(site, own) {
			api = []netip.Addr{own}
		}
		names[zone] = map[string][]netip.Addr{"api." + zone: api, "api-int." + zone: api}
		names.apps(plane, zone, addresses(nodes(plane)))
	}
	return names
}

// apps are below the cluster's domain unless the HostedCluster chose another prefix, or none.
func (n Names) apps(plane *hypershiftv1beta1.HostedControlPlane, zone string, workers []netip.Addr) {
	if len(workers) == 0 {
		return
	}
	prefix, base := plane.Spec.DNS.BaseDomainPrefix, plane.Spec.DNS.BaseDomain
	if prefix == nil {
		n[zone]["*.apps."+zone] = workers
		return
	}
	apps := "apps." + base
	if *prefix != "" {
		apps = "apps." + *prefix + "." + base
	}
	if _, taken := n[apps]; !taken && len(validation.IsDNS1123Subdomain(apps)) == 0 {
		n[apps] = map[string][]netip.Addr{"*." + apps: workers}
	}
}

// addresses of the Nodes that work, sorted.
func addresses(nodes []corev1.Node) []netip.Addr {
	var all []netip.Addr
	for i := range nodes {
		if !guest.Ready(&nodes[i]) || !nodes[i].DeletionTimestamp.IsZero() {
			continue
		}
		for _, entry := range nodes[i].Status.Addresses {
			if address, err := netip.ParseAddr(entry.Address); err == nil && entry.Type == corev1.NodeInternalIP {
				all = append(all, address.Unmap())
			}
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}
