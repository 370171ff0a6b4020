package dhcp6

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/slipway-io/slipway/services/dhcp"
)

func TestListenRefuses(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	cfg := testConfig()
	cfg.Dir, cfg.Interface = t.TempDir(), "slipway-none"
	if _, err := Listen(t.Context(), cfg, nil, nil, nil, log); err == nil || !strings.Contains(err.Error(), "slipway-none") {
		t.Errorf("an interface that does not exist: %v", err)
	}
	cfg.Interface = "../lo"
	if _, err := Listen(t.Context(), cfg, nil, nil, nil, log); err == nil || !strings.Contains(err.Error(), "not the name of an interface") {
		t.Errorf("a path: %v", err)
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
	for _, tool := range []string{"ip", "dhclient", "nsenter", "unshare"} {
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
	if _, err := os.Stat("/proc/sys/net/ipv6"); err != nil {
		t.Skip("needs IPv6 in the kernel")
	}
	l.run("sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/s0/accept_dad || true")
	l.run("ip", "addr", "add", "fd07::2/64", "dev", "s0", "nodad")
	l.run("ip", "link", "set", "s0", "up")
	l.inside("ip", "link", "set", "c0", "address", mac(1).String(), "up")
	return l
}

func (l *link) run(argv ...string) string {
	l.t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("%v: %v\n%s", argv, err, out)
	}
	return string(out)
}

func (l *link) inside(argv ...string) string {
	l.t.Helper()
	return l.run(append([]string{"nsenter", "-t", l.pid, "-n"}, argv...)...)
}

// settled waits until the client's link-local address is no longer tentative.
func (l *link) settled() {
	l.t.Helper()
	for range 1200 {
		if out := l.inside("ip", "-6", "addr", "show", "dev", "c0", "scope", "link"); strings.Contains(out, "fe80") && !strings.Contains(out, "tentative") {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	l.t.Fatal("the client has no link-local address")
}

// start runs a server in this thread's namespace and gives what stops it.
func (l *link) start(cfg Config, registry *prometheus.Registry, log *slog.Logger) (stop func()) {
	l.t.Helper()
	server, err := Listen(l.t.Context(), cfg, dhcp.Chain{}, nil, registry, log)
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(l.t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Errorf("run: %v", err)
		}
	}
}

// bound starts a client in the foreground and returns what its script has seen once it has an address, and what ends the client.
func (l *link) bound(seen string, argv []string) (environment string, kill func()) {
	l.t.Helper()
	client := exec.Command("nsenter", append([]string{"-t", l.pid, "-n"}, argv...)...)
	client.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said bytes.Buffer
	client.Stderr = &said
	if err := client.Start(); err != nil {
		l.t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = client.Process.Kill()
		_ = client.Wait()
	})
	l.t.Cleanup(kill)
	for range 1200 {
		if env, err := os.ReadFile(seen); err == nil {
			if _, after, is := strings.Cut(string(env), "\nnew_ip6_address="); is && strings.Contains(after, "\nend\n") {
				return string(env), kill
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	kill()
	l.t.Fatalf("the client gets no address:\n%s", &said)
	return "", nil
}

// TestRealClient is Debian's dhclient, over a restart of the server, to the release of its lease.
func TestRealClient(t *testing.T) {
	l := newLink(t)
	l.settled()
	dir := t.TempDir()
	cfg := testConfig()
	cfg.Interface, cfg.Dir, cfg.Relayed = "s0", filepath.Join(dir, "leases"), nil
	script, seen := filepath.Join(dir, "script"), filepath.Join(dir, "seen")
	text := fmt.Sprintf("#!/bin/sh\nenv >>%[1]s\n[ -z \"$new_ip6_address\" ] || ip -6 addr replace $new_ip6_address/128 dev c0 nodad\necho end >>%[1]s\n", seen)
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "conf")
	if err := os.WriteFile(conf, []byte("also request dhcp6.name-servers, dhcp6.domain-search;\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	common := []string{"dhclient", "-6", "-1", "-cf", conf, "-sf", script, "-lf", filepath.Join(dir, "client.leases"), "-pf", filepath.Join(dir, "pid")}
	client := func() (environment string, kill func()) {
		t.Helper()
		_ = os.Remove(seen)
		return l.bound(seen, append(common, "-d", "c0"))
	}
	var log strings.Builder
	registry := prometheus.NewRegistry()
	stop := l.start(cfg, registry, slog.New(slog.NewTextHandler(&log, nil)))
	got, kill := client()
	for _, want := range []string{"new_ip6_address=fd07::100", "new_dhcp6_name_servers=fd07::2", "new_dhcp6_domain_search=site.example"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	stop()
	// The restarted server knows the lease; the client comes back as if it had woken up (CONFIRM).
	kill()
	l.inside("ip", "-6", "addr", "flush", "dev", "c0", "scope", "global")
	stop = l.start(cfg, prometheus.NewRegistry(), slog.New(slog.NewTextHandler(&log, nil)))
	if got, kill = client(); !strings.Contains(got, "new_ip6_address=fd07::100") {
		t.Errorf("after the restart\n%s", got)
	}
	kill()
	l.inside(append([]string{"timeout", "60"}, append(common, "-r", "c0")...)...)
	stop()
	data, err := os.ReadFile(filepath.Join(cfg.Dir, "s0.log"))
	if err != nil || !strings.Contains(string(data), `"client":"52:54:00:00:00:01"`) {
		t.Errorf("lease log %s, %v", data, err)
	}
	families, err := registry.Gather()
	if err != nil || len(families) < 3 {
		t.Errorf("metrics %v, %v", families, err)
	}
	if !strings.Contains(log.String(), "ip=fd07::100") {
		t.Errorf("log\n%s", log.String())
	}
}
