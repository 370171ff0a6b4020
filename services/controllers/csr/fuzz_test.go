package csr

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"net/netip"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
)

// FuzzDecide looks for bytes that are approved although they name no host, or that make it panic.
func FuzzDecide(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	address := netip.MustParseAddr("fd07::50")
	hosts := []Host{{Agent: "a0", NodeName: "worker-0", Joining: true, Addresses: []netip.Addr{address}}}
	f.Add([]byte("x"), true)
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n"), false)
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{0x30, 0}}), true)
	seed := &testing.T{}
	f.Add(bootstrapping("worker-0").spec(seed, key).Request, true)
	f.Add(bootstrapping("intruder").spec(seed, key).Request, true)
	f.Add(shown("worker-0", []string{"worker-0"}, []string{"fd07::50"}).spec(seed, key).Request, false)
	f.Fuzz(func(t *testing.T, text []byte, client bool) {
		asked := shown("worker-0", nil, nil)
		if client {
			asked = bootstrapping("worker-0")
		}
		spec := certificatesv1.CertificateSigningRequestSpec{
			Request: text, SignerName: asked.signer, Username: asked.user, Groups: asked.groups, Usages: asked.usages,
		}
		host, err := Decide(spec, hosts)
		if err != nil {
			return
		}
		request, err := parse(text)
		if err != nil || host.Agent != "a0" || request.Subject.CommonName != "system:node:worker-0" || len(request.Subject.Organization) != 1 {
			t.Errorf("approved for %q: %v, %v", host.Agent, request, err)
		}
		for _, ip := range request.IPAddresses {
			if got, _ := netip.AddrFromSlice(ip); client || got.Unmap() != address {
				t.Errorf("approved with the address %s", ip)
			}
		}
	})
}
