//go:build integration

package process

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-io/slipway/services/controlplane"
	"github.com/slipway-io/slipway/services/controlplane/pki"
)

// The test program is also the shim and the owner of a driver, so that those can be killed.
const (
	roleEnv = "SLIPWAY_TEST_ROLE"
	dirEnv  = "SLIPWAY_TEST_DIR"
	portEnv = "SLIPWAY_TEST_PORT"
)

func TestMain(m *testing.M) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	switch os.Getenv(roleEnv) {
	case "shim":
		if err := RunShim(ctx, os.Args[len(os.Args)-1], log); err != nil {
			log.Error("shim", "err", err)
			os.Exit(1)
		}
	case "owner":
		port, _ := strconv.Atoi(os.Getenv(portEnv))
		s := &site{dir: os.Getenv(dirEnv), port: port, driver: newDriver(os.Getenv(dirEnv))}
		if err := s.apply(ctx, nil); err != nil {
			log.Error("owner", "err", err)
			os.Exit(1)
		}
		fmt.Println("applied")
		<-ctx.Done()
	default:
		os.Exit(m.Run())
	}
}

// unpacked is a release whose images are directories already.
type unpacked string

func (u unpacked) Unpack(_ context.Context, ref string) (string, error) {
	return filepath.Join(string(u), ref), nil
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
	driver *Driver
}

const testName = "clusters-demo"

func (s *site) spec(args map[string][]string) controlplane.Spec {
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
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	s := &site{dir: dir, port: port, driver: newDriver(dir)}
	t.Cleanup(func() {
		if t.Failed() {
			s.dump(t)
		}
		if err := s.driver.Delete(context.Background(), testName); err != nil {
			t.Errorf("delete: %v", err)
		}
		if left := processesOf(t, dir); len(left) > 0 {
			t.Errorf("processes left: %v", left)
		}
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

// answering asks the API anonymously for its health.
func (s *site) answering(t *testing.T) func() error {
	t.Helper()
	ca, err := os.ReadFile(filepath.Join(s.dir, "controlplanes", testName, "mounts", "kube-apiserver", "serving", "ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "api.demo.site.example"},
	}}
	return func() error {
		resp, err := client.Get(fmt.Sprintf("https://127.0.0.1:%d/readyz", s.port))
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

func TestLifecycle(t *testing.T) {
	s := newSite(t)
	begin := time.Now()
	if err := s.apply(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	first := s.ready(t)
	t.Logf("ready after %s, bounds: %s", time.Since(begin), first.Bounds)
	before := pids(first)

	t.Run("ApplyAgainChangesNothing", func(t *testing.T) {
		if err := s.apply(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond)
		if after := pids(s.ready(t)); !maps.Equal(before, after) {
			t.Errorf("processes %v became %v", before, after)
		}
	})
	t.Run("NewDriverAdopts", func(t *testing.T) {
		s.driver = newDriver(s.dir)
		if after := pids(s.ready(t)); !maps.Equal(before, after) {
			t.Errorf("processes %v became %v", before, after)
		}
	})
	t.Run("ChangedFlagRestartsOne", func(t *testing.T) {
		if err := s.apply(t.Context(), map[string][]string{controlplane.KubeScheduler: {"--v=1"}}); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "scheduler to be another process", func() bool {
			return s.ready(t).Component(controlplane.KubeScheduler).PID != before[controlplane.KubeScheduler]
		})
		after := pids(s.ready(t))
		before[controlplane.KubeScheduler] = after[controlplane.KubeScheduler]
		if !maps.Equal(before, after) {
			t.Errorf("processes %v became %v", before, after)
		}
	})
	t.Run("KilledComponentIsRestarted", func(t *testing.T) {
		syscall.Kill(before[controlplane.KubeAPIServer], syscall.SIGKILL)
		waitFor(t, "a restart", func() bool {
			st, err := s.driver.Status(t.Context(), testName)
			return err == nil && st.Component(controlplane.KubeAPIServer).Restarts == 1
		})
		after := s.ready(t)
		if after.Component(controlplane.Etcd).PID != before[controlplane.Etcd] {
			t.Error("etcd was restarted as well")
		}
		before = pids(after)
	})
	t.Run("KilledShimTakesAllAndComesBack", func(t *testing.T) {
		syscall.Kill(s.shimPID(t), syscall.SIGKILL)
		waitFor(t, "the children to die", func() bool {
			for _, pid := range before {
				if syscall.Kill(pid, 0) == nil {
					return false
				}
			}
			return true
		})
		after := pids(s.ready(t))
		for name, pid := range after {
			if pid == before[name] {
				t.Errorf("%s still is %d", name, pid)
			}
		}
		if err := s.answering(t)(); err != nil {
			t.Error(err)
		}
	})
	t.Run("OnlyTheOwnerReads", func(t *testing.T) { checkModes(t, s.dir) })
	t.Run("StopKeepsData", func(t *testing.T) {
		if err := s.driver.Stop(t.Context(), testName); err != nil {
			t.Fatal(err)
		}
		if left := processesOf(t, s.dir); len(left) > 0 {
			t.Errorf("processes left: %v", left)
		}
		if _, err := s.driver.Status(t.Context(), testName); err == nil {
			t.Error("a stopped control plane has a status")
		}
		if err := s.apply(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		s.ready(t)
	})
}

// TestOwnerDies kills the appliance's part: the API must not notice.
func TestOwnerDies(t *testing.T) {
	s := newSite(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	owner := exec.Command(self)
	owner.Env = append(os.Environ(), roleEnv+"=owner", dirEnv+"="+s.dir, portEnv+"="+strconv.Itoa(s.port))
	owner.Stderr = os.Stderr
	stdout, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdout.Read(make([]byte, 16)); err != nil {
		t.Fatalf("owner did not apply: %v", err)
	}
	before := pids(s.ready(t))
	ask := s.answering(t)
	failed := make(chan int)
	polling, stop := context.WithCancel(t.Context())
	go func() {
		failures := 0
		for polling.Err() == nil {
			if err := ask(); err != nil {
				t.Log(err)
				failures++
			}
			time.Sleep(50 * time.Millisecond)
		}
		failed <- failures
	}()
	time.Sleep(500 * time.Millisecond)
	owner.Process.Kill()
	owner.Wait()
	time.Sleep(time.Second)
	if err := s.apply(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	after := pids(s.ready(t))
	stop()
	if n := <-failed; n > 0 {
		t.Errorf("%d polls failed", n)
	}
	if !maps.Equal(before, after) {
		t.Errorf("processes %v became %v", before, after)
	}
}

// TestRunRestoresShim leaves the restoring to Run, and hears of it by OnChange.
func TestRunRestoresShim(t *testing.T) {
	s := newSite(t)
	changes := make(chan string, 1000)
	s.driver.cfg.OnChange = func(name string) { changes <- name }
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.driver.Run(ctx) }()
	if err := s.apply(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	before := s.ready(t)
	syscall.Kill(s.shimPID(t), syscall.SIGKILL)
	waitFor(t, "another shim", func() bool {
		status, err := ask(t.Context(), s.driver.dir(testName), 0, 0)
		return err == nil && status.Components[0].PID != 0 && status.Components[0].PID != before.Components[0].PID
	})
	s.ready(t)
	if len(changes) < 8 {
		t.Errorf("only %d changes were told", len(changes))
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
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
