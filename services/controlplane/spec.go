package controlplane

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/slipway-io/slipway/services/controlplane/pki"
)

// Spec is what tells one control plane from another.
type Spec struct {
	// Name is <namespace>-<name> of the HostedCluster, or "management".
	Name string
	// Namespace is put on the secrets; the management plane has none.
	Namespace   string
	ClusterName string
	BaseDomain  string
	// APIHost stands in the admin kubeconfig; defaults to api.<ClusterName>.<BaseDomain>.
	APIHost string
	APIPort int
	// AdvertiseAddress is where nodes reach the API; its family is the primary one of the services.
	AdvertiseAddress netip.Addr
	ServiceCIDRs     []netip.Prefix
	ClusterCIDRs     []netip.Prefix
	// ExtraSANs are further names and addresses of the API's serving certificate.
	ExtraSANs []string
	// ClusterDomain defaults to cluster.local.
	ClusterDomain string
	// Issuer of service account tokens, defaults to https://kubernetes.default.svc.
	Issuer string
	// ExtraArgs are appended to a component's arguments, by component name.
	ExtraArgs map[string][]string
}

// Defaulted returns the spec with empty fields filled in.
func (s Spec) Defaulted() Spec {
	if s.ClusterDomain == "" {
		s.ClusterDomain = "cluster.local"
	}
	if s.Issuer == "" {
		s.Issuer = "https://kubernetes.default.svc"
	}
	if s.APIHost == "" && s.ClusterName != "" && s.BaseDomain != "" {
		s.APIHost = "api." + s.ClusterName + "." + s.BaseDomain
	}
	if s.APIHost == "" {
		s.APIHost = "127.0.0.1"
	}
	return s
}

// Validate tells everything that is wrong with a defaulted spec.
func (s Spec) Validate() error {
	var errs []error
	if len(validation.IsDNS1123Subdomain(s.Name)) > 0 {
		errs = append(errs, fmt.Errorf("name %q: not a DNS name", s.Name))
	}
	if s.APIPort < 1 || s.APIPort > 65535 {
		errs = append(errs, fmt.Errorf("API port %d: not between 1 and 65535", s.APIPort))
	}
	switch {
	case !s.AdvertiseAddress.IsValid() && len(s.ServiceCIDRs) > 0:
		errs = append(errs, fmt.Errorf("advertise address: there is none of the family of the first service network %s: give the appliance one, or choose another network", s.ServiceCIDRs[0]))
	case !s.AdvertiseAddress.IsValid() || s.AdvertiseAddress.IsUnspecified():
		errs = append(errs, fmt.Errorf("advertise address %q: not an address", s.AdvertiseAddress))
	}
	errs = append(errs, checkCIDRs("service", s.ServiceCIDRs), checkCIDRs("cluster", s.ClusterCIDRs))
	if len(s.ServiceCIDRs) > 0 && s.AdvertiseAddress.IsValid() && s.ServiceCIDRs[0].Addr().Is4() != s.AdvertiseAddress.Unmap().Is4() {
		errs = append(errs, fmt.Errorf("service network %s: the first one needs the family of the advertise address %s", s.ServiceCIDRs[0], s.AdvertiseAddress))
	}
	for _, service := range s.ServiceCIDRs {
		for _, cluster := range s.ClusterCIDRs {
			if service.Overlaps(cluster) {
				errs = append(errs, fmt.Errorf("service network %s overlaps cluster network %s", service, cluster))
			}
		}
	}
	return errors.Join(errs...)
}

// checkCIDRs allows one network per family.
func checkCIDRs(kind string, cidrs []netip.Prefix) error {
	if kind == "service" && len(cidrs) == 0 {
		return fmt.Errorf("%s network: at least one is needed", kind)
	}
	seen := map[bool]netip.Prefix{}
	for _, cidr := range cidrs {
		if !cidr.IsValid() {
			return fmt.Errorf("%s network: %q is not a network", kind, cidr)
		}
		if other, ok := seen[cidr.Addr().Is4()]; ok {
			return fmt.Errorf("%s networks %s and %s: only one per address family", kind, other, cidr)
		}
		seen[cidr.Addr().Is4()] = cidr
	}
	return nil
}

// PKI returns what the control plane's certificates depend on.
func (s Spec) PKI() pki.Spec {
	names := []string{
		"localhost", KubeAPIServer,
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + s.ClusterDomain,
	}
	if s.ClusterName != "" && s.BaseDomain != "" {
		domain := s.ClusterName + "." + s.BaseDomain
		names = append(names, "api."+domain, "api-int."+domain)
	}
	ips := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback(), s.AdvertiseAddress}
	for _, cidr := range s.ServiceCIDRs {
		ips = append(ips, cidr.Masked().Addr().Next())
	}
	for _, san := range append([]string{s.APIHost}, s.ExtraSANs...) {
		if ip, err := netip.ParseAddr(san); err == nil {
			ips = append(ips, ip)
		} else if san != "" {
			names = append(names, san)
		}
	}
	return pki.Spec{
		Namespace:   s.Namespace,
		ClusterName: s.Name,
		APIURL:      "https://" + net.JoinHostPort(s.APIHost, strconv.Itoa(s.APIPort)),
		LocalAPIURL: "https://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(s.APIPort)),
		APINames:    names,
		APIAddrs:    ips,
	}
}
