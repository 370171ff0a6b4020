package csr

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
)

const (
	nodeUserPrefix = "system:node:"
	nodeGroup      = "system:nodes"
	tokenUser      = "system:bootstrap:"
	tokenGroup     = "system:bootstrappers"
)

// Host is what is known of an Agent that was given to the cluster.
type Host struct {
	Agent, NodeName string
	// Names and Addresses may stand in its serving certificate.
	Names     []string
	Addresses []netip.Addr
	// Joining says that its installation is so far that a first certificate may be asked for.
	Joining bool
	// NodeReady says that its Node is there and works: it has a certificate already.
	NodeReady bool
}

// Foreign says that a request is for a signer that is no business of ours.
func Foreign(spec certificatesv1.CertificateSigningRequestSpec) bool {
	return spec.SignerName != certificatesv1.KubeAPIServerClientKubeletSignerName &&
		spec.SignerName != certificatesv1.KubeletServingSignerName
}

// Decide gives the Host that a request may be signed for, or why it may not.
func Decide(spec certificatesv1.CertificateSigningRequestSpec, hosts []Host) (Host, error) {
	request, err := parse(spec.Request)
	if err != nil {
		return Host{}, err
	}
	name, ok := strings.CutPrefix(request.Subject.CommonName, nodeUserPrefix)
	if !ok || name == "" || !slices.Equal(request.Subject.Organization, []string{nodeGroup}) {
		return Host{}, fmt.Errorf("subject %q is not that of a node", request.Subject)
	}
	if len(request.EmailAddresses) > 0 || len(request.URIs) > 0 {
		return Host{}, errors.New("it asks for email addresses or URIs")
	}
	host, err := find(name, hosts)
	if err != nil {
		return Host{}, err
	}
	switch spec.SignerName {
	case certificatesv1.KubeAPIServerClientKubeletSignerName:
		return host, identity(spec, request, host)
	case certificatesv1.KubeletServingSignerName:
		return host, serving(spec, request, host)
	}
	return Host{}, fmt.Errorf("signer %q is unknown", spec.SignerName)
}

func find(name string, hosts []Host) (Host, error) {
	var found []Host
	for _, host := range hosts {
		if host.NodeName == name {
			found = append(found, host)
		}
	}
	switch len(found) {
	case 0:
		return Host{}, fmt.Errorf("no agent of this cluster has the name %q", name)
	case 1:
		return found[0], nil
	}
	return Host{}, fmt.Errorf("agents %s and %s both have the name %q", found[0].Agent, found[1].Agent, name)
}

// identity is a kubelet's own identity, asked for with a bootstrap token the first time and with itself later.
func identity(spec certificatesv1.CertificateSigningRequestSpec, request *x509.CertificateRequest, host Host) error {
	if len(request.DNSNames) > 0 || len(request.IPAddresses) > 0 {
		return errors.New("a client certificate has no names and addresses")
	}
	if err := usages(spec.Usages, certificatesv1.UsageClientAuth); err != nil {
		return err
	}
	if spec.Username == request.Subject.CommonName && slices.Contains(spec.Groups, nodeGroup) {
		return nil
	}
	if !strings.HasPrefix(spec.Username, tokenUser) || !slices.Contains(spec.Groups, tokenGroup) {
		return fmt.Errorf("user %q may not ask for a node's identity", spec.Username)
	}
	if !host.Joining {
		return fmt.Errorf("agent %s is not being installed for this cluster", host.Agent)
	}
	if host.NodeReady {
		return fmt.Errorf("node %s has its identity already and works", host.NodeName)
	}
	return nil
}

// serving is what a kubelet shows to the API server: only to be asked for by the node itself, for what its Agent is known by.
func serving(spec certificatesv1.CertificateSigningRequestSpec, request *x509.CertificateRequest, host Host) error {
	if spec.Username != request.Subject.CommonName || !slices.Contains(spec.Groups, nodeGroup) {
		return fmt.Errorf("user %q asks for the certificate of %q", spec.Username, request.Subject.CommonName)
	}
	if err := usages(spec.Usages, certificatesv1.UsageServerAuth); err != nil {
		return err
	}
	if len(request.DNSNames)+len(request.IPAddresses) == 0 {
		return errors.New("it asks for no name and no address")
	}
	for _, name := range request.DNSNames {
		if name != host.NodeName && !slices.Contains(host.Names, name) {
			return fmt.Errorf("agent %s has not the name %q", host.Agent, name)
		}
	}
	for _, ip := range request.IPAddresses {
		address, ok := netip.AddrFromSlice(ip)
		if !ok || !slices.Contains(host.Addresses, address.Unmap()) {
			return fmt.Errorf("agent %s has not the address %s", host.Agent, ip)
		}
	}
	return nil
}

// usages have to be what a kubelet asks for: the purpose, a digital signature, and key encipherment for RSA keys.
func usages(asked []certificatesv1.KeyUsage, purpose certificatesv1.KeyUsage) error {
	for _, usage := range asked {
		if usage != purpose && usage != certificatesv1.UsageDigitalSignature && usage != certificatesv1.UsageKeyEncipherment {
			return fmt.Errorf("usage %q is not for a kubelet's certificate", usage)
		}
	}
	for _, needed := range []certificatesv1.KeyUsage{purpose, certificatesv1.UsageDigitalSignature} {
		if !slices.Contains(asked, needed) {
			return fmt.Errorf("usage %q is missing", needed)
		}
	}
	return nil
}

func parse(text []byte) (*x509.CertificateRequest, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, errors.New("it holds no single PEM certificate request")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse certificate request: %w", err)
	}
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("check signature of certificate request: %w", err)
	}
	return request, nil
}
