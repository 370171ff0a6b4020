package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/assets/release/pack"
	"github.com/slipway-io/slipway/mirror/registry"
	"github.com/slipway-io/slipway/mirror/release"
	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/web"
)

// toldSecrets are informers that say what a test tells them.
type toldSecrets struct {
	cache.Informers
	toolscache.ResourceEventHandler
}

func (s *toldSecrets) GetInformer(context.Context, client.Object, ...cache.InformerGetOption) (cache.Informer, error) {
	return secretInformer{informers: s}, nil
}

type secretInformer struct {
	cache.Informer
	informers *toldSecrets
}

func (i secretInformer) AddEventHandler(handler toolscache.ResourceEventHandler) (toolscache.ResourceEventHandlerRegistration, error) {
	i.informers.ResourceEventHandler = handler
	return nil, nil
}

const htpasswd = "ann:$2a$04$vyfJ5UYT3Hu57/3UEkh8su7Oc4AjmUJvNN292u98DgKtv4OAmthXq\n" // "secret"

// TestFirstReleaseIsMirrored starts where there is no release, and brings one as `slipway mirror` does: the release image last, by a user of the configuration's file.
func TestFirstReleaseIsMirrored(t *testing.T) {
	file := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(file, []byte(htpasswd), 0o600); err != nil {
		t.Fatal(err)
	}
	a := &appliance{config: &api.Config{Domain: "site.example", Registry: api.Registry{Htpasswd: file}}, stateDir: t.TempDir(), log: slog.New(slog.DiscardHandler)}
	if err := errors.Join(a.openPKI(), a.openRegistry(t.Context())); err != nil {
		t.Fatal(err)
	}
	defer a.close()
	if err := a.findRelease(t.Context()); !errors.Is(err, release.ErrNotFound) {
		t.Fatalf("a release in an empty registry: %v", err)
	}
	ended, awaited := make(chan error), make(chan error)
	go func() { awaited <- a.awaitMirrored(t.Context(), ended) }()
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v2/m/openshift/release/blobs/uploads/", nil)
	r.SetBasicAuth("ann", "secret")
	if a.registry.Handler().ServeHTTP(w, r); w.Code != http.StatusAccepted {
		t.Errorf("ann's push is answered with %d: %s", w.Code, w.Body)
	}
	pushRelease(t, a.registry)
	if err := <-awaited; err != nil || a.releaseImage != "m/openshift/release-images:1.2.3-x86_64" || len(a.imported) != 1 || a.imported[0].Version != "1.2.3" {
		t.Errorf("found %q %+v, %v", a.releaseImage, a.imported, err)
	}
}

// pushRelease packs a release of one component and pushes it to where releases are mirrored.
func pushRelease(t *testing.T, to *registry.Registry) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "layout")
	layout, err := pack.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	etcd, err := layout.Add(pack.Image{Name: "etcd", Files: []pack.File{{Path: "usr/bin/etcd", Mode: 0o755, Data: []byte("etcd")}}}, "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	_, err = layout.AddRelease("1.2.3", []pack.Component{{Name: "etcd", Version: "3", Digest: etcd.Digest}})
	if err := errors.Join(err, layout.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := release.Import(t.Context(), dir, to, nil); err != nil {
		t.Fatal(err)
	}
	for _, move := range [][3]string{{"release/etcd", "m/openshift/release", "1.2.3-x86_64-etcd"}, {"release/release", "m/openshift/release-images", "1.2.3-x86_64"}} {
		manifest, err := to.Manifest(move[0], "1.2.3")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := to.PutManifest(move[1], manifest.MediaType, manifest.Raw, move[2]); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRegistryUsersComeFromTheirSecret(t *testing.T) {
	var log bytes.Buffer
	private := false
	a := &appliance{config: &api.Config{Registry: api.Registry{AnonymousPull: &private}}, stateDir: t.TempDir(), log: slog.New(slog.NewTextHandler(&log, nil))}
	if err := os.Mkdir(a.path(oldRegistry), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := a.openRegistry(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer a.close()
	if !bytes.Contains(log.Bytes(), []byte("not used any more")) {
		t.Errorf("nothing is said of the old directory: %s", &log)
	}
	told := &toldSecrets{}
	if err := a.followRegistryUsers(t.Context(), told); err != nil {
		t.Fatal(err)
	}
	status := func(user, path string) int {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		if user != "" {
			r.SetBasicAuth(user, "secret")
		}
		a.registry.Handler().ServeHTTP(w, r)
		return w.Code
	}
	users := func(name, lines, rights string) *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: systemNamespace, Name: name},
			Data: map[string][]byte{htpasswdKey: []byte(lines), rightsKey: []byte(rights)}}
	}
	for _, step := range []struct {
		name string
		tell func()
		want int // of ann's pull of something private that is not there
	}{
		{"before", func() {}, http.StatusUnauthorized},
		{"another Secret", func() { told.OnAdd(users("other", htpasswd, ""), true) }, http.StatusUnauthorized},
		{"the Secret", func() { told.OnAdd(users(registryUsers, htpasswd, ""), true) }, http.StatusNotFound},
		{"a broken one", func() { told.OnUpdate(nil, users(registryUsers, "ann:secret", "")) }, http.StatusNotFound},
		{"fewer rights", func() { told.OnUpdate(nil, users(registryUsers, htpasswd, "ann pull other/*")) }, http.StatusForbidden},
		{"it is gone", func() {
			told.OnDelete(toolscache.DeletedFinalStateUnknown{Obj: users(registryUsers, htpasswd, "")})
		}, http.StatusUnauthorized},
	} {
		step.tell()
		if got := status("ann", "/v2/team/app/manifests/v1"); got != step.want {
			t.Errorf("%s: ann gets %d, want %d", step.name, got, step.want)
		}
		if got := status("", "/v2/release/etcd/manifests/v1"); got != http.StatusNotFound {
			t.Errorf("%s: a host gets %d for a release, want 404", step.name, got)
		}
	}
}

// TestRegistryFront pushes more than other requests may carry, and pulls it, over the site's TLS and both address families.
func TestRegistryFront(t *testing.T) {
	a := &appliance{config: &api.Config{Domain: "site.example"}, stateDir: t.TempDir(), log: slog.New(slog.DiscardHandler)}
	if err := errors.Join(a.openPKI(), a.openRegistry(t.Context())); err != nil {
		t.Fatal(err)
	}
	defer a.close()
	a.allow(map[string][]byte{htpasswdKey: []byte(htpasswd)})
	config, routes := a.registryFront([]netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0"), netip.MustParseAddrPort("[::1]:0")})
	front, err := web.New(config, routes)
	if err == nil {
		err = front.Listen(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- front.Run(ctx) }()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(a.siteCA.PEM())
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	content := strings.Repeat("layer", 5<<20)
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(content)))
	_, addresses := front.Addresses()
	for _, address := range addresses {
		base := "https://" + address.String() + "/v2/team/app/blobs/"
		push, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"uploads/?digest="+digest, strings.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		push.SetBasicAuth("ann", "secret")
		resp, err := client.Do(push)
		if err != nil || resp.StatusCode != http.StatusCreated {
			t.Fatalf("push to %s: %v %v", address, resp, err)
		}
		resp.Body.Close()
		if resp, err = client.Get(base + digest); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(got) != content {
			t.Errorf("pull from %s: %s, %d bytes, %v", address, resp.Status, len(got), err)
		}
	}
	client.CloseIdleConnections()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
