package dhcp

import (
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

const killedDir = "SLIPWAY_TEST_DHCP_DIR"

// TestServeUntilKilled is the process that TestKilledServer kills.
func TestServeUntilKilled(t *testing.T) {
	dir := os.Getenv(killedDir)
	if dir == "" {
		t.Skip("is run by TestKilledServer")
	}
	cfg := testConfig()
	cfg.Interface, cfg.Dir = "s0", dir
	s, err := Listen(t.Context(), cfg, Chain{}, nil, nil, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A server that is killed right after an ACK knows the lease when it is started again.
func TestKilledServer(t *testing.T) {
	done := make(chan struct{})
	go func() { // a goroutine of its own, because its thread's namespace is changed for good
		defer close(done)
		l := newLink(t)
		dir := t.TempDir()
		for n := byte(1); n <= 3; n++ {
			// The child has this thread's namespace.
			server := exec.Command(os.Args[0], "-test.run=^TestServeUntilKilled$")
			server.Env, server.Stderr = append(os.Environ(), killedDir+"="+dir), t.Output()
			server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			if err := server.Start(); err != nil {
				t.Error(err)
				return
			}
			l.run("nsenter", "-t", l.pid, "-n", "ip", "link", "set", "c0", "address", mac(n).String())
			waitFor(t, "the server listens", func() bool {
				out, err := exec.Command("ss", "-Hlun", "sport", "=", ":67").Output()
				return err == nil && len(out) > 0
			})
			got := l.lease()
			_ = server.Process.Kill()
			_ = server.Wait()
			if want := "bound 10.7.0.10" + string('0'+n-1); !strings.HasPrefix(got, want) {
				t.Errorf("host %d: %s, want %s", n, got, want)
			}
		}
		s, stop := l.serve(dir)
		defer stop()
		leases := s.Leases()
		if len(leases) != 3 {
			t.Errorf("after three kills: %v", leases)
		}
		for i, lease := range leases {
			if lease.Client != mac(byte(i+1)).String() || !lease.Active(time.Now()) {
				t.Errorf("lease %d is %v", i, lease)
			}
		}
	}()
	<-done
}
