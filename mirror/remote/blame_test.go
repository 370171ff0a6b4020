package remote

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What is wrong with a registry is one sentence for all of its images, with what to do; what is wrong with one image is not.
func TestBlame(t *testing.T) {
	refuse := func(status int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if status == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			}
			w.WriteHeader(status)
		})
	}
	secure := httptest.NewTLSServer(refuse(http.StatusOK))
	open := func(status int) string {
		server := httptest.NewServer(refuse(status))
		t.Cleanup(server.Close)
		return server.URL
	}
	t.Cleanup(secure.Close)
	for name, c := range map[string]struct {
		at       string
		login    bool // there is one
		checked  bool // certificates are
		want     []string
		ownFault bool // of the image
	}{
		"no login":          {at: open(401), want: []string{"answers 401", "there is no login for it in ", "auth.json", "podman login "}},
		"wrong login":       {at: open(401), login: true, want: []string{"answers 401", "the login of ann in ", "auth.json is not good for this", "podman login "}},
		"no right":          {at: open(403), login: true, want: []string{"answers 403", "the login of ann in ", "has no right"}},
		"unknown authority": {at: secure.URL, checked: true, want: []string{"not trusted", "--ca FILE"}},
		"no TLS":            {at: open(200), checked: true, want: []string{"speaks HTTP without TLS", "--src-tls-verify=false"}},
		"nobody there":      {at: "http://127.0.0.1:1", want: []string{"can't be reached", "refused"}},
		"no such image":     {at: open(404), ownFault: true},
	} {
		t.Run(name, func(t *testing.T) {
			_, host, _ := strings.Cut(c.at, "://")
			path := filepath.Join(t.TempDir(), "auth.json")
			auths := map[string]any{}
			if c.login {
				auths[host] = map[string]string{"auth": "YW5uOnB3"} // ann:pw
			}
			raw, err := json.Marshal(map[string]any{"auths": auths})
			if err == nil {
				err = os.WriteFile(path, raw, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			keys, err := OpenAuth([]string{path})
			if err != nil {
				t.Fatal(err)
			}
			asker, err := New(Config{Keychain: keys, Insecure: !c.checked, Attempts: 1, Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }})
			if err != nil {
				t.Fatal(err)
			}
			defer asker.Close()
			said := map[string]bool{}
			for _, repository := range []string{"a/one", "b/two"} {
				_, err := asker.Manifest(t.Context(), Repository{Host: host, Path: repository}, "v1")
				if err == nil || !c.ownFault && !strings.Contains(err.Error(), repository) {
					t.Fatalf("%v, want an error that names %s", err, repository)
				}
				said[Blame(err)] = true
			}
			if len(said) != 1 || said[""] != c.ownFault {
				t.Fatalf("%d sentences: %v", len(said), said)
			}
			for sentence := range said {
				for _, want := range c.want {
					if !strings.Contains(sentence, want) {
						t.Errorf("%q lacks %q", sentence, want)
					}
				}
			}
		})
	}
}

// Errors keep what they are when a registry is blamed.
func TestBlameKeepsTheError(t *testing.T) {
	err := error(&RegistryError{Host: "x", Cause: "answers 401", Advice: "log in", Err: &StatusError{Status: 401}})
	var status *StatusError
	var certificate *tls.CertificateVerificationError
	if !errors.As(err, &status) || errors.As(err, &certificate) || !rejected(err) {
		t.Errorf("%v", err)
	}
}
