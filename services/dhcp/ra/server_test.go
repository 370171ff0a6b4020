package ra

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

// buffer is a log that may be read while it is written.
type buffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

// link is a pair of interfaces, s0 in this thread's network namespace and c0 in that of a process; both are gone with the test.
type link struct {
	t   *testing.T
	pid string
}

func newLink(t *testing.T) *link {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for network namespaces")
	}
	for _, tool := range []string{"ip", "rdisc6", "nsenter", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s", tool)
		}
	}
	if _, err := os.Stat("/proc/sys/net/ipv6"); err != nil {
		t.Skip("needs IPv6 in the kernel")
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
	const quick = "cd /proc/sys/net/ipv6/conf/%s; echo 0 > accept_dad; echo 0 > router_solicitation_delay; echo 1 > router_solicitation_interval"
	l.run("sh", "-c", fmt.Sprintf(quick, "s0"))
	l.inside("sh", "-c", fmt.Sprintf(quick, "c0"))
	l.run("ip", "link", "set", "s0", "up")
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

// until waits for words in what a command inside prints.
func (l *link) until(words []string, argv ...string) {
	l.t.Helper()
	var out string
	for range 600 {
		out = l.inside(argv...)
		if containsAll(out, words) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	l.t.Fatalf("%v never has %q:\n%s", argv, words, out)
}

func containsAll(text string, words []string) bool {
	for _, word := range words {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}

func (l *link) start(cfg Config, log *buffer) (stop func()) {
	l.t.Helper()
	cfg.Interface = "s0"
	s, err := Listen(l.t.Context(), cfg, prometheus.NewRegistry(), slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(l.t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Errorf("run: %v", err)
		}
	}
}

// The kernel makes an address of what it hears, and takes the default route only from a gateway. rdisc6 shows the rest.
func TestRealHost(t *testing.T) {
	l := newLink(t)
	cfg := testConfig()
	cfg.Autonomous = true
	stop := l.start(cfg, &buffer{})
	l.inside("ip", "link", "set", "c0", "address", "52:54:00:00:00:01", "up")
	l.until([]string{"fd07::5054:ff:fe00:1/64"}, "ip", "-6", "addr", "show", "dev", "c0")
	l.until([]string{
		"Stateful address conf.    :          Yes", "Stateful other conf.      :          Yes", "Router lifetime           :            0",
		"Prefix                   : fd07::/64", "On-link                 :          Yes", "Autonomous address conf.:          Yes",
		"Recursive DNS server     : fd07::2", "DNS search list          : site.example", "MTU                      :         1500",
	}, "timeout", "60", "rdisc6", "-1", "-r", "50", "c0")
	if routes := l.inside("ip", "-6", "route", "show", "default"); strings.Contains(routes, "default") {
		t.Errorf("a default route through what is no router: %s", routes)
	}
	stop()
	cfg.RouterLifetime = 30 * time.Minute
	stop = l.start(cfg, &buffer{})
	l.until([]string{"default via fe80::"}, "ip", "-6", "route", "show", "default")
	stop()
	for range 600 {
		if l.inside("ip", "-6", "route", "show", "default") == "" {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error("the route stays after the gateway has gone")
}

// Beside a router of the site (here: a second server at the other end of the cable) what it says is left out.
func TestForeignRouter(t *testing.T) {
	l := newLink(t)
	l.inside("ip", "link", "set", "c0", "up")
	l.until([]string{"fe80::"}, "ip", "-6", "addr", "show", "dev", "c0", "-tentative")
	var log buffer
	cfg := testConfig()
	cfg.MTU, cfg.Search = 0, nil
	stop := l.start(cfg, &log)
	defer stop()
	// A minimal advertisement of RFC 4861 §4.2 from c0: managed, lifetime 1800 s, the prefix.
	foreign := testConfig()
	foreign.MTU, foreign.DNS, foreign.Search, foreign.RouterLifetime = 0, nil, nil, 1800*time.Second
	raw, err := foreign.advertisement(nil)
	if err != nil {
		t.Fatal(err)
	}
	l.sendInside(raw)
	for range 600 {
		if strings.Contains(log.String(), "a router of the site advertises here") {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	l.sendInside(raw)
	out := l.inside("timeout", "60", "rdisc6", "-1", "-r", "50", "c0")
	if strings.Contains(out, "Prefix") || !strings.Contains(out, "Recursive DNS server     : fd07::2") {
		t.Errorf("beside the router:\n%s", out)
	}
	if n := strings.Count(log.String(), "a router of the site advertises here"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log.String())
	}
}

// sendInside sends from c0 to all nodes.
func (l *link) sendInside(raw []byte) {
	l.t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread stays in the other namespace
		done <- func() error {
			ns, err := os.Open("/proc/" + l.pid + "/ns/net")
			if err != nil {
				return err
			}
			defer func() { _ = ns.Close() }()
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				return err
			}
			w, err := listenWire(context.Background(), "c0")
			if err != nil {
				return err
			}
			defer func() { _ = w.raw.Close() }()
			return w.send(raw, netip.MustParseAddr("ff02::1"))
		}()
	}()
	if err := <-done; err != nil {
		l.t.Fatal(err)
	}
}
