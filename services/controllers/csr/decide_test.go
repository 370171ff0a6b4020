package csr

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
)

type asked struct {
	signer, user, commonName string
	groups, organizations    []string
	names, addresses         []string
	uri                      string
	usages                   []certificatesv1.KeyUsage
	text                     []byte
}

func bootstrapping(node string) asked {
	return asked{
		signer: certificatesv1.KubeAPIServerClientKubeletSignerName, user: "system:bootstrap:abcdef",
		groups: []string{"system:bootstrappers", "system:authenticated"}, commonName: "system:node:" + node, organizations: []string{"system:nodes"},
		usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth},
	}
}

func renewal(node string) asked {
	a := bootstrapping(node)
	a.user, a.groups = "system:node:"+node, []string{"system:nodes"}
	return a
}

func shown(node string, names, addresses []string) asked {
	a := renewal(node)
	a.signer, a.names, a.addresses = certificatesv1.KubeletServingSignerName, names, addresses
	a.usages = []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth}
	return a
}

func (a asked) with(change func(*asked)) asked {
	change(&a)
	return a
}

func (a asked) spec(t *testing.T, key crypto.Signer) certificatesv1.CertificateSigningRequestSpec {
	t.Helper()
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: a.commonName, Organization: a.organizations}, DNSNames: a.names}
	for _, text := range a.addresses {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(text))
	}
	if a.uri != "" {
		uri, err := url.Parse(a.uri)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = []*url.URL{uri}
	}
	text := a.text
	if text == nil {
		der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
		if err != nil {
			t.Fatal(err)
		}
		text = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	}
	return certificatesv1.CertificateSigningRequestSpec{Request: text, SignerName: a.signer, Username: a.user, Groups: a.groups, Usages: a.usages}
}

func TestDecide(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	hosts := []Host{
		{Agent: "a0", NodeName: "worker-0", Names: []string{"localhost0"}, Joining: true,
			Addresses: []netip.Addr{netip.MustParseAddr("10.7.0.50"), netip.MustParseAddr("fd07::50")}},
		{Agent: "a1", NodeName: "worker-1", Joining: true, NodeReady: true},
		{Agent: "a2", NodeName: "worker-2"},
		{Agent: "a3", NodeName: "twin", Joining: true}, {Agent: "a4", NodeName: "twin", Joining: true},
	}
	for _, c := range []struct {
		name  string
		asked asked
		// agent that it is approved for, or what the refusal says.
		agent, refusal string
	}{
		{name: "first identity", asked: bootstrapping("worker-0"), agent: "a0"},
		{name: "first identity, RSA", agent: "a0", asked: bootstrapping("worker-0").with(func(a *asked) {
			a.usages = append(a.usages, certificatesv1.UsageKeyEncipherment)
		})},
		{name: "nobody's name", asked: bootstrapping("intruder"), refusal: "no agent of this cluster"},
		{name: "empty name", asked: bootstrapping(""), refusal: "not that of a node"},
		{name: "two Agents of one name", asked: bootstrapping("twin"), refusal: "agents a3 and a4"},
		{name: "node that works already", asked: bootstrapping("worker-1"), refusal: "already"},
		{name: "host that is not being installed", asked: bootstrapping("worker-2"), refusal: "not being installed"},
		{name: "renewal", asked: renewal("worker-1"), agent: "a1"},
		{name: "node asks for another's identity", refusal: "may not ask", asked: bootstrapping("worker-0").with(func(a *asked) {
			a.user, a.groups = "system:node:worker-1", []string{"system:nodes"}
		})},
		{name: "service account asks", refusal: "may not ask", asked: bootstrapping("worker-0").with(func(a *asked) {
			a.user, a.groups = "system:serviceaccount:default:default", []string{"system:serviceaccounts"}
		})},
		{name: "bootstrap name without its group", refusal: "may not ask", asked: bootstrapping("worker-0").with(func(a *asked) { a.groups = nil })},
		{name: "masters", refusal: "not that of a node", asked: bootstrapping("worker-0").with(func(a *asked) {
			a.organizations = []string{"system:nodes", "system:masters"}
		})},
		{name: "administrator", refusal: "not that of a node", asked: bootstrapping("worker-0").with(func(a *asked) { a.commonName = "admin" })},
		{name: "identity with names", refusal: "no names", asked: bootstrapping("worker-0").with(func(a *asked) { a.names = []string{"worker-0"} })},
		{name: "identity with URI", refusal: "URIs", asked: bootstrapping("worker-0").with(func(a *asked) { a.uri = "spiffe://x/y" })},
		{name: "identity that also serves", refusal: "usage", asked: bootstrapping("worker-0").with(func(a *asked) {
			a.usages = append(a.usages, certificatesv1.UsageServerAuth)
		})},
		{name: "identity without purpose", refusal: "missing", asked: bootstrapping("worker-0").with(func(a *asked) { a.usages = a.usages[:1] })},

		{name: "serving", asked: shown("worker-0", []string{"worker-0", "localhost0"}, []string{"10.7.0.50", "fd07::50"}), agent: "a0"},
		{name: "serving, address only", asked: shown("worker-0", nil, []string{"fd07:0:0::50"}), agent: "a0"},
		{name: "serving another's address", asked: shown("worker-0", []string{"worker-0"}, []string{"10.7.0.2"}), refusal: "has not the address"},
		{name: "serving another's name", asked: shown("worker-0", []string{"api.demo.site"}, nil), refusal: "has not the name"},
		{name: "serving nothing", asked: shown("worker-0", nil, nil), refusal: "no name and no address"},
		{name: "serving for another node", refusal: "asks for the certificate", asked: shown("worker-0", []string{"worker-0"}, nil).with(func(a *asked) {
			a.user = "system:node:worker-1"
		})},
		{name: "serving with a bootstrap token", refusal: "asks for the certificate", asked: shown("worker-0", []string{"worker-0"}, nil).with(func(a *asked) {
			a.user, a.groups = "system:bootstrap:abcdef", []string{"system:bootstrappers"}
		})},
		{name: "serving that is a client too", refusal: "usage", asked: shown("worker-0", []string{"worker-0"}, nil).with(func(a *asked) {
			a.usages = append(a.usages, certificatesv1.UsageClientAuth)
		})},

		{name: "no PEM", refusal: "no single PEM", asked: bootstrapping("worker-0").with(func(a *asked) { a.text = []byte("x") })},
		{name: "no request", refusal: "parse", asked: bootstrapping("worker-0").with(func(a *asked) {
			a.text = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: []byte("x")})
		})},
	} {
		t.Run(c.name, func(t *testing.T) {
			host, err := Decide(c.asked.spec(t, key), hosts)
			switch {
			case c.refusal == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.refusal == "" && host.Agent != c.agent:
				t.Errorf("approved for %q, want %q", host.Agent, c.agent)
			case c.refusal != "" && err == nil:
				t.Errorf("approved for %s", host.Agent)
			case c.refusal != "" && !strings.Contains(err.Error(), c.refusal):
				t.Errorf("refused with %q, want %q", err, c.refusal)
			}
		})
	}
}

func TestDecideChecksSignature(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spec := bootstrapping("worker-0").spec(t, key)
	block, _ := pem.Decode(spec.Request)
	block.Bytes[len(block.Bytes)-1] ^= 1
	spec.Request = pem.EncodeToMemory(block)
	if _, err := Decide(spec, []Host{{Agent: "a0", NodeName: "worker-0", Joining: true}}); err == nil {
		t.Error("a request with a broken signature is approved")
	}
}

func TestForeign(t *testing.T) {
	for signer, foreign := range map[string]bool{
		certificatesv1.KubeAPIServerClientKubeletSignerName: false, certificatesv1.KubeletServingSignerName: false,
		certificatesv1.KubeAPIServerClientSignerName: true, "example.com/own": true,
	} {
		if got := Foreign(certificatesv1.CertificateSigningRequestSpec{SignerName: signer}); got != foreign {
			t.Errorf("%s: %t", signer, got)
		}
	}
}
