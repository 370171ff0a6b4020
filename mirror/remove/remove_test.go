package remove

import (
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	ggcr "github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/crypto/bcrypt"

	"github.com/slipway-io/slipway/mirror/imageset"
	"github.com/slipway-io/slipway/mirror/plan"
	"github.com/slipway-io/slipway/mirror/registry"
	"github.com/slipway-io/slipway/mirror/remote"
)

type pusher struct{}

func (pusher) Credentials(context.Context, remote.Repository) (remote.Credentials, error) {
	return remote.Credentials{Username: "pusher", Password: "pusher"}, nil
}

// target is a registry with images team/a:v1, team/a:v2 of the same content, team/b:v1 and team/c:v1.
func target(t *testing.T) (string, *remote.Client) {
	t.Helper()
	store, err := registry.Open(registry.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte("pusher"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	store.Allow(registry.Access{Anonymous: true, Users: []registry.User{{Name: "pusher", Hash: hash, Push: []string{"*"}}}})
	web := httptest.NewServer(store.Handler())
	t.Cleanup(func() {
		web.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	host := strings.TrimPrefix(web.URL, "http://")
	for _, tags := range [][]string{{"team/a:v1", "team/a:v2"}, {"team/b:v1"}, {"team/c:v1"}} {
		image, err := random.Image(1000, 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, tag := range tags {
			ref, err := name.ParseReference(host + "/site/" + tag)
			if err == nil {
				err = ggcr.Write(ref, image, ggcr.WithAuth(&authn.Basic{Username: "pusher", Password: "pusher"}))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	client, err := remote.New(remote.Config{Insecure: true, Keychain: pusher{}, Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return host, client
}

// built plans images as they are at the target.
func built(t *testing.T, host string, client *remote.Client, images ...string) *plan.Plan {
	t.Helper()
	set := &imageset.Set{Delete: true}
	for _, image := range images {
		set.AdditionalImages = append(set.AdditionalImages, imageset.Image{Name: "quay.invalid/" + image})
	}
	p, err := plan.Build(t.Context(), set, client, plan.Options{At: remote.Repository{Host: host, Path: "site"}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestWhatOthersWantStays(t *testing.T) {
	host, client := target(t)
	base := host + "/site"
	kept := map[string]*plan.Plan{"other.json": built(t, host, client, "team/a:v2", "team/b:v1")}
	p := built(t, host, client, "team/a:v1", "team/b:v1", "team/c:v1", "team/gone:v1")
	list, stay := Decide(p, kept, base)
	if len(stay) != 1 || stay[0].ImageName != "quay.invalid/team/b:v1" || stay[0].By != "other.json" || len(list.Items) != 2 {
		t.Fatalf("list %+v, kept %+v", list, stay)
	}
	file := filepath.Join(t.TempDir(), "list.yaml")
	if err := list.Write(file); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if list, err = Read(raw, base); err != nil {
		t.Fatal(err)
	}
	if removed, failures := Do(t.Context(), client, list); removed != 2 || len(failures) != 0 {
		t.Fatalf("removed %d, %v", removed, failures)
	}
	for tag, want := range map[string]bool{"team/a:v1": false, "team/a:v2": true, "team/b:v1": true, "team/c:v1": false} {
		repository, version, _ := strings.Cut(tag, ":")
		_, err := client.Resolve(t.Context(), remote.Repository{Host: host, Path: "site/" + repository}, version)
		if (err == nil) != want || err != nil && !errors.Is(err, remote.ErrNotFound) {
			t.Errorf("%s: %v, want there %v", tag, err, want)
		}
	}
	if _, err := Read(raw, host+"/elsewhere"); !errors.Is(err, ErrInvalid) {
		t.Errorf("outside the target: %v", err)
	}
}

func TestTagThatMovedStays(t *testing.T) {
	host, client := target(t)
	list, _ := Decide(built(t, host, client, "team/b:v1"), nil, host+"/site")
	list.Items[0].Manifests[0] = "sha256:" + strings.Repeat("0", 64)
	if removed, failures := Do(t.Context(), client, list); removed != 0 || len(failures) != 1 {
		t.Errorf("removed %d, %v", removed, failures)
	}
}
