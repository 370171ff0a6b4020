package pki

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/slipway-io/slipway/services/atomicfile"
)

// Files of the site in its directory.
const (
	siteName = "slipway site"
	siteCert = "site-ca.crt"
	siteKey  = "site-ca.key"
	// siteToken is the key that tokens in URLs are made with.
	siteToken = "site-token.key"
)

// SiteCA signs what the appliance itself serves: its HTTPS front and its registry.
type SiteCA struct {
	now func() time.Time
	ca  *authority
}

// OpenSiteCA loads the site's authority from dir, or creates it there. It renews the certificate,
// key kept, when little of its life is left.
func OpenSiteCA(dir string, now func() time.Time) (*SiteCA, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create %s: %w", dir, err)
	}
	certPEM, err := readIfThere(filepath.Join(dir, siteCert))
	if err != nil {
		return nil, err
	}
	keyPEM, err := readIfThere(filepath.Join(dir, siteKey))
	if err != nil {
		return nil, err
	}
	moment := now().Truncate(time.Second)
	var ca *authority
	if len(certPEM) == 0 && len(keyPEM) > 0 {
		ca, err = authorityFromKey(keyPEM, moment)
	} else if ca, err = loadAuthority(certPEM, keyPEM); err == nil && ca.due(moment) {
		ca, err = ca.renewed(moment)
	}
	if errors.Is(err, errAbsent) {
		ca, err = newAuthority(siteName, moment)
	}
	if err != nil {
		return nil, fmt.Errorf("site authority in %s: %w", dir, err)
	}
	site := &SiteCA{now: now, ca: ca}
	return site, site.save(dir, certPEM, keyPEM)
}

// authorityFromKey ends a creation that was interrupted between its two files.
func authorityFromKey(keyPEM []byte, now time.Time) (*authority, error) {
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w: %w", ErrDamaged, err)
	}
	return signAuthority(authorityTemplate(siteName), key, keyPEM, now)
}

// save writes the key first: a certificate is never without its key.
func (s *SiteCA) save(dir string, oldCert, oldKey []byte) error {
	if string(oldKey) != string(s.ca.keyPEM) {
		if err := atomicfile.Write(filepath.Join(dir, siteKey), s.ca.keyPEM); err != nil {
			return err
		}
	}
	if string(oldCert) != string(s.ca.certPEM) {
		return atomicfile.Write(filepath.Join(dir, siteCert), s.ca.certPEM)
	}
	return nil
}

// PEM is the authority's certificate: what hosts and users trust.
func (s *SiteCA) PEM() []byte { return s.ca.certPEM }

// ServingCert is a certificate for the names and addresses, valid at once and renewed while it serves.
func (s *SiteCA) ServingCert(names []string, addrs []netip.Addr) (*ServingCert, error) {
	l := leaf{commonName: "slipway", names: names, addrs: addrs}.completed(Spec{})
	if len(l.names)+len(l.addrs) == 0 {
		return nil, errors.New("serving certificate: no name and no address")
	}
	serving := &ServingCert{site: s, leaf: l}
	_, err := serving.GetCertificate(nil)
	return serving, err
}

// ServingCert keeps a server's certificate fresh. The key is in memory only.
type ServingCert struct {
	site *SiteCA
	leaf leaf

	mu      sync.Mutex
	current *tls.Certificate
}

// GetCertificate is for tls.Config; it issues a new certificate when the old one is due.
func (c *ServingCert) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.site.now().Truncate(time.Second)
	if c.current != nil && !c.leaf.due(c.current.Leaf, c.site.ca, now) {
		return c.current, nil
	}
	pair, err := c.leaf.issue(c.site.ca, now)
	if err != nil {
		return nil, err
	}
	c.current = &tls.Certificate{Certificate: [][]byte{pair.cert.Raw}, PrivateKey: pair.key, Leaf: pair.cert}
	return c.current, nil
}

// TLSConfig is a server's configuration with this certificate.
func (c *ServingCert) TLSConfig() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.GetCertificate}
}

// OpenSiteKey loads the 32 bytes that the site's URL tokens are made with, or creates them.
func OpenSiteKey(dir string) ([]byte, error) {
	path := filepath.Join(dir, siteToken)
	key, err := readIfThere(path)
	if err != nil {
		return nil, err
	}
	if len(key) == 32 {
		return key, nil
	}
	if len(key) != 0 {
		return nil, fmt.Errorf("read %s: %w: %d bytes instead of 32", path, ErrDamaged, len(key))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create %s: %w", dir, err)
	}
	key = make([]byte, 32)
	rand.Read(key)
	return key, atomicfile.Write(path, key)
}

func readIfThere(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return data, nil
}
