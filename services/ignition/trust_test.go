package ignition

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// authority is the certificate of a CA, in PEM.
func authority(t *testing.T, name string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})
}

// trust is a host's root directory with a store that trusts one CA of the world, and the site's CA beside it.
type trust struct {
	t          *testing.T
	root       string
	world, own []byte
}

func newTrust(t *testing.T, world, own []byte) *trust {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed")
	}
	h := &trust{t: t, root: t.TempDir(), world: world, own: own}
	in := nodeInput()
	in.SiteCA, in.UserConfigs = own, nil
	raw, err := Node(in)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/usr/local/share/ca-certificates/slipway-site.crt", "/usr/local/libexec/slipway/trust-site-ca"} {
		file := fileOf(t, raw, path)
		h.put(path, []byte(content(t, file.Contents)), os.FileMode(*file.Mode))
	}
	h.put("/usr/share/ca-certificates/world.crt", world, 0o644)
	h.put("/etc/ssl/certs/ca-certificates.crt", bytes.TrimSpace(world), 0o644)
	h.link("/usr/share/ca-certificates/world.crt", "world.pem")
	return h
}

func (h *trust) put(path string, content []byte, mode os.FileMode) {
	h.t.Helper()
	if err := os.MkdirAll(filepath.Dir(h.root+path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(h.root+path, content, mode); err != nil {
		h.t.Fatal(err)
	}
}

func (h *trust) link(target, name string) {
	h.t.Helper()
	if err := os.Symlink(target, h.root+"/etc/ssl/certs/"+name); err != nil {
		h.t.Fatal(err)
	}
}

func (h *trust) run() {
	h.t.Helper()
	command := exec.CommandContext(h.t.Context(), h.root+"/usr/local/libexec/slipway/trust-site-ca")
	command.Env = append(os.Environ(), "ROOT="+h.root)
	if out, err := command.CombinedOutput(); err != nil {
		h.t.Fatalf("%v\n%s", err, out)
	}
}

// trusted: the bundle has both CAs, and OpenSSL finds the site's in the folder by the hash of its subject.
func (h *trust) trusted(hashed string) {
	h.t.Helper()
	bundle, err := os.ReadFile(h.root + "/etc/ssl/certs/ca-certificates.crt")
	if want := string(h.world) + string(h.own); err != nil || string(bundle) != want {
		h.t.Errorf("bundle: %v\n%s\nwant\n%s", err, bundle, want)
	}
	if target, err := os.Readlink(h.root + "/etc/ssl/certs/slipway-site.pem"); target != "/usr/local/share/ca-certificates/slipway-site.crt" {
		h.t.Errorf("slipway-site.pem leads to %q %v", target, err)
	}
	if target, err := os.Readlink(h.root + "/etc/ssl/certs/" + hashed); target != "slipway-site.pem" {
		h.t.Errorf("%s leads to %q %v", hashed, target, err)
	}
	if left, err := filepath.Glob(h.root + "/etc/ssl/certs/*.new"); err != nil || len(left) > 0 {
		h.t.Errorf("left behind: %v %v", left, err)
	}
}

// hash is what OpenSSL looks a CA up by.
func hash(t *testing.T, certificate []byte) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "openssl", "x509", "-noout", "-subject_hash")
	command.Stdin = bytes.NewReader(certificate)
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimSpace(out))
}

func TestSiteCAIsTrusted(t *testing.T) {
	h := newTrust(t, authority(t, "World"), authority(t, "Site"))
	h.run()
	h.trusted(hash(t, h.own) + ".0")
	h.run() // nothing is there twice
	h.trusted(hash(t, h.own) + ".0")
	verify := exec.CommandContext(t.Context(), "openssl", "verify", "-no-CApath", "-CAfile", h.root+"/etc/ssl/certs/ca-certificates.crt",
		h.root+"/usr/local/share/ca-certificates/slipway-site.crt")
	if out, err := verify.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// Power was lost before the last link: the same run ends it.
func TestSiteCAIsTrustedAfterInterruption(t *testing.T) {
	h := newTrust(t, authority(t, "World"), authority(t, "Site"))
	h.run()
	if err := os.Remove(h.root + "/etc/ssl/certs/slipway-site.pem"); err != nil {
		t.Fatal(err)
	}
	h.put("/etc/ssl/certs/ca-certificates.crt.new", []byte("half"), 0o600)
	h.put("/etc/ssl/certs/ca-certificates.crt", h.world, 0o644)
	h.run()
	h.trusted(hash(t, h.own) + ".0")
}

// Two CAs of one name have one hash.
func TestSiteCAIsTrustedBesideItsNamesake(t *testing.T) {
	h := newTrust(t, authority(t, "Site"), authority(t, "Site"))
	h.link("world.pem", hash(t, h.world)+".0")
	h.run()
	h.run()
	h.trusted(hash(t, h.own) + ".1")
	if target, err := os.Readlink(h.root + "/etc/ssl/certs/" + hash(t, h.world) + ".0"); target != "world.pem" {
		t.Errorf("the namesake's link leads to %q %v", target, err)
	}
}
