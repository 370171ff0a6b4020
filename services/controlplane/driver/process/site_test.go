//go:build integration

package process

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slipway-io/slipway/services/controlplane"
	"github.com/slipway-io/slipway/services/controlplane/pki"
)

// unpacked is a release whose images are directories already.
type unpacked string

func (u unpacked) Unpack(_ context.Context, ref string) (string, error) {
	return filepath.Join(string(u), "images", ref), nil
}

func newDriver(dir string) *Driver {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return New(Config{
		StateDir: dir,
		Images:   unpacked(os.Getenv("SLIPWAY_RELEASE_BIN")),
		Shim:     []string{"/usr/bin/env", roleEnv + "=shim", self},
		Log:      slog.New(slog.DiscardHandler),
	})
}

// site is a control plane under test.
type site struct {
	dir    string
	port   int
	ipv6   bool
	driver *Driver
}

const testName = "clusters-demo"

func (s *site) spec(args map[string][]string) controlplane.Spec {
	if s.ipv6 {
		return controlplane.Spec{
			Name: testName, ClusterName: "demo", BaseDomain: "site.example", APIPort: s.port,
			AdvertiseAddress: netip.MustParseAddr("2001:db8::10"),
			ServiceCIDRs:     []netip.Prefix{netip.MustParsePrefix("fd02::/112")},
			ClusterCIDRs:     []netip.Prefix{netip.MustParsePrefix("fd01::/40")},
		}.Defaulted()
	}
	return controlplane.Spec{
		Name: testName, ClusterName: "demo", BaseDomain: "site.example", APIPort: s.port,
		AdvertiseAddress: netip.MustParseAddr("192.0.2.10"),
		ServiceCIDRs:     []netip.Prefix{netip.MustParsePrefix("172.31.0.0/16"), netip.MustParsePrefix("fd02::/112")},
		ClusterCIDRs:     []netip.Prefix{netip.MustParsePrefix("10.132.0.0/14"), netip.MustParsePrefix("fd01::/48")},
		ExtraArgs:        args,
	}.Defaulted()
}

// apply keeps the secrets beside the state directory, as the API would.
func (s *site) apply(ctx context.Context, args map[string][]string) error {
	spec := s.spec(args)
	store := secretFiles{filepath.Join(s.dir, "secrets")}
	existing, err := store.load()
	if err != nil {
		return err
	}
	secrets, _, err := pki.Desired(spec.PKI(), existing, time.Now())
	if err != nil {
		return err
	}
	if err := store.save(secrets); err != nil {
		return err
	}
	return s.driver.Apply(ctx, controlplane.ControlPlane{
		Name: spec.Name, Components: controlplane.Hosted(spec), Secrets: secrets,
		Images: map[string]string{controlplane.ImageEtcd: "etcd", controlplane.ImageKubernetes: "kubernetes"},
	})
}

func newSite(t *testing.T) *site {
	t.Helper()
	if os.Getenv("SLIPWAY_RELEASE_BIN") == "" {
		t.Fatal("SLIPWAY_RELEASE_BIN has to name a directory with the release's images, unpacked")
	}
	// A long path on purpose: control sockets must not depend on it.
	dir := filepath.Join(t.TempDir(), strings.Repeat("long-", 20))
	s := &site{dir: dir, port: 30443, driver: newDriver(dir)}
	t.Cleanup(func() {
		if t.Failed() {
			s.dump(t)
		}
		if err := s.driver.Delete(context.Background(), testName); err != nil {
			t.Errorf("delete: %v", err)
		}
		s.leavesNothing(t)
	})
	return s
}

func (s *site) dump(t *testing.T) {
	logs, _ := filepath.Glob(filepath.Join(s.dir, "controlplanes", "*", "logs", "*.log"))
	for _, path := range logs {
		data, _ := os.ReadFile(path)
		t.Logf("%s:\n%s", filepath.Base(path), data[max(0, len(data)-3000):])
	}
}

func (s *site) ready(t *testing.T) controlplane.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var last controlplane.Status
	if err := s.driver.Wait(ctx, testName, func(st controlplane.Status) { last = st }); err != nil {
		t.Fatalf("wait: %v; %+v", err, last)
	}
	return last
}

func pids(st controlplane.Status) map[string]int {
	out := map[string]int{}
	for _, c := range st.Components {
		out[c.Name] = c.PID
	}
	return out
}

// processesOf finds what runs with dir in its arguments.
func processesOf(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(data), dir) {
			found = append(found, filepath.Base(filepath.Dir(path))+" "+strings.ReplaceAll(string(data[:min(len(data), 200)]), "\x00", " "))
		}
	}
	return found
}

// leavesNothing: every process of the control plane ends. The shim gives its lock away before it has quite ended.
func (s *site) leavesNothing(t *testing.T) {
	t.Helper()
	var left []string
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if left = processesOf(t, s.dir); len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("processes left: %v", left)
			return
		}
	}
}

// shimPID is found the way that the driver finds it: by its socket.
func (s *site) shimPID(t *testing.T) int {
	t.Helper()
	for _, p := range processesOf(t, filepath.Join(s.dir, "controlplanes", testName)) {
		if strings.Contains(p, "--dir") {
			pid, _ := strconv.Atoi(strings.Fields(p)[0])
			return pid
		}
	}
	t.Fatal("no shim")
	return 0
}

// answering asks the API anonymously. An API that is gone refuses at once; one that is slow on a busy machine is there.
func (s *site) answering(t *testing.T, path string) func() error {
	t.Helper()
	ca, err := os.ReadFile(filepath.Join(s.dir, "controlplanes", testName, "mounts", "kube-apiserver", "serving", "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "api.demo.site.example"},
	}}
	return func() error {
		resp, err := client.Get(fmt.Sprintf("https://127.0.0.1:%d%s", s.port, path))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if body, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", resp.Status, body)
		}
		return nil
	}
}

func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if cond() {
			return
		}
	}
	t.Fatalf("waited in vain for %s", what)
}

func checkModes(t *testing.T, dir string) {
	err := filepath.Walk(filepath.Join(dir, "controlplanes"), func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		if info.Mode()&os.ModeSymlink == 0 && info.Mode().Perm()&0o077 != 0 && !strings.HasSuffix(path, "controlplanes") {
			t.Errorf("%s has mode %s", path, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
