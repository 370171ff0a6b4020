package tftp

import (
	"bytes"
	"context"
	"crypto/sha256"
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

	"github.com/pin/tftp/v3"
	"github.com/prometheus/client_golang/prometheus"
)

func blob(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 >> 3)
	}
	return b
}

// serve starts a server on both loopbacks over a directory with a few files and ways out of it.
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
func counted(t *testing.T, registry *prometheus.Registry, metric, label string) (n float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == metric && len(m.GetLabel()) > 0 && m.GetLabel()[0].GetValue() == label {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

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

func fetch(address netip.AddrPort, name string, blksize int) ([]byte, int64, error) {
	c, err := tftp.NewClient(address.String())
	if err != nil {
		return nil, 0, err
	}
	c.SetTimeout(2 * time.Second)
	if blksize > 0 {
		c.SetBlockSize(blksize)
	}
	c.RequestTSize(true)
	from, err := c.Receive(name, "octet")
	if err != nil {
		return nil, 0, err
	}
	size, _ := from.(tftp.IncomingTransfer).Size()
	var b bytes.Buffer
	_, err = from.WriteTo(&b)
	return b.Bytes(), size, err
}

func TestRead(t *testing.T) {
	s, registry := serveCounted(t, Config{}, directory(t))
	for _, address := range s.Addresses() {
		for name, want := range map[string][]byte{"snponly.efi": blob(300_000), "/snponly.efi": blob(300_000), "exact": blob(1428 * 3), "empty": nil, `grub\grub.cfg`: []byte("boot"), "./grub//grub.cfg": []byte("boot")} {
			for _, blksize := range []int{0, 1428} {
				got, size, err := fetch(address, name, blksize)
				if err != nil || !bytes.Equal(got, want) || size != int64(len(want)) {
					t.Errorf("%s from %s with block size %d: %d bytes, size %d, %v; want %d", name, address, blksize, len(got), size, err, len(want))
				}
			}
		}
	}
	for tries := 0; counted(t, registry, "slipway_tftp_transfers_total", "done") != 24; tries++ {
		if tries == 1000 { // the last acknowledgement may still be on its way
			t.Fatal("not every transfer is counted")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestNothingLeadsOut(t *testing.T) {
	s := serve(t, Config{}, directory(t))
	for _, name := range []string{
		"../secret", "../../etc/passwd", "/etc/passwd", "out", "passwd", "grub/../../secret", `..\secret`, `grub\..\..\secret`, "grub", ".", "", "/", "missing", "a\nb",
		strings.Repeat("a/", 200), "snponly.efi/x",
	} {
		got, _, err := fetch(s.Addresses()[0], name, 0)
		if err == nil || len(got) > 0 {
			t.Errorf("%q: read %q", name, got)
			continue
		}
		if text := err.Error(); !strings.Contains(text, errNotFound.Error()) && !strings.Contains(text, errRefused.Error()) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestWritesAreRefused(t *testing.T) {
	s := serve(t, Config{}, directory(t))
	c, err := tftp.NewClient(s.Addresses()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	to, err := c.Send("snponly.efi", "octet")
	if err == nil {
		_, err = to.ReadFrom(strings.NewReader("evil"))
	}
	if err == nil || !strings.Contains(err.Error(), "does not support write") {
		t.Errorf("write: %v", err)
	}
}

// gate opens files whose first byte waits.
type gate struct{ open chan struct{} }

func (g gate) Open(string) (io.ReadCloser, int64, error) { return io.NopCloser(g), 1, nil }

func (g gate) Read([]byte) (int, error) {
	<-g.open
	return 0, io.EOF
}

func TestTransfersAreLimited(t *testing.T) {
	g := gate{make(chan struct{})}
	s := serve(t, Config{Transfers: 1}, g)
	done := make(chan error, 1)
	go func() {
		_, _, err := fetch(s.Addresses()[0], "a", 0)
		done <- err
	}()
	for len(s.slots) == 0 {
		time.Sleep(time.Millisecond)
	}
	if _, _, err := fetch(s.Addresses()[0], "b", 0); err == nil || !strings.Contains(err.Error(), "busy") {
		t.Errorf("a second transfer: %v", err)
	}
	close(g.open)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestManyClients(t *testing.T) {
	s := serve(t, Config{}, directory(t))
	want := sha256.Sum256(blob(300_000))
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			got, _, err := fetch(s.Addresses()[i%2], "snponly.efi", 1428)
			if err != nil || sha256.Sum256(got) != want {
				t.Errorf("client %d: %d bytes, %v", i, len(got), err)
			}
		})
	}
	group.Wait()
}

func TestTakenPort(t *testing.T) {
	s := serve(t, Config{}, directory(t))
	for _, a := range s.Addresses() {
		if _, err := Listen(Config{Addresses: []netip.AddrPort{a}}, directory(t), nil, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), fmt.Sprint(a.Port())) {
			t.Errorf("taken port %s: %v", a, err)
		}
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte("\x00\x01snponly.efi\x00octet\x00blksize\x001468\x00"))
	f.Add([]byte("\x00\x01../x\x00netascii\x00"))
	f.Add([]byte("\x00\x02x\x00octet\x00"))
	s, err := Listen(Config{Addresses: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}}, fuzzed{}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	f.Cleanup(func() { cancel(); <-done })
	conn, err := net.Dial("udp", s.Addresses()[0].String())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(_ *testing.T, raw []byte) {
		if name, ok := cleanName(string(raw)); ok && (!fs.ValidPath(name) || name == ".") {
			panic("name " + name)
		}
		if len(raw) > 0 {
			_, _ = conn.Write(raw[:min(len(raw), 1400)])
		}
	})
}

// fuzzed has no file and insists on clean names.
type fuzzed struct{}

func (fuzzed) Open(name string) (io.ReadCloser, int64, error) {
	if !fs.ValidPath(name) {
		panic("name " + name)
	}
	return nil, 0, fs.ErrNotExist
}
