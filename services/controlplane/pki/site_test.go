package pki

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestSiteCA(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	now := start
	clock := func() time.Time { return now }
	site, err := OpenSiteCA(dir, clock)
	if err != nil {
		t.Fatal(err)
	}
	again, err := OpenSiteCA(dir, clock)
	if err != nil || !bytes.Equal(site.PEM(), again.PEM()) {
		t.Fatalf("opened again: %v", err)
	}
	for _, name := range []string{siteCert, siteKey} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}

	now = now.Add(CAValidity - CARenewal + time.Hour)
	renewed, err := OpenSiteCA(dir, clock)
	if err != nil || bytes.Equal(site.PEM(), renewed.PEM()) {
		t.Fatalf("not renewed: %v", err)
	}
	serving, err := renewed.ServingCert([]string{"slipway.site.example"}, []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.1")})
	if err != nil {
		t.Fatal(err)
	}
	for _, ca := range [][]byte{site.PEM(), renewed.PEM()} { // who trusts the old one still does
		for _, name := range []string{"slipway.site.example", "2001:db8::1", "192.0.2.1"} {
			if err := handshake(serving, ca, name, now); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func handshake(serving *ServingCert, ca []byte, name string, now time.Time) error {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	config := serving.TLSConfig()
	config.SessionTicketsDisabled = true
	go func() { _ = tls.Server(server, config).Handshake() }()
	return tls.Client(client, &tls.Config{RootCAs: pool, ServerName: name, Time: func() time.Time { return now }}).Handshake()
}

func TestServingCertRenewsWhileServing(t *testing.T) {
	now := start
	site, err := OpenSiteCA(t.TempDir(), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	serving, err := site.ServingCert([]string{"slipway.site.example"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	first, _ := serving.GetCertificate(nil)
	now = now.Add(LeafValidity - LeafRenewal - time.Hour)
	if same, _ := serving.GetCertificate(nil); same != first {
		t.Error("renewed too early")
	}
	now = now.Add(2 * time.Hour)
	if other, err := serving.GetCertificate(nil); err != nil || other == first {
		t.Errorf("not renewed: %v", err)
	}
}

func TestSiteCAFaults(t *testing.T) {
	clock := func() time.Time { return start }
	t.Run("interrupted creation", func(t *testing.T) {
		dir := t.TempDir()
		site, err := OpenSiteCA(dir, clock)
		if err != nil {
			t.Fatal(err)
		}
		os.Remove(filepath.Join(dir, siteCert))
		again, err := OpenSiteCA(dir, clock)
		if err != nil || !bytes.Equal(site.ca.keyPEM, again.ca.keyPEM) {
			t.Errorf("the key was not kept: %v", err)
		}
	})
	t.Run("damaged", func(t *testing.T) {
		dir := t.TempDir()
		os.WriteFile(filepath.Join(dir, siteCert), []byte("x"), 0o600)
		if _, err := OpenSiteCA(dir, clock); !errors.Is(err, ErrDamaged) {
			t.Errorf("error is %v", err)
		}
	})
}

func TestSiteKey(t *testing.T) {
	dir := t.TempDir()
	key, err := OpenSiteKey(dir)
	if err != nil || len(key) != 32 {
		t.Fatalf("%d bytes, %v", len(key), err)
	}
	if again, err := OpenSiteKey(dir); err != nil || !bytes.Equal(key, again) {
		t.Errorf("another key: %v", err)
	}
	os.WriteFile(filepath.Join(dir, siteToken), []byte("short"), 0o600)
	if _, err := OpenSiteKey(dir); !errors.Is(err, ErrDamaged) {
		t.Errorf("error is %v", err)
	}
}
