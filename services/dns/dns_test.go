package dns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

func addrs(list ...string) (a []netip.Addr) {
	for _, s := range list {
		a = append(a, netip.MustParseAddr(s))
	}
	return a
}

func siteRecords() Records {
	return Records{
		Zones: []string{"site.example", "Clusters.Example.com."}, NameServer: "slipway.site.example",
		Hosts: []Host{
			{"slipway.site.example", addrs("10.7.0.2", "fd00:7::2")},
			{"registry.site.example", addrs("10.7.0.2", "fd00:7::2")},
			{"api.demo.clusters.example.com", addrs("10.7.0.2")},
			{"api-int.demo.clusters.example.com", addrs("10.7.0.2")},
			{"*.apps.demo.clusters.example.com", addrs("10.7.0.100", "10.7.0.101")},
			{"fixed.apps.demo.clusters.example.com", addrs("fd00:7::9")},
		},
	}
}

func serve(t testing.TB, cfg Config) *Server {
	t.Helper()
	if len(cfg.Addresses) == 0 {
		cfg.Addresses = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0"), netip.MustParseAddrPort("[::1]:0")}
	}
	s, err := Listen(t.Context(), cfg, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("clean stop: %v", err)
		}
	})
	return s
}

func query(t *testing.T, network string, at netip.AddrPort, name string, kind uint16) *dns.Msg {
	t.Helper()
	q := new(dns.Msg)
	q.SetQuestion(name, kind)
	m, _, err := (&dns.Client{Net: network, Timeout: 5 * time.Second}).Exchange(q, at.String())
	if err != nil {
		t.Fatalf("%s %s over %s: %v", name, dns.TypeToString[kind], network, err)
	}
	return m
}

// short is the code and the data of the answer.
func short(m *dns.Msg) string {
	parts := []string{dns.RcodeToString[m.Rcode]}
	var data []string
	for _, rr := range m.Answer {
		data = append(data, strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	slices.Sort(data)
	return strings.Join(append(parts, data...), " ")
}

func TestAuthority(t *testing.T) {
	s := serve(t, Config{})
	if err := s.Set(siteRecords()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		kind uint16
		want string
	}{
		{"slipway.site.example.", dns.TypeA, "NOERROR 10.7.0.2"},
		{"SLIPWAY.Site.Example.", dns.TypeAAAA, "NOERROR fd00:7::2"},
		{"slipway.site.example.", dns.TypeANY, "NOERROR 10.7.0.2 fd00:7::2"},
		{"slipway.site.example.", dns.TypeTXT, "NOERROR"},
		{"api.demo.clusters.example.com.", dns.TypeA, "NOERROR 10.7.0.2"},
		{"api.demo.clusters.example.com.", dns.TypeAAAA, "NOERROR"},
		{"console.apps.demo.clusters.example.com.", dns.TypeA, "NOERROR 10.7.0.100 10.7.0.101"},
		{"a.b.apps.demo.clusters.example.com.", dns.TypeA, "NOERROR 10.7.0.100 10.7.0.101"},
		{"console.apps.demo.clusters.example.com.", dns.TypeAAAA, "NOERROR"},
		{"fixed.apps.demo.clusters.example.com.", dns.TypeA, "NOERROR"},
		{"x.fixed.apps.demo.clusters.example.com.", dns.TypeA, "NXDOMAIN"},
		{"apps.demo.clusters.example.com.", dns.TypeA, "NOERROR"},
		{"demo.clusters.example.com.", dns.TypeA, "NOERROR"},
		{"other.clusters.example.com.", dns.TypeA, "NXDOMAIN"},
		{"no.such.site.example.", dns.TypeA, "NXDOMAIN"},
		{"site.example.", dns.TypeNS, "NOERROR slipway.site.example."},
		{"clusters.example.com.", dns.TypeNS, "NOERROR slipway.site.example."},
		{"site.example.", dns.TypeA, "NOERROR"},
		{"2.0.7.10.in-addr.arpa.", dns.TypePTR, "NOERROR slipway.site.example."},
		{"example.com.", dns.TypeA, "REFUSED"},
		{"notsite.example.", dns.TypeA, "REFUSED"},
		{".", dns.TypeNS, "REFUSED"},
		{"site.example.", dns.TypeAXFR, "REFUSED"},
	} {
		for _, at := range s.Addresses() {
			for _, network := range []string{"udp", "tcp"} {
				m := query(t, network, at, c.name, c.kind)
				if got := short(m); got != c.want {
					t.Errorf("%s %s over %s at %s: %s, want %s", c.name, dns.TypeToString[c.kind], network, at, got, c.want)
				}
				refused := m.Rcode == dns.RcodeRefused
				if m.Authoritative == refused {
					t.Errorf("%s: authoritative %t", c.name, m.Authoritative)
				}
				negative := !refused && len(m.Answer) == 0
				if soa := len(m.Ns) == 1 && m.Ns[0].Header().Rrtype == dns.TypeSOA; soa != negative {
					t.Errorf("%s %s: authority section %v", c.name, dns.TypeToString[c.kind], m.Ns)
				}
			}
		}
	}
	if m := query(t, "udp", s.Addresses()[0], "site.example.", dns.TypeNS); len(m.Extra) != 2 {
		t.Errorf("glue: %v", m.Extra)
	}
}

func TestSetReplacesAll(t *testing.T) {
	s := serve(t, Config{})
	at := s.Addresses()[0]
	if got := short(query(t, "udp", at, "slipway.site.example.", dns.TypeA)); got != "REFUSED" {
		t.Errorf("before Set: %s", got)
	}
	r := siteRecords()
	if err := s.Set(r); err != nil {
		t.Fatal(err)
	}
	serial := query(t, "udp", at, "site.example.", dns.TypeSOA).Answer[0].(*dns.SOA).Serial
	r.Hosts = append(r.Hosts[:1:1], Host{"new.site.example", addrs("10.7.0.9")})
	if err := s.Set(r); err != nil {
		t.Fatal(err)
	}
	if got := short(query(t, "udp", at, "registry.site.example.", dns.TypeA)); got != "NXDOMAIN" {
		t.Errorf("a removed host: %s", got)
	}
	if next := query(t, "udp", at, "site.example.", dns.TypeSOA).Answer[0].(*dns.SOA).Serial; next != serial+1 {
		t.Errorf("serial %d after %d", next, serial)
	}
	for want, change := range map[string]func(*Records){
		"host a.elsewhere.example: lies in none of the zones": func(r *Records) { r.Hosts = append(r.Hosts, Host{"a.elsewhere.example", nil}) },
		`host "a.*.site.example": is not a domain name`:       func(r *Records) { r.Hosts = append(r.Hosts, Host{"a.*.site.example", nil}) },
		`host "a..site.example": is not a domain name`:        func(r *Records) { r.Hosts = append(r.Hosts, Host{"a..site.example", nil}) },
		`zone "": is not a domain name`:                       func(r *Records) { r.Zones = append(r.Zones, "") },
		"name server: is not named":                           func(r *Records) { r.NameServer = "" },
		"has an address that is none":                         func(r *Records) { r.Hosts = []Host{{"a.site.example", []netip.Addr{{}}}} },
	} {
		bad := siteRecords()
		change(&bad)
		if err := s.Set(bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	if got := short(query(t, "udp", at, "new.site.example.", dns.TypeA)); got != "NOERROR 10.7.0.9" {
		t.Errorf("faulty records changed something: %s", got)
	}
}

func TestZoneInsideZone(t *testing.T) {
	s := serve(t, Config{})
	err := s.Set(Records{Zones: []string{"example.com", "demo.example.com"}, NameServer: "ns.example.com", Hosts: []Host{
		{"*.example.com", addrs("10.0.0.1")}, {"api.demo.example.com", addrs("10.0.0.2")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"x.example.com.": "NOERROR 10.0.0.1", "api.demo.example.com.": "NOERROR 10.0.0.2", "x.demo.example.com.": "NXDOMAIN"} {
		if got := short(query(t, "udp", s.Addresses()[0], name, dns.TypeA)); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// both listens with UDP and TCP on one port. The port that UDP gets may be taken for TCP: then on another.
func both(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	for {
		packet, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listener, err := net.Listen("tcp", packet.LocalAddr().String())
		if err == nil {
			return packet, listener
		}
		t.Log(err)
		packet.Close()
	}
}

// upstream answers every A question with many addresses, cut over UDP.
func upstream(t *testing.T, asked *atomic.Int32) netip.AddrPort {
	t.Helper()
	packet, listener := both(t)
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		asked.Add(1)
		m := new(dns.Msg)
		m.SetReply(q)
		n := 1
		if strings.HasPrefix(q.Question[0].Name, "big.") {
			n = 200
		}
		for i := range n {
			m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.IP{192, 0, 2, byte(i)}})
		}
		if w.RemoteAddr().Network() == "udp" {
			m.Truncate(1232)
		}
		_ = w.WriteMsg(m)
	})
	for _, server := range []*dns.Server{{PacketConn: packet, Handler: handler}, {Listener: listener, Handler: handler}} {
		go func() { _ = server.ActivateAndServe() }()
	}
	t.Cleanup(func() { packet.Close(); listener.Close() })
	return packet.LocalAddr().(*net.UDPAddr).AddrPort()
}

func TestForward(t *testing.T) {
	var asked atomic.Int32
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	s := serve(t, Config{Timeout: time.Second, Upstreams: []netip.AddrPort{silent.LocalAddr().(*net.UDPAddr).AddrPort(), upstream(t, &asked)}})
	if err := s.Set(siteRecords()); err != nil {
		t.Fatal(err)
	}
	at := s.Addresses()[0]
	m := query(t, "udp", at, "www.example.org.", dns.TypeA)
	if short(m) != "NOERROR 192.0.2.0" || m.Authoritative || !m.RecursionAvailable {
		t.Errorf("forwarded: %v", m)
	}
	if m := query(t, "tcp", at, "big.example.org.", dns.TypeA); len(m.Answer) != 200 {
		t.Errorf("%d addresses over TCP", len(m.Answer))
	}
	m = query(t, "udp", at, "big.example.org.", dns.TypeA)
	m.Compress = true // as it was sent
	if !m.Truncated || m.Len() > 512 {
		t.Errorf("a long answer over UDP: %d bytes, truncated %t", m.Len(), m.Truncated)
	}
	before := asked.Load()
	query(t, "udp", at, "none.site.example.", dns.TypeA)
	q := new(dns.Msg)
	q.SetQuestion("www.example.org.", dns.TypeA)
	q.RecursionDesired = false
	if m, err := dns.Exchange(q, at.String()); err != nil || m.Rcode != dns.RcodeRefused {
		t.Errorf("without recursion desired: %v %v", m, err)
	}
	if asked.Load() != before {
		t.Error("the upstream was asked for what is ours or not wanted")
	}
}

func TestUpstreamsDown(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	s := serve(t, Config{Timeout: 50 * time.Millisecond, Upstreams: []netip.AddrPort{silent.LocalAddr().(*net.UDPAddr).AddrPort()}})
	if got := short(query(t, "udp", s.Addresses()[0], "www.example.org.", dns.TypeA)); got != "SERVFAIL" {
		t.Errorf("got %s", got)
	}
}

func TestListenRefuses(t *testing.T) {
	s := serve(t, Config{})
	log := slog.New(slog.DiscardHandler)
	if _, err := Listen(t.Context(), Config{Addresses: s.Addresses()}, nil, log); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("a taken port: %v", err)
	}
	for _, listen := range addrs("127.0.0.1", "0.0.0.0") {
		err := error(syscall.EADDRINUSE)
		for errors.Is(err, syscall.EADDRINUSE) { // somebody was quicker, with one of the two protocols
			packet, listener := both(t)
			at := packet.LocalAddr().(*net.UDPAddr).AddrPort()
			packet.Close()
			listener.Close()
			_, err = Listen(t.Context(), Config{Addresses: []netip.AddrPort{netip.AddrPortFrom(listen, at.Port())}, Upstreams: []netip.AddrPort{at}}, nil, log)
		}
		if err == nil || !strings.Contains(err.Error(), "is this server itself") {
			t.Errorf("an upstream that is itself: %v", err)
		}
	}
}

func TestEDNS(t *testing.T) {
	s := serve(t, Config{})
	q := new(dns.Msg)
	q.SetQuestion("site.example.", dns.TypeA)
	q.SetEdns0(4096, false)
	q.IsEdns0().SetVersion(1)
	m, err := dns.Exchange(q, s.Addresses()[0].String())
	if err != nil || m.Rcode != dns.RcodeBadVers || m.IsEdns0() == nil {
		t.Errorf("EDNS version 1: %v %v", m, err)
	}
}

// sink is a writer that only checks that what it gets can be sent.
type sink struct {
	dns.ResponseWriter
	t       *testing.T
	network net.Addr
}

func (s sink) RemoteAddr() net.Addr { return s.network }

func (s sink) WriteMsg(m *dns.Msg) error {
	raw, err := m.Pack()
	if err != nil {
		s.t.Errorf("answer does not pack: %v\n%v", err, m)
		return err
	}
	if s.network.Network() == "udp" && len(raw) > udpSize {
		s.t.Errorf("%d bytes over UDP", len(raw))
	}
	return nil
}

func FuzzHandler(f *testing.F) {
	for _, name := range []string{"slipway.site.example.", "x.apps.demo.clusters.example.com.", "2.0.7.10.in-addr.arpa.", "other."} {
		q := new(dns.Msg)
		q.SetQuestion(name, dns.TypeA)
		q.SetEdns0(1232, true)
		raw, err := q.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	s, err := Listen(f.Context(), Config{Addresses: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}}, nil, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.close)
	if err := s.Set(siteRecords()); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		q := new(dns.Msg)
		if q.Unpack(raw) != nil {
			return
		}
		s.serve(context.Background(), sink{t: t, network: &net.UDPAddr{}}, q)
		s.serve(context.Background(), sink{t: t, network: &net.TCPAddr{}}, q)
	})
}

func BenchmarkAnswer(b *testing.B) {
	r := siteRecords()
	for i := range 10000 {
		r.Hosts = append(r.Hosts, Host{fmt.Sprintf("node-%d.site.example", i), addrs("10.7.1.1")})
	}
	s, err := compile(r, 1)
	if err != nil {
		b.Fatal(err)
	}
	q := dns.Question{Name: "console.apps.demo.clusters.example.com.", Qtype: dns.TypeA, Qclass: dns.ClassINET}
	for b.Loop() {
		s.answer(new(dns.Msg), q)
	}
}
