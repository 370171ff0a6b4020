package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// backdate forgives machines whose clock is behind.
const backdate = time.Hour

var errAbsent = errors.New("absent")

// keyPair is a certificate with its private key.
type keyPair struct {
	cert            *x509.Certificate
	key             crypto.Signer
	certPEM, keyPEM []byte
}

// authority is a keyPair that signs others.
type authority struct{ keyPair }

func newAuthority(commonName string, now time.Time) (*authority, error) {
	key, keyPEM, err := newKey()
	if err != nil {
		return nil, err
	}
	return signAuthority(authorityTemplate(commonName), key, keyPEM, now)
}

func authorityTemplate(commonName string) *x509.Certificate {
	return &x509.Certificate{Subject: pkix.Name{CommonName: commonName, OrganizationalUnit: []string{"slipway"}}}
}

func signAuthority(template *x509.Certificate, key crypto.Signer, keyPEM []byte, now time.Time) (*authority, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.NotBefore = now.Add(-backdate)
	template.NotAfter = now.Add(CAValidity)
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse certificate authority: %w", err)
	}
	return &authority{keyPair{cert: cert, key: key, certPEM: certificatePEM(der), keyPEM: keyPEM}}, nil
}

// loadAuthority returns errAbsent if there is none, ErrDamaged if what is there cannot be used.
func loadAuthority(certPEM, keyPEM []byte) (*authority, error) {
	if len(certPEM) == 0 && len(keyPEM) == 0 {
		return nil, errAbsent
	}
	pair, err := loadPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w: %w", ErrDamaged, err)
	}
	if !pair.cert.IsCA {
		return nil, fmt.Errorf("certificate authority: %w: the certificate is no authority's", ErrDamaged)
	}
	return &authority{*pair}, nil
}

// renewed is the same authority, subject and key included, with a new certificate: what the old one
// signed stays valid.
func (a *authority) renewed(now time.Time) (*authority, error) {
	template := &x509.Certificate{RawSubject: a.cert.RawSubject, SubjectKeyId: a.cert.SubjectKeyId}
	return signAuthority(template, a.key, a.keyPEM, now)
}

func (a *authority) selfSigned() bool {
	return bytes.Equal(a.cert.RawIssuer, a.cert.RawSubject)
}

// renewAt is zero for an authority that somebody else signed: only they can renew it.
func (a *authority) renewAt() time.Time {
	if !a.selfSigned() {
		return time.Time{}
	}
	return renewAt(a.cert, CARenewal)
}

func (a *authority) due(now time.Time) bool {
	return a.selfSigned() && (now.Before(a.cert.NotBefore) || !now.Before(a.renewAt()))
}

// renewAt leaves `left` of the life, but never more than a third of it: a short certificate must not
// be due on the day that it is issued.
func renewAt(cert *x509.Certificate, left time.Duration) time.Time {
	third := cert.NotAfter.Sub(cert.NotBefore.Add(backdate)) / 3
	return cert.NotAfter.Add(-max(0, min(left, third)))
}

func loadPair(certPEM, keyPEM []byte) (*keyPair, error) {
	block, _ := pem.Decode(certPEM)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no PEM certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse certificate: %w", err)
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, err
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(cert.PublicKey) {
		return nil, errors.New("certificate and private key do not belong together")
	}
	return &keyPair{cert: cert, key: key, certPEM: certPEM, keyPEM: keyPEM}, nil
}

func parseKey(keyPEM []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(keyPEM)
	if block == nil {
		return nil, errors.New("no PEM private key")
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("private key is neither SEC 1, PKCS #1 nor PKCS #8")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("private key of type %T does not sign", key)
	}
	return signer, nil
}

func newKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make key: %w", err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encode key: %w", err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

// signingKeyPair keeps a private key, or makes one if there is none.
func signingKeyPair(keyPEM []byte) (private, public []byte, err error) {
	var key crypto.Signer
	if len(keyPEM) == 0 {
		key, keyPEM, err = newKey()
	} else if key, err = parseKey(keyPEM); err != nil {
		err = fmt.Errorf("signing key: %w: %w", ErrDamaged, err)
	}
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, nil, fmt.Errorf("encode public key: %w", err)
	}
	return keyPEM, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	return serial.Add(serial, big.NewInt(1)), nil
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
