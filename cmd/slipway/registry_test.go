package main

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/services/api"
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
	const htpasswd = "ann:$2a$04$vyfJ5UYT3Hu57/3UEkh8su7Oc4AjmUJvNN292u98DgKtv4OAmthXq\n" // "secret"
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
