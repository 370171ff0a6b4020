package hostedcontrolplane

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/services/controlplane"
)

// Ports for hosted APIs that nobody chose a port for, both ends included.
const firstPort, lastPort = 30000, 30999

// spec translates the API's words into the control plane's.
func (r *Reconciler) spec(plane *hypershiftv1beta1.HostedControlPlane) controlplane.Spec {
	spec := controlplane.Spec{
		Name:        plane.Namespace,
		Namespace:   plane.Namespace,
		ClusterName: plane.Name,
		BaseDomain:  plane.Spec.DNS.BaseDomain,
		APIHost:     plane.Status.ControlPlaneEndpoint.Host,
		APIPort:     int(plane.Status.ControlPlaneEndpoint.Port),
		Issuer:      plane.Spec.IssuerURL,
	}
	if plane.Spec.KubeAPIServerDNSName != "" {
		spec.ExtraSANs = append(spec.ExtraSANs, plane.Spec.KubeAPIServerDNSName)
	}
	for _, network := range plane.Spec.Networking.ServiceNetwork {
		spec.ServiceCIDRs = append(spec.ServiceCIDRs, prefix(network.CIDR.String()))
	}
	for _, network := range plane.Spec.Networking.ClusterNetwork {
		spec.ClusterCIDRs = append(spec.ClusterCIDRs, prefix(network.CIDR.String()))
	}
	spec.AdvertiseAddress = advertised(spec, r.Addresses)
	spec.ExtraSANs = append(spec.ExtraSANs, alsoServed(spec.APIHost, r.Addresses)...)
	return spec.Defaulted()
}

// advertised is the published address, or the site's of the family that the services have.
func advertised(spec controlplane.Spec, site []netip.Addr) netip.Addr {
	if address, err := netip.ParseAddr(spec.APIHost); err == nil {
		return address
	}
	for _, address := range site {
		if len(spec.ServiceCIDRs) == 0 || address.Is4() == spec.ServiceCIDRs[0].Addr().Is4() {
			return address
		}
	}
	return netip.Addr{}
}

// alsoServed are the site's other addresses, when the API is published at one of them.
func alsoServed(host string, site []netip.Addr) (others []string) {
	published, err := netip.ParseAddr(host)
	if err != nil || !slices.Contains(site, published) {
		return nil
	}
	for _, address := range site {
		if address != published {
			others = append(others, address.String())
		}
	}
	return others
}

// prefix of a network that the API server has checked; an invalid one is refused by Spec.Validate.
func prefix(text string) netip.Prefix {
	parsed, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}
	}
	return parsed
}

// choosePort writes the endpoint at once and alone, so that no second cluster is given the same port.
func (r *Reconciler) choosePort(ctx context.Context, plane *hypershiftv1beta1.HostedControlPlane) error {
	r.ports.Lock()
	defer r.ports.Unlock()
	list := &hypershiftv1beta1.HostedControlPlaneList{}
	if err := r.Client.List(ctx, list); err != nil {
		return fmt.Errorf("list control planes: %w", err)
	}
	host, wanted := published(plane)
	if host == "" {
		host = advertised(r.spec(plane), r.Addresses).String()
	}
	port, err := pickPort(wanted, plane, list.Items, r.Reserved)
	if err != nil {
		note(plane, hypershiftv1beta1.InfrastructureReady, "False", hypershiftv1beta1.InfraStatusFailureReason, err.Error())
		return err
	}
	before := plane.DeepCopy()
	plane.Status.ControlPlaneEndpoint = hypershiftv1beta1.APIEndpoint{Host: host, Port: port}
	if err := r.Client.Status().Patch(ctx, plane, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("write endpoint of %s: %w", plane.Name, err)
	}
	// The next choice reads the cache: it has to have seen this one.
	return wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, 10*time.Second, true, func(ctx context.Context) (bool, error) {
		seen := &hypershiftv1beta1.HostedControlPlane{}
		if err := r.Client.Get(ctx, client.ObjectKeyFromObject(plane), seen); err != nil {
			return false, client.IgnoreNotFound(err)
		}
		return seen.Status.ControlPlaneEndpoint.Port == port, nil
	})
}

// published is what the HostedCluster asks for its API service.
func published(plane *hypershiftv1beta1.HostedControlPlane) (host string, port int32) {
	for _, service := range plane.Spec.Services {
		if service.Service == hypershiftv1beta1.APIServer && service.NodePort != nil {
			return service.NodePort.Address, service.NodePort.Port
		}
	}
	return "", 0
}

// pickPort gives the wanted port, or the first free one.
func pickPort(wanted int32, plane *hypershiftv1beta1.HostedControlPlane, others []hypershiftv1beta1.HostedControlPlane, reserved []int) (int32, error) {
	taken := map[int32]string{}
	for _, port := range reserved {
		taken[int32(port)] = "the appliance itself"
	}
	for _, other := range others {
		if other.UID != plane.UID {
			taken[other.Status.ControlPlaneEndpoint.Port] = other.Namespace + "/" + other.Name
		}
	}
	if wanted != 0 {
		if owner, is := taken[wanted]; is {
			return 0, fmt.Errorf("spec.services: port %d of the API is taken by %s", wanted, owner)
		}
		return wanted, nil
	}
	for port := int32(firstPort); port <= lastPort; port++ {
		if _, is := taken[port]; !is {
			return port, nil
		}
	}
	return 0, fmt.Errorf("no free port for the API between %d and %d", firstPort, lastPort)
}
