package tftp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-io/slipway/services/tftp/tftptest"
)

func blob(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 >> 3)
	}
	return b
}

// serve starts a server on both loopbacks.
func serve(t *testing.T, cfg Config, files Files) *Server {
	t.Helper()
	s, _ := serveCounted(t, cfg, files)
	return s
}

func serveCounted(t *testing.T, cfg Config, files Files) (*Server, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	if len(cfg.Addresses) == 0 {
		cfg.Addresses = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0"), netip.MustParseAddrPort("[::1]:0")}
	}
	s, err := Listen(cfg, files, registry, slog.New(slog.DiscardHandler))
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
	return s, registry
}

// counted adds up the samples of a metric that carry a label value.
func counted(t *testing.T, registry *prometheus.Registry, label string) (n float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "slipway_tftp_transfers_total" && m.GetLabel()[0].GetValue() == label {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

func awaitCount(t *testing.T, registry *prometheus.Registry, label string, want float64) {
	t.Helper()
	for range 20_000 { // what the client has is not what the server has noted yet
		if counted(t, registry, label) == want {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("%v transfers are %s, want %v", counted(t, registry, label), label, want)
}

// directory has a few files and ways out of it.
func directory(t *testing.T) *Directory {
	t.Helper()
	base := t.TempDir()
	dir := filepath.Join(base, "loaders")
	if err := os.MkdirAll(filepath.Join(dir, "grub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"secret": []byte("secret"), "loaders/snponly.efi": blob(300_000), "loaders/exact": blob(1428 * 3), "loaders/empty": nil, "loaders/grub/grub.cfg": []byte("boot"),
	} {
		if err := os.WriteFile(filepath.Join(base, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for to, at := range map[string]string{"../secret": "out", "/etc/passwd": "passwd"} {
		if err := os.Symlink(to, filepath.Join(dir, at)); err != nil {
			t.Fatal(err)
		}
	}
	d, err := OpenDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func get(address netip.AddrPort, name string, o tftptest.Options) ([]byte, tftptest.Result, error) {
	var b bytes.Buffer
	result, err := tftptest.Get(address, name, o, &b)
	return b.Bytes(), result, err
}

func TestRead(t *testing.T) {
	s, registry := serveCounted(t, Config{}, directory(t))
	transfers := 0
	for _, address := range s.Addresses() {
		for name, want := range map[string][]byte{"snponly.efi": blob(300_000), "/snponly.efi": blob(300_000), "exact": blob(1428 * 3), "empty": nil, `grub\grub.cfg`: []byte("boot"), "./grub//grub.cfg": []byte("boot")} {
			for _, o := range []tftptest.Options{{}, {Block: 1428}, {Block: 1428, Window: 4, Size: true}, {Window: 16, Timeout: 2}, {Block: 8, Window: 64}, {Block: 65464, Size: true}} {
				transfers++
				got, result, err := get(address, name, o)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s from %s with %+v: %d bytes, %v; want %d", name, address, o, len(got), err, len(want))
				}
				if o.Size && result.Agreed["tsize"] != fmt.Sprint(len(want)) {
					t.Errorf("%s: size %q, want %d", name, result.Agreed["tsize"], len(want))
				}
				if result.Server.Addr() != address.Addr() || result.Server == address {
					t.Errorf("%s: asked %s, data from %s", name, address, result.Server)
				}
			}
		}
	}
	awaitCount(t, registry, "done", float64(transfers))
}

// Block numbers are 16 bits; a file may have more blocks.
func TestRollover(t *testing.T) {
	content := blob(8 * 140_000)
	s := serve(t, Config{}, files{"big": content})
	for _, window := range []int{0, 64} {
		got, _, err := get(s.Addresses()[0], "big", tftptest.Options{Block: 8, Window: window})
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("window %d: %d bytes, %v", window, len(got), err)
		}
	}
}

// files are in memory; how says in which shape they are opened.
type files map[string][]byte

func (f files) Open(name string) (io.ReadCloser, int64, error) {
	content, ok := f[filepath.Base(name)]
	if !ok {
		return nil, 0, fs.ErrNotExist
	}
	r := bytes.NewReader(content)
	switch filepath.Dir(name) {
	case "plain":
		return io.NopCloser(struct{ io.Reader }{r}), r.Size(), nil
	case "seek":
		return struct {
			io.ReadSeeker
			io.Closer
		}{r, io.NopCloser(nil)}, r.Size(), nil
	case "longer":
		return io.NopCloser(r), r.Size() + 10_000, nil
	}
	return struct {
		*bytes.Reader
		io.Closer
	}{r, io.NopCloser(nil)}, r.Size(), nil
}

func TestSources(t *testing.T) {
	content := blob(200_001)
	s := serve(t, Config{}, files{"x": content})
	for _, kind := range []string{"at/", "plain/", "seek/"} {
		for _, window := range []int{0, 15} {
			t.Run(fmt.Sprint(kind, window), func(t *testing.T) {
				t.Parallel()
				relay := lossy(t, s.Addresses()[window%2], 50)
				got, _, err := get(relay, kind+"x", tftptest.Options{Block: 1024, Window: window, Timeout: 1, Patience: 250 * time.Millisecond, Tries: 40})
				if err != nil || !bytes.Equal(got, content) {
					t.Errorf("%d bytes, %v", len(got), err)
				}
			})
		}
	}
	if got, _, err := get(s.Addresses()[0], "longer/x", tftptest.Options{}); err == nil {
		t.Errorf("a file that is shorter than its size gives %d bytes and no error", len(got))
	}
}

func TestNothingLeadsOut(t *testing.T) {
	s := serve(t, Config{}, directory(t))
	for name, code := range map[string]uint16{
		"../secret": codeAccess, "../../etc/passwd": codeAccess, "/etc/passwd": codeNotFound, "out": codeAccess, "passwd": codeAccess, "grub/../../secret": codeAccess,
		`..\secret`: codeAccess, `grub\..\..\secret`: codeAccess, "grub": codeAccess, ".": codeAccess, "": codeAccess, "/": codeAccess, "missing": codeNotFound,
		"a\nb": codeAccess, "snponly.efi\x00/../../etc/passwd": codeIllegal, strings.Repeat("a/", 300): codeAccess, "snponly.efi/x": codeAccess,
	} {
		for _, address := range s.Addresses() {
			got, _, err := get(address, name, tftptest.Options{})
			var refused *tftptest.Refused
			if !errors.As(err, &refused) || refused.Code != int(code) || len(got) > 0 {
				t.Errorf("%q: read %q, %v; want code %d", name, got, err, code)
			}
		}
	}
}

// ask sends one packet and gives the answer.
func ask(t *testing.T, address netip.AddrPort, packet string) []byte {
	t.Helper()
	conn, err := net.Dial("udp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(packet)); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 600)
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	n, err := conn.Read(answer)
	if err != nil {
		t.Fatalf("%q: %v", packet, err)
	}
	return answer[:n]
}

func TestRefusedRequests(t *testing.T) {
	s := serve(t, Config{}, directory(t))
	for packet, want := range map[string]string{
		"\x00\x02snponly.efi\x00octet\x00":    "\x00\x05\x00\x02server is read only\x00",
		"\x00\x01snponly.efi\x00netascii\x00": "\x00\x05\x00\x04only mode octet is served\x00",
		"\x00\x01snponly.efi\x00mail\x00":     "\x00\x05\x00\x04only mode octet is served\x00",
		"\x00\x01snponly.efi\x00octet":        "\x00\x05\x00\x04request is malformed: it does not end with NUL\x00",
		"\x00\x01snponly.efi\x00":             "\x00\x05\x00\x04request is malformed: it has no mode\x00",
		"\x00\x01\x00octet\x00":               "\x00\x05\x00\x02file cannot be read\x00",
		"\x00\x01none\x00octet\x00":           "\x00\x05\x00\x01file not found\x00",
	} {
		for _, address := range s.Addresses() {
			if got := ask(t, address, packet); string(got) != want {
				t.Errorf("%q: answered %q, want %q", packet, got, want)
			}
		}
	}
}

// gate opens files only once it is open.
type gate struct {
	open chan struct{}
	files
}

func (g gate) Open(name string) (io.ReadCloser, int64, error) {
	<-g.open
	return g.files.Open(name)
}

// A client that is one too many hears nothing, asks again and is served when there is room.
func TestTransfersAreLimited(t *testing.T) {
	g := gate{make(chan struct{}), files{"a": []byte("a"), "b": []byte("b")}}
	s, registry := serveCounted(t, Config{Transfers: 1}, g)
	var group sync.WaitGroup
	defer group.Wait()
	for _, name := range []string{"a", "b"} {
		group.Go(func() {
			if got, _, err := get(s.Addresses()[0], name, tftptest.Options{Patience: 50 * time.Millisecond, Tries: 400}); err != nil || string(got) != name {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		})
	}
	for counted(t, registry, "busy") == 0 || counted(t, registry, "duplicate") == 0 {
		time.Sleep(time.Millisecond)
	}
	close(g.open)
	group.Wait()
	awaitCount(t, registry, "done", 2)
}

func TestRequestsAreLimited(t *testing.T) {
	s, registry := serveCounted(t, Config{Requests: 5}, files{})
	conn, err := net.Dial("udp", s.Addresses()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 50 {
		if _, err := conn.Write(tftptest.Request("none", "octet", tftptest.Options{})); err != nil {
			t.Fatal(err)
		}
	}
	for counted(t, registry, "limited") == 0 {
		time.Sleep(time.Millisecond)
	}
}

func TestManyClients(t *testing.T) {
	s, registry := serveCounted(t, Config{}, directory(t))
	want := sha256.Sum256(blob(300_000))
	var group sync.WaitGroup
	for i := range 200 {
		group.Go(func() {
			got, _, err := get(s.Addresses()[i%2], "snponly.efi", tftptest.Options{Block: 1428, Window: i % 3 * 4})
			if err != nil || sha256.Sum256(got) != want {
				t.Errorf("client %d: %d bytes, %v", i, len(got), err)
			}
		})
	}
	group.Wait()
	awaitCount(t, registry, "done", 200)
}

// A stop ends transfers under way and tells their clients.
func TestStop(t *testing.T) {
	s, err := Listen(Config{Addresses: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}}, files{"x": blob(10_000)}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.WriteTo(tftptest.Request("x", "octet", tftptest.Options{}), net.UDPAddrFromAddrPort(s.Addresses()[0])); err != nil {
		t.Fatal(err)
	}
	packet := make([]byte, 600)
	n, _, err := conn.ReadFrom(packet)
	if err != nil || n != 516 {
		t.Fatalf("%d bytes, %v", n, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for err == nil && packet[1] != byte(opError) { // the first block may have been sent again before
		n, _, err = conn.ReadFrom(packet)
	}
	if err != nil || !strings.Contains(string(packet[:n]), errStopping.Error()) {
		t.Errorf("%q, %v", packet[:n], err)
	}
}

func TestTakenPort(t *testing.T) {
	s := serve(t, Config{}, directory(t))
	for _, a := range s.Addresses() {
		if _, err := Listen(Config{Addresses: []netip.AddrPort{a}}, directory(t), nil, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), fmt.Sprint(a.Port())) {
			t.Errorf("taken port %s: %v", a, err)
		}
	}
}
