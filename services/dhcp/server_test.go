package dhcp

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

func typeOption(m dhcpv4.MessageType) dhcpv4.Option { return dhcpv4.OptMessageType(m) }

func requested(a net.IP) dhcpv4.Option { return dhcpv4.OptRequestedIPAddress(a) }

func TestQueueDropsTheOldestDiscover(t *testing.T) {
	q := newQueue(2)
	q.push(arrival{DHCPv4: packet(t, 1, ask)})
	q.push(arrival{DHCPv4: packet(t, 2, discover)})
	if !q.push(arrival{DHCPv4: packet(t, 3, ask)}) {
		t.Error("nothing was dropped")
	}
	var left []byte
	for _, p := range q.take() {
		left = append(left, p.ClientHWAddr[5])
	}
	if string(left) != "\x01\x03" {
		t.Errorf("left %v", left)
	}
}

func TestListenRefuses(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	cfg := testConfig()
	cfg.Dir = t.TempDir()
	cfg.Interface = "slipway-none"
	if _, err := Listen(t.Context(), cfg, nil, nil, nil, log); err == nil || !strings.Contains(err.Error(), "slipway-none") {
		t.Errorf("an interface that does not exist: %v", err)
	}
	cfg.Interface = "lo"
	if _, err := Listen(t.Context(), cfg, nil, nil, nil, log); err == nil || !strings.Contains(err.Error(), "does not have the address 10.7.0.2") {
		t.Errorf("an interface with another address: %v", err)
	}
	cfg.Ranges = nil
	cfg.Gateway = ip("192.168.0.1")
	if _, err := Listen(t.Context(), cfg, nil, nil, nil, log); err == nil || !strings.Contains(err.Error(), "gateway 192.168.0.1") {
		t.Errorf("a foreign gateway: %v", err)
	}
}

// link is a pair of interfaces between this thread's network namespace and that of a process. Both namespaces have no
// name and are gone with the test, whichever way it ends.
type link struct {
	t   *testing.T
	pid string
}

func newLink(t *testing.T) *link {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for network namespaces")
	}
	for _, tool := range []string{"ip", "busybox", "nsenter", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s", tool)
		}
	}
	runtime.LockOSThread() // never unlocked: the thread and its namespace end with the test's goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("needs network namespaces: %v", err)
	}
	holder := exec.Command("unshare", "-n", "sh", "-c", "echo ready; exec sleep infinity")
	holder.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = holder.Process.Kill()
		_ = holder.Wait()
	})
	if _, err := out.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	l := &link{t, fmt.Sprint(holder.Process.Pid)}
	l.run("ip", "link", "set", "lo", "up")
	l.run("ip", "link", "add", "s0", "type", "veth", "peer", "name", "c0", "netns", l.pid)
	l.run("ip", "addr", "add", "10.7.0.2/24", "dev", "s0")
	l.run("sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/s0/accept_dad || true") // where there is IPv6, without its delay
	l.run("ip", "link", "set", "s0", "up")
	l.run("nsenter", "-t", l.pid, "-n", "ip", "link", "set", "c0", "address", mac(1).String(), "up")
	return l
}

func (l *link) run(argv ...string) string {
	l.t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out)
}

// serve runs a server until the returned function is called.
func (l *link) serve(dir string) (*Server, func()) {
	l.t.Helper()
	cfg := testConfig()
	cfg.Interface, cfg.Dir = "s0", dir
	s, err := Listen(l.t.Context(), cfg, Chain{}, nil, prometheus.NewRegistry(), slog.New(slog.NewTextHandler(l.t.Output(), nil)))
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(l.t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return s, func() {
		l.t.Helper()
		cancel()
		if err := <-done; err != nil {
			l.t.Errorf("clean stop: %v", err)
		}
	}
}

func (l *link) udhcpc(args ...string) *exec.Cmd {
	script := filepath.Join(l.t.TempDir(), "script")
	body := "#!/bin/sh\n[ \"$1\" = bound ] && busybox ip addr add $ip/$mask dev $interface\necho \"$1 $ip $router $dns $domain $boot_file\"\n"
	if err := os.WriteFile(script, []byte(body), 0o700); err != nil {
		l.t.Fatal(err)
	}
	argv := append([]string{"-t", l.pid, "-n", "busybox", "udhcpc", "-i", "c0", "-f", "-n", "-T", "1", "-t", "5", "-s", script}, args...)
	cmd := exec.Command("nsenter", argv...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func (l *link) lease(args ...string) string {
	l.t.Helper()
	out, err := l.udhcpc(append(args, "-q")...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("udhcpc: %v\n%s", err, out)
	}
	l.run("nsenter", "-t", l.pid, "-n", "ip", "addr", "flush", "dev", "c0")
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "bound ") {
			return strings.TrimSpace(line)
		}
	}
	l.t.Fatalf("no lease:\n%s", out)
	return ""
}

func TestRealClient(t *testing.T) {
	done := make(chan struct{})
	go func() { // a goroutine of its own, because its thread's namespace is changed for good
		defer close(done)
		l := newLink(t)
		dir := t.TempDir()
		s, stop := l.serve(dir)
		const want = "bound 10.7.0.100 10.7.0.1 10.7.0.2 site.example"
		for _, args := range [][]string{nil, {"-B"}, {"-r", "10.7.0.100"}, {"-C"}} {
			if got := l.lease(args...); got != want {
				t.Errorf("udhcpc %v: %q, want %q", args, got, want)
			}
		}
		if got := l.lease("-V", "PXEClient:Arch:00007:UNDI:003000", "-O", "bootfile"); !strings.HasPrefix(got, want) || !strings.Contains(got, "snponly.efi") {
			t.Errorf("a PXE client gets %q", got)
		}
		if _, err := Listen(t.Context(), s.cfg, nil, nil, nil, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "address already in use") {
			t.Errorf("a taken port: %v", err)
		}
		stop()
		s, stop = l.serve(dir)
		defer stop()
		if leases := s.Leases(); len(leases) != 1 || leases[0].Address != netip.MustParseAddr("10.7.0.100") || !leases[0].Active(time.Now()) {
			t.Errorf("after the restart: %v", leases)
		}
		l.renew(s)
	}()
	<-done
}

// renew checks that a client renews by unicast from its own address.
func (l *link) renew(s *Server) {
	before := s.Leases()[0].Expires
	client := l.udhcpc()
	out, err := client.StdoutPipe()
	if err == nil {
		err = client.Start()
	}
	if err != nil {
		l.t.Error(err)
		return
	}
	defer func() {
		_ = client.Process.Kill()
		_ = client.Wait()
	}()
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "bound ") { // then it has its address
	}
	bound := s.Leases()[0].Expires
	if !bound.After(before) {
		l.t.Errorf("the lease is not extended: %s, then %s", before, bound)
	}
	if err := client.Process.Signal(syscall.SIGUSR1); err != nil {
		l.t.Error(err)
	}
	waitFor(l.t, "the lease is extended by unicast", func() bool { return s.Leases()[0].Expires.After(bound) })
}
