//go:build integration

package process

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-io/slipway/services/controlplane"
	"github.com/slipway-io/slipway/test/world"
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
		os.Exit(world.Main(m))
	}
}

func TestIntegrationLifecycle(t *testing.T) {
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
		if err := s.answering(t, "/readyz")(); err != nil {
			t.Error(err)
		}
	})
	t.Run("OnlyTheOwnerReads", func(t *testing.T) { checkModes(t, s.dir) })
	t.Run("StopKeepsData", func(t *testing.T) {
		if err := s.driver.Stop(t.Context(), testName); err != nil {
			t.Fatal(err)
		}
		s.leavesNothing(t)
		if _, err := s.driver.Status(t.Context(), testName); err == nil {
			t.Error("a stopped control plane has a status")
		}
		if err := s.apply(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		s.ready(t)
	})
}

// TestIntegrationOwnerDies kills the appliance's part: the API must not notice.
func TestIntegrationOwnerDies(t *testing.T) {
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
	ask := s.answering(t, "/version")
	failed := make(chan int, 1)
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

// TestIPv6 has no IPv4 but loopback's.
func TestIntegrationIPv6(t *testing.T) {
	s := newSite(t)
	s.ipv6 = true
	if err := s.apply(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range s.ready(t).Components {
		if c.Restarts > 0 {
			t.Errorf("%s was restarted: %s", c.Name, c.Message)
		}
	}
	conn, err := tls.Dial("tcp", net.JoinHostPort("::1", strconv.Itoa(s.port)), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.ConnectionState().PeerCertificates[0].VerifyHostname("2001:db8::10"); err != nil {
		t.Error(err)
	}
}

// TestIntegrationRunRestoresShim leaves the restoring to Run, and hears of it by OnChange.
func TestIntegrationRunRestoresShim(t *testing.T) {
	s := newSite(t)
	changes := make(chan string, 1000)
	s.driver.cfg.OnChange = func(name string) { changes <- name }
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
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
