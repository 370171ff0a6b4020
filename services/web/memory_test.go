package web

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// A hundred downloads that stand in the middle of a large file cost little, over plain HTTP and over TLS.
func TestManyDownloads(t *testing.T) {
	const downloads, allowed = 100, 64 << 20
	root := loaders(t, nil)
	if err := os.Truncate(filepath.Join(root.Name(), "snponly.efi"), 1<<28); err != nil {
		t.Fatal(err)
	}
	s := serve(t, Config{}, Route{Pattern: "GET /loaders/", Plain: true, Handler: http.StripPrefix("/loaders", NewFiles(root))})
	s.request(t, "HEAD", s.bases()[0]+"/loaders/snponly.efi")
	for name, dial := range map[string]func() (net.Conn, error){
		"http": func() (net.Conn, error) { return net.Dial("tcp", s.plain[0].String()) },
		"https": func() (net.Conn, error) {
			return tls.Dial("tcp", s.https[1].String(), s.client.Transport.(*http.Transport).TLSClientConfig)
		},
	} {
		before := inUse()
		for range downloads {
			conn, err := dial()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := fmt.Fprintf(conn, "GET /loaders/snponly.efi HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if _, err := io.CopyN(io.Discard, conn, 1<<20); err != nil {
				t.Fatal(err)
			}
		}
		if growth := inUse() - before; growth > allowed {
			t.Errorf("%d downloads over %s grow memory by %d MiB, clients included", downloads, name, growth>>20)
		} else {
			t.Logf("%d downloads over %s: %d KiB, clients included", downloads, name, growth>>10)
		}
	}
}

func inUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
