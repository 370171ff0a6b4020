package main

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestWrite(t *testing.T) {
	body := []byte("the agent")
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }))
	defer server.Close()
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	sum := sha256.Sum256(body)
	fetched := resource{Source: server.URL}
	fetched.Verification.Hash = "sha256-" + hex.EncodeToString(sum[:])
	dir, mode := t.TempDir(), 0o755
	for path, c := range map[string]struct {
		from resource
		want string
	}{
		"/usr/local/bin/slipway-agent": {fetched, "the agent"},
		"/etc/slipway/agent.env":       {resource{Source: "data:;base64,QT1iCg=="}, "A=b\n"},
		"/etc/plain":                   {resource{Source: "data:,a%20b"}, "a b"},
		"/etc/empty":                   {resource{}, ""},
	} {
		if err := write(client, dir, path, &mode, c.from); err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		got, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	wrong := fetched
	wrong.Verification.Hash = "sha256-" + strings.Repeat("0", 64)
	unverified := resource{Source: server.URL}
	for name, from := range map[string]resource{
		"another digest": wrong, "no digest": unverified, "scheme": {Source: "http://x/y"}, "compression": {Source: "data:,x", Compression: "gzip"},
	} {
		if err := write(client, dir, "/refused", nil, from); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "refused")); err == nil {
		t.Error("a refused file was written")
	}
}

func TestCommand(t *testing.T) {
	read := func(string) ([]byte, error) { return []byte("PULL_SECRET_TOKEN=x\n"), nil }
	agent := unit{"slipway-agent.service", true, "[Service]\nEnvironmentFile=/etc/slipway/agent.env\nExecStart=/usr/local/bin/slipway-agent --url https://10.7.0.2:8443\n"}
	program, env, err := command([]unit{{"other.service", false, "ExecStart=/bin/other"}, agent}, read)
	if err != nil || !slices.Equal(program, []string{"/usr/local/bin/slipway-agent", "--url", "https://10.7.0.2:8443"}) || !slices.Equal(env, []string{"PULL_SECRET_TOKEN=x"}) {
		t.Errorf("%q %q %v", program, env, err)
	}
	for name, units := range map[string][]unit{"none": nil, "two": {agent, agent}, "no program": {{"a.service", true, "[Service]\n"}}} {
		if _, _, err := command(units, read); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
