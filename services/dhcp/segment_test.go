package dhcp

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

// inside runs a function in the network namespace of the link's other end; sockets that it opens stay there.
func (l *link) inside(do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is of no further use
		ns, err := os.Open("/proc/" + l.pid + "/ns/net")
		if err == nil {
			defer ns.Close()
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			err = do()
		}
		done <- err
	}()
	return <-done
}

// client opens port 68 on the link's other end.
func (l *link) client() *net.UDPConn {
	l.t.Helper()
	var conn *net.UDPConn
	err := l.inside(func() (err error) {
		conn, err = listenUDP(l.t.Context(), "c0", clientPort)
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// exchange sends a packet and collects what comes back, until these servers have answered and for a second longer.
func (l *link) exchange(conn *net.UDPConn, p *dhcpv4.DHCPv4, to string, servers ...string) map[netip.AddrPort]*dhcpv4.DHCPv4 {
	l.t.Helper()
	awaited := map[netip.AddrPort]bool{}
	for _, server := range servers {
		awaited[netip.MustParseAddrPort(server)] = true
	}
	if _, err := conn.WriteToUDPAddrPort(p.ToBytes(), netip.MustParseAddrPort(to)); err != nil {
		l.t.Fatal(err)
	}
	patience := 20 * time.Second
	got := map[netip.AddrPort]*dhcpv4.DHCPv4{}
	buf := make([]byte, 1500)
	for {
		if patience > 0 {
			if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
				l.t.Fatal(err)
			}
			patience = 0
		}
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return got
		}
		if err != nil {
			l.t.Fatal(err)
		}
		if answer, err := dhcpv4.FromBytes(buf[:n]); err == nil && answer.TransactionID == p.TransactionID {
			got[from] = answer
			if awaited[from] {
				delete(awaited, from)
				if len(awaited) == 0 {
					patience = time.Second
				}
			}
		}
	}
}

// runServer starts a server and returns its metrics and what stops it.
func (l *link) runServer(change func(*Config)) (*prometheus.Registry, func()) {
	l.t.Helper()
	cfg := testConfig()
	cfg.Interface, cfg.Dir = "s0", l.t.TempDir()
	change(&cfg)
	registry := prometheus.NewRegistry()
	s, err := Listen(l.t.Context(), cfg, Chain{}, nil, registry, slog.New(slog.NewTextHandler(l.t.Output(), nil)))
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(l.t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return registry, func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Errorf("clean stop: %v", err)
		}
	}
}

// dnsmasq gives addresses on the link, as the DHCP server that a site has already.
func (l *link) dnsmasq() {
	l.t.Helper()
	path, err := exec.LookPath("dnsmasq")
	if err != nil {
		l.t.Skip("needs dnsmasq")
	}
	// Its namespace is reached over a bridge, so that client and server are not the same host.
	l.run("ip", "link", "set", "s0", "name", "p0")
	l.run("ip", "link", "add", "s0", "type", "bridge")
	l.run("ip", "addr", "flush", "dev", "p0")
	l.run("ip", "addr", "add", "10.7.0.2/24", "dev", "s0")
	l.run("ip", "link", "set", "p0", "master", "s0", "up")
	l.run("ip", "link", "set", "s0", "up")
	other := exec.Command("unshare", "-n", "sh", "-c", "echo ready; read go; ip addr add 10.7.0.9/24 dev d0; ip link set d0 up; exec "+path+
		" --keep-in-foreground --conf-file=/dev/null --user=root --port=0 --interface=d0 --bind-interfaces --no-ping --dhcp-authoritative"+
		" --dhcp-range=10.7.0.200,10.7.0.210 --pid-file= --dhcp-leasefile="+filepath.Join(l.t.TempDir(), "leases"))
	other.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := other.StdinPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	out, err := other.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	other.Stderr = l.t.Output()
	if err := other.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		_ = other.Process.Kill()
		_ = other.Wait()
	})
	if _, err := out.Read(make([]byte, 8)); err != nil {
		l.t.Fatal(err)
	}
	l.run("ip", "link", "add", "p1", "type", "veth", "peer", "name", "d0", "netns", itoa(other.Process.Pid))
	l.run("ip", "link", "set", "p1", "master", "s0", "up")
	if _, err := in.Write([]byte("go\n")); err != nil {
		l.t.Fatal(err)
	}
	waitFor(l.t, "dnsmasq listens", func() bool {
		out, err := exec.Command("nsenter", "-t", itoa(other.Process.Pid), "-n", "ss", "-Hlun", "sport", "=", ":67").Output()
		return err == nil && len(out) > 0
	})
	for _, port := range []string{"p0", "p1"} { // a bridge hears of a cable a moment after it is plugged in
		waitFor(l.t, "the bridge forwards over "+port, func() bool {
			return strings.Contains(l.run("ip", "-d", "link", "show", "dev", port), "state forwarding")
		})
	}
}

func TestProxyBesideDnsmasq(t *testing.T) {
	done := make(chan struct{})
	go func() { // a goroutine of its own, because its thread's namespace is changed for good
		defer close(done)
		l := newLink(t)
		l.dnsmasq()
		registry, stop := l.runServer(func(c *Config) { c.Proxy, c.Ranges = true, nil })
		defer stop()
		conn := l.client()
		offers := l.exchange(conn, packet(t, 1, discover, append(pxe(iana.EFI_X86_64), dhcpv4.WithBroadcast(true))...), "255.255.255.255:67", "10.7.0.9:67", "10.7.0.2:67")
		theirs, ours := offers[netip.MustParseAddrPort("10.7.0.9:67")], offers[netip.MustParseAddrPort("10.7.0.2:67")]
		if theirs == nil || ours == nil {
			t.Errorf("offers %v", offers)
			return
		}
		if addr4(ours.YourIPAddr).IsValid() || ours.BootFileName != "snponly.efi" || ours.ClassIdentifier() != classPXE {
			t.Errorf("our offer: %s", ours.Summary())
		}
		address := theirs.YourIPAddr.String()
		acks := l.exchange(conn, packet(t, 1, ask, append(pxe(iana.EFI_X86_64), asking(address), server("10.7.0.9"), dhcpv4.WithBroadcast(true))...), "255.255.255.255:67", "10.7.0.9:67")
		if len(acks) != 1 || acks[netip.MustParseAddrPort("10.7.0.9:67")].MessageType() != dhcpv4.MessageTypeAck {
			t.Errorf("acks %v", acks)
		}
		l.run("nsenter", "-t", l.pid, "-n", "ip", "addr", "add", address+"/24", "dev", "c0")
		boots := l.exchange(conn, packet(t, 1, ask, append(pxe(iana.EFI_X86_64), having(address))...), "10.7.0.2:4011", "10.7.0.2:4011")
		if ack := boots[netip.MustParseAddrPort("10.7.0.2:4011")]; ack == nil || ack.BootFileName != "snponly.efi" || ack.Options.Has(optionPXEVendor) {
			t.Errorf("boot server: %v", boots)
		}
		waitFor(t, "the other server is counted", func() bool { return metric(t, registry, "slipway_dhcp_other_servers") == 1 })
		if n := metric(t, registry, "slipway_dhcp_packets_total"); n != 1 {
			t.Errorf("counts %v offers", n)
		}
	}()
	<-done
}

// A server that comes to a network with another one says so, and gives no address that somebody uses.
func TestServerLooksAround(t *testing.T) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		l := newLink(t)
		l.run("nsenter", "-t", l.pid, "-n", "ip", "addr", "add", "10.7.0.100/24", "dev", "c0")
		l.dnsmasq()
		registry, stop := l.runServer(func(*Config) {})
		defer stop()
		waitFor(t, "the other server is counted", func() bool { return metric(t, registry, "slipway_dhcp_other_servers") == 1 })
		waitFor(t, "the conflict is counted", func() bool { return metric(t, registry, "slipway_dhcp_conflicts_total") == 1 })
		l.run("nsenter", "-t", l.pid, "-n", "ip", "addr", "flush", "dev", "c0")
		conn := l.client()
		if got := l.exchange(conn, packet(t, 4, discover, dhcpv4.WithBroadcast(true)), "255.255.255.255:67", "10.7.0.2:67")[netip.MustParseAddrPort("10.7.0.2:67")]; got == nil || got.YourIPAddr.String() != "10.7.0.101" {
			t.Errorf("a newcomer is offered %v", got)
		}
		if got := l.exchange(conn, packet(t, 1, discover, dhcpv4.WithBroadcast(true)), "255.255.255.255:67", "10.7.0.2:67")[netip.MustParseAddrPort("10.7.0.2:67")]; got == nil || got.YourIPAddr.String() != "10.7.0.100" {
			t.Errorf("who uses an address is offered %v", got)
		}
	}()
	<-done
}

// ICMP finds who answers behind a router.
func TestProbeEcho(t *testing.T) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		l := newLink(t)
		l.run("nsenter", "-t", l.pid, "-n", "ip", "addr", "add", "10.8.0.10/32", "dev", "c0")
		l.run("nsenter", "-t", l.pid, "-n", "ip", "route", "add", "10.7.0.2/32", "dev", "c0")
		l.run("ip", "route", "add", "10.8.0.0/24", "dev", "s0")
		w := &wire{source: ip("10.7.0.2")}
		if err := w.listenAround(t.Context(), true); err != nil {
			t.Error(err)
			return
		}
		defer w.closeAround()
		users, err := w.probeEcho([]netip.Addr{ip("10.8.0.10"), ip("10.8.0.11")})
		if _, used := users[ip("10.8.0.10")]; err != nil || len(users) != 1 || !used {
			t.Errorf("users %v, %v", users, err)
		}
	}()
	<-done
}

// metric is a family's first value.
func metric(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue() + f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Errorf("no metric %s", name)
	return 0
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 1200 {
		if ok() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("never: %s", what)
}

func itoa(n int) string { return strconv.Itoa(n) }
