package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestWriteISO(t *testing.T) {
	content := bytes.Repeat([]byte("slipway "), 1<<20)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/full.iso":
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
		case "/short.iso":
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write(make([]byte, 10))
		default:
			http.Error(w, "the token is not that of the InfraEnv", http.StatusForbidden)
		}
	}))
	defer server.Close()
	dir := t.TempDir()
	path := filepath.Join(dir, "stick")
	size, err := writeISO(t.Context(), server.Client(), server.URL+"/full.iso", path, io.Discard)
	if err != nil || size != int64(len(content)) {
		t.Fatalf("%d bytes, %v", size, err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	for want, c := range map[string]struct{ address, path string }{
		"there already":              {server.URL + "/full.iso", path},
		"neither a block device":     {server.URL + "/full.iso", dir},
		"not that of the InfraEnv":   {server.URL + "/secret.iso", filepath.Join(dir, "a")},
		"after 10 of 100 bytes":      {server.URL + "/short.iso", filepath.Join(dir, "b")},
		"connect: connection refuse": {"http://127.0.0.1:1/byapikey/secret/x.iso", filepath.Join(dir, "c")},
	} {
		if _, err := writeISO(t.Context(), server.Client(), c.address, c.path, io.Discard); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "byapikey") {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestMountedAt(t *testing.T) {
	const mounts = "/dev/sda1 / ext4 rw 0 0\n/dev/sdab3 /x ext4 rw 0 0\n/dev/nvme0n1p2 /boot ext4 rw 0 0\n\n"
	for device, want := range map[string]string{
		"/dev/sda": "/", "/dev/sda1": "/", "/dev/sdab": "/x", "/dev/nvme0n1": "/boot", "/dev/sdb": "", "/dev/sd": "", "/dev/nvme0n": "",
	} {
		if got := mountedAt(mounts, device); got != want {
			t.Errorf("%s is mounted at %q, want %q", device, got, want)
		}
	}
}
