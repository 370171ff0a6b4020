package pki

import (
	"cmp"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// leaf describes one certificate and where it is kept.
type leaf struct {
	secret, certKey, keyKey string
	ca                      string
	commonName              string
	organizations           []string
	names                   []string
	addrs                   []netip.Addr
	client                  bool
	validity, renewal       time.Duration
}

// leaves is the table of all certificates but those in kubeconfigs.
func leaves(spec Spec) []leaf {
	loopback := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
	etcdNames := append([]string{"localhost", "etcd"}, spec.EtcdNames...)
	table := []leaf{
		{secret: EtcdServer, certKey: "server.crt", keyKey: "server.key", ca: EtcdSigner, commonName: "etcd-server", names: etcdNames, addrs: loopback, client: true},
		{secret: EtcdPeer, certKey: "peer.crt", keyKey: "peer.key", ca: EtcdSigner, commonName: "etcd-peer", names: etcdNames, addrs: loopback, client: true},
		{secret: EtcdClient, certKey: "etcd-client.crt", keyKey: "etcd-client.key", ca: EtcdSigner, commonName: "etcd-client"},
		{secret: KASServer, ca: RootCA, commonName: "kube-apiserver", names: spec.APINames, addrs: spec.APIAddrs},
		{secret: KASKubeletClient, ca: KubeletSigner, commonName: "system:kube-apiserver", organizations: []string{"system:masters"}},
		{secret: KASAggregator, ca: AggregatorSigner, commonName: "front-proxy-client"},
		{secret: KCMServer, ca: RootCA, commonName: "kube-controller-manager", names: []string{"localhost", "kube-controller-manager"}, addrs: loopback},
		{secret: SchedulerServer, ca: RootCA, commonName: "kube-scheduler", names: []string{"localhost", "kube-scheduler"}, addrs: loopback},
	}
	for i := range table {
		table[i] = table[i].completed(spec)
	}
	return table
}

func (l leaf) completed(spec Spec) leaf {
	l.certKey, l.keyKey = cmp.Or(l.certKey, KeyCert), cmp.Or(l.keyKey, KeyPrivate)
	l.validity, l.renewal = cmp.Or(spec.Validity, LeafValidity), cmp.Or(spec.Renewal, LeafRenewal)
	l.names, l.addrs = normalNames(l.names), normalAddrs(l.addrs)
	return l
}

func (l leaf) usages() []x509.ExtKeyUsage {
	var usages []x509.ExtKeyUsage
	server := len(l.names)+len(l.addrs) > 0
	if server {
		usages = append(usages, x509.ExtKeyUsageServerAuth)
	}
	if l.client || !server {
		usages = append(usages, x509.ExtKeyUsageClientAuth)
	}
	return usages
}

// matches tells whether cert is what l describes, its time apart.
func (l leaf) matches(cert *x509.Certificate, ca *authority) bool {
	var addrs []netip.Addr
	for _, ip := range cert.IPAddresses {
		addr, _ := netip.AddrFromSlice(ip)
		addrs = append(addrs, addr)
	}
	return cert.Subject.CommonName == l.commonName &&
		slices.Equal(cert.Subject.Organization, l.organizations) &&
		slices.Equal(normalNames(cert.DNSNames), l.names) &&
		slices.Equal(normalAddrs(addrs), l.addrs) &&
		slices.Equal(cert.ExtKeyUsage, l.usages()) &&
		cert.CheckSignatureFrom(ca.cert) == nil
}

// notAfter never outlives the authority.
func (l leaf) notAfter(ca *authority, now time.Time) time.Time {
	end := now.Add(l.validity)
	if ca.cert.NotAfter.Before(end) {
		return ca.cert.NotAfter
	}
	return end
}

// due tells whether the certificate has to be replaced because of its time. One that already lives as
// long as its authority is not: a new one would be no better, and would be due again at once.
func (l leaf) due(cert *x509.Certificate, ca *authority, now time.Time) bool {
	if now.Before(cert.NotBefore) {
		return true
	}
	return !now.Before(renewAt(cert, l.renewal)) && l.notAfter(ca, now).After(cert.NotAfter)
}

// renewAt is zero for a certificate that ends with its authority.
func (l leaf) renewAt(cert *x509.Certificate, ca *authority) time.Time {
	if !cert.NotAfter.Before(ca.cert.NotAfter) {
		return time.Time{}
	}
	return renewAt(cert, l.renewal)
}

func (l leaf) issue(ca *authority, now time.Time) (*keyPair, error) {
	key, keyPEM, err := newKey()
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: l.commonName, Organization: l.organizations},
		NotBefore:             now.Add(-backdate),
		NotAfter:              l.notAfter(ca, now),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           l.usages(),
		BasicConstraintsValid: true,
		DNSNames:              l.names,
	}
	for _, addr := range l.addrs {
		template.IPAddresses = append(template.IPAddresses, net.IP(addr.AsSlice()))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate %s: %w", l.commonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse certificate %s: %w", l.commonName, err)
	}
	return &keyPair{cert: cert, key: key, certPEM: certificatePEM(der), keyPEM: keyPEM}, nil
}

// normalNames makes lists of names comparable.
func normalNames(names []string) []string {
	var out []string
	for _, name := range names {
		if name = strings.ToLower(strings.TrimSuffix(name, ".")); name != "" {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// normalAddrs makes lists of addresses comparable.
func normalAddrs(addrs []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, addr := range addrs {
		if addr.IsValid() {
			out = append(out, addr.Unmap().WithZone(""))
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}
