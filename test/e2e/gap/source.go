//go:build e2e

package gap

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-io/slipway/mirror/registry"
	"github.com/slipway-io/slipway/mirror/release"
	"github.com/slipway-io/slipway/test/site"
)

// Names of the source registry. Both sides resolve them; the address is in one namespace alone.
const (
	sourceHost  = "quay.example.com"
	releaseHost = release.Host
)

// source is a registry in a network namespace of its own, with a release and a workload.
type source struct {
	pid     int    // of the process that holds the namespace
	ca      string // PEM file
	release string // by digest
}

func openSource(t *testing.T, address netip.Addr, layout, dir string) *source {
	s := &source{ca: filepath.Join(dir, "source-ca.crt")}
	holder := exec.Command("sleep", "infinity")
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	must(t, holder.Start())
	t.Cleanup(func() { _, _ = holder.Process.Kill(), holder.Wait() })
	s.pid = holder.Process.Pid
	add := []string{"ip", "address", "add", address.String(), "dev", "lo"}
	if address.Is6() {
		add = append(add, "nodad") // or it is tentative for a moment, and listening on it fails
	}
	for _, args := range [][]string{{"ip", "link", "set", "lo", "up"}, add} {
		if out, err := s.inside(t.Context(), args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	hosts := filepath.Join(dir, "hosts")
	must(t, os.WriteFile(hosts, fmt.Appendf(nil, "127.0.0.1 localhost\n::1 localhost\n%s %s %s\n", address, sourceHost, releaseHost), 0o644))
	must(t, unix.Mount(hosts, "/etc/hosts", "", unix.MS_BIND, ""))
	store, err := registry.Open(registry.Config{Dir: filepath.Join(dir, "source")})
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	releases, err := release.Import(t.Context(), layout, store, nil)
	must(t, err)
	newest := releases[len(releases)-1]
	s.release = releaseHost + "/" + release.Repository + "@" + newest.Digest
	must(t, pushWorkload(store, newest.Version))
	listener, err := s.listen(netip.AddrPortFrom(address, 443))
	must(t, err)
	server := &http.Server{Handler: store.Handler(), ReadHeaderTimeout: time.Minute, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate(t, s.ca)}}}
	go func() { _ = server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() { _ = server.Close() })
	return s
}

// pushWorkload makes an image of its own of the release's demo: other bytes, another digest, a repository that no release has.
func pushWorkload(store *registry.Registry, version string) error {
	demo, err := store.Manifest("release/demo", version)
	if err != nil {
		return err
	}
	var manifest map[string]any
	if err := json.Unmarshal(demo.Raw, &manifest); err != nil {
		return err
	}
	manifest["annotations"] = map[string]string{"org.opencontainers.image.title": "hello"}
	raw, err := json.Marshal(manifest)
	if err != nil {
		return err
	}
	_, err = store.PutManifest("team/hello", demo.MediaType, raw, "v1")
	return err
}

// inside is a command in the source's namespace.
func (s *source) inside(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"--net=/proc/" + strconv.Itoa(s.pid) + "/ns/net", "--"}, args...)...)
}

func (s *source) run(ctx context.Context, r *site.Rehearsal, args ...string) error {
	return command(ctx, r, "source", s.inside(ctx, args...))
}

// listen in the source's namespace: a socket stays where it was made.
func (s *source) listen(at netip.AddrPort) (listener net.Listener, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The thread is not unlocked: it ends with this function, and nobody else gets one in the wrong namespace.
		runtime.LockOSThread()
		var ns *os.File
		if ns, err = os.Open("/proc/" + strconv.Itoa(s.pid) + "/ns/net"); err != nil {
			return
		}
		defer ns.Close()
		if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err == nil {
			listener, err = net.Listen("tcp", at.String())
		}
	}()
	<-done
	return listener, err
}

// certificate signs itself for both names, and is its own authority.
func certificate(t *testing.T, ca string) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "source"}, DNSNames: []string{sourceHost, releaseHost},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	must(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
