package management

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/slipway-io/slipway/services/controlplane"
	"github.com/slipway-io/slipway/services/controlplane/pki"
)

// readyDriver has everything ready at once and keeps what it was told last.
type readyDriver struct{ applied []controlplane.ControlPlane }

func (d *readyDriver) Apply(_ context.Context, cp controlplane.ControlPlane) error {
	d.applied = append(d.applied, cp)
	return nil
}

func (d *readyDriver) Wait(_ context.Context, _ string, progress func(controlplane.Status)) error {
	progress(controlplane.Status{Components: []controlplane.ComponentStatus{{Name: "etcd", Ready: true}}})
	return nil
}

func (d *readyDriver) Port(string, string) (int, error) { return 0, errors.New("nothing listens") }

func plane(dir string, driver Driver, now time.Time) *Plane {
	return New(Config{
		StateDir: dir, Driver: driver, Now: func() time.Time { return now }, Log: slog.New(slog.DiscardHandler),
		Spec: controlplane.Spec{
			AdvertiseAddress: netip.MustParseAddr("192.0.2.10"), APIHost: "192.0.2.10", APIPort: 6443,
			ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("172.30.0.0/16")},
		},
	})
}

func TestStartTwice(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	driver := &readyDriver{}
	first := plane(dir, driver, now)
	if err := first.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := plane(dir, driver, now.Add(time.Hour))
	if err := second.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(first.AdminKubeconfig()) == 0 || !bytes.Equal(first.AdminKubeconfig(), second.AdminKubeconfig()) {
		t.Error("the second start has another kubeconfig")
	}
	files, _ := filepath.Glob(filepath.Join(dir, "controlplanes", "management", "secrets", "*"))
	if len(files) != len(driver.applied[0].Secrets) {
		t.Errorf("%d files for %d secrets", len(files), len(driver.applied[0].Secrets))
	}
	for _, file := range files {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", file, info, err)
		}
	}
}

func TestDamagedFiles(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	if err := plane(dir, &readyDriver{}, now).Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "controlplanes", "management", "secrets", pki.RootCA+".yaml")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	driver := &readyDriver{}
	if err := plane(dir, driver, now).Start(t.Context()); !errors.Is(err, pki.ErrDamaged) || len(driver.applied) > 0 {
		t.Errorf("an emptied authority: %v", err)
	}
	if err := os.WriteFile(path, []byte("x: ["), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := plane(dir, &readyDriver{}, now).Start(t.Context()); err == nil {
		t.Error("no secret, and no error")
	}
}

func TestRunRenews(t *testing.T) {
	driver := &readyDriver{}
	p := plane(t.TempDir(), driver, time.Now())
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	renewed := make(chan []byte, 1)
	old := p.AdminKubeconfig()
	p.cfg.Now = func() time.Time { return time.Now().Add(pki.LeafValidity) }
	p.cfg.Renewed = func(admin []byte) error { renewed <- admin; return nil }
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	if admin := <-renewed; bytes.Equal(admin, old) {
		t.Error("the kubeconfig is the old one")
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
