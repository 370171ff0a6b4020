package process

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/slipway-io/slipway/services/controlplane"
	"github.com/slipway-io/slipway/services/controlplane/driver/process/shim"
)

// sameDirectory unpacks every image to a directory named like its reference.
type sameDirectory struct{}

func (sameDirectory) Unpack(_ context.Context, ref string) (string, error) {
	return "/content/" + ref, nil
}

// brokenStore has no image.
type brokenStore struct{}

func (brokenStore) Unpack(context.Context, string) (string, error) {
	return "", errors.New("digest differs")
}

func described() controlplane.ControlPlane {
	return controlplane.ControlPlane{
		Name:   "a",
		Images: map[string]string{"etcd": "sha256-1"},
		Secrets: map[string]*corev1.Secret{
			"cold": {Data: map[string][]byte{"f": []byte("1")}},
			"hot":  {Data: map[string][]byte{"f": []byte("1")}},
		},
		Components: []controlplane.Component{{
			Name: "etcd", Image: "etcd", Data: true,
			Command: []string{"$(IMAGE)/etcd", "--data=$(DATA)", "--key=$(MOUNT:cold)/f", "--listen=$(PORT:client)"},
			Env:     []string{"GOGC=50"},
			Mounts:  []controlplane.Mount{{Name: "cold", Secret: "cold"}, {Name: "hot", Secret: "hot", Reloads: true}},
			Ports:   []controlplane.Port{{Name: "client", Number: 2379}},
			Ready:   &controlplane.Probe{Port: "client", Path: "/readyz", CA: "$(MOUNT:hot)/f"},
		}},
	}
}

func renderOne(t *testing.T, d *Driver, change func(*controlplane.ControlPlane)) shim.Component {
	t.Helper()
	cp := described()
	change(&cp)
	plan, err := d.render(t.Context(), d.dir("a"), cp)
	if err != nil {
		t.Fatal(err)
	}
	return plan.Components[0]
}

// TestHash: what a program cannot take over while it runs changes the hash, nothing else does.
func TestHash(t *testing.T) {
	d := New(Config{StateDir: t.TempDir(), Images: sameDirectory{}, Log: slog.New(slog.DiscardHandler)})
	first := renderOne(t, d, func(*controlplane.ControlPlane) {})
	if want := d.dir("a") + "/mounts/etcd/cold/f"; first.Argv[0] != "/content/sha256-1/etcd" || first.Argv[2] != "--key="+want || first.Argv[3] != "--listen=2379" {
		t.Errorf("argv is %v", first.Argv)
	}
	if first.Ready.Addr != "127.0.0.1:2379" || !strings.HasSuffix(first.Ready.CA, "/mounts/etcd/hot/f") {
		t.Errorf("probe is %+v", first.Ready)
	}
	for _, test := range []struct {
		desc    string
		change  func(*controlplane.ControlPlane)
		restart bool
	}{
		{"nothing", func(*controlplane.ControlPlane) {}, false},
		{"content that is reloaded", func(cp *controlplane.ControlPlane) { cp.Secrets["hot"].Data["f"] = []byte("2") }, false},
		{"probe", func(cp *controlplane.ControlPlane) { cp.Components[0].Ready.Path = "/livez" }, false},
		{"grace", func(cp *controlplane.ControlPlane) { cp.Components[0].StopGrace = 1 }, false},
		{"content", func(cp *controlplane.ControlPlane) { cp.Secrets["cold"].Data["f"] = []byte("2") }, true},
		{"image", func(cp *controlplane.ControlPlane) { cp.Images["etcd"] = "sha256-2" }, true},
		{"environment", func(cp *controlplane.ControlPlane) { cp.Components[0].Env = nil }, true},
		{"port", func(cp *controlplane.ControlPlane) { cp.Components[0].Ports[0].Number = 2380 }, true},
	} {
		if got := renderOne(t, d, test.change); (got.Hash != first.Hash) != test.restart {
			t.Errorf("%s: restart is %t", test.desc, !test.restart)
		}
	}
}

func TestRenderFaults(t *testing.T) {
	for desc, change := range map[string]func(*controlplane.ControlPlane){
		"no image in the release": func(cp *controlplane.ControlPlane) { cp.Images = nil },
		"no secret":               func(cp *controlplane.ControlPlane) { cp.Secrets = nil },
		"no command":              func(cp *controlplane.ControlPlane) { cp.Components[0].Command = nil },
		"unknown placeholder":     func(cp *controlplane.ControlPlane) { cp.Components[0].Env = []string{"$(PORT:x)"} },
		"unknown probe port":      func(cp *controlplane.ControlPlane) { cp.Components[0].Ready.Port = "x" },
	} {
		d := New(Config{StateDir: t.TempDir(), Images: sameDirectory{}, Log: slog.New(slog.DiscardHandler)})
		cp := described()
		change(&cp)
		if _, err := d.render(t.Context(), d.dir("a"), cp); err == nil {
			t.Errorf("%s: no error", desc)
		}
	}
	d := New(Config{StateDir: t.TempDir(), Images: brokenStore{}, Log: slog.New(slog.DiscardHandler)})
	if err := d.Apply(t.Context(), described()); err == nil || !strings.Contains(err.Error(), "digest differs") {
		t.Errorf("error is %v", err)
	}
	if _, err := d.Status(t.Context(), "a"); !errors.Is(err, controlplane.ErrNotFound) {
		t.Errorf("status: %v", err)
	}
	if err := d.Apply(t.Context(), controlplane.ControlPlane{Name: "../x"}); err == nil {
		t.Error("a path was taken for a name")
	}
}
