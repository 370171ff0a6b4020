package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"sync"
	"time"
)

// leaves are the BMCs' certificates, one for each address, of one CA.
type leaves struct {
	ca *tls.Certificate

	mu   sync.Mutex
	made map[string]*tls.Certificate
}

// forConnection gives the certificate of the address that was dialled.
func (l *leaves) forConnection(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	host, _, err := net.SplitHostPort(hello.Conn.LocalAddr().String())
	if err != nil {
		return nil, fmt.Errorf("read own address: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if leaf := l.made[host]; leaf != nil {
		return leaf, nil
	}
	leaf, err := l.sign(host)
	if err == nil {
		l.made[host] = leaf
	}
	return leaf, err
}

func (l *leaves) sign(host string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(int64(len(l.made)) + 2), Subject: pkix.Name{CommonName: host}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.ParseIP(host)}, DNSNames: []string{certificateName},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, l.ca.Leaf, &key.PublicKey, l.ca.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
