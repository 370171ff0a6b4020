// Package management runs the appliance's own API, the first control plane of the site.
package management

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/slipway-io/slipway/services/controlplane"
	"github.com/slipway-io/slipway/services/controlplane/pki"
)

// Driver is what runs the control plane; driver/process has it.
type Driver interface {
	Apply(ctx context.Context, cp controlplane.ControlPlane) error
	Wait(ctx context.Context, name string, progress func(controlplane.Status)) error
	Port(controlPlane, port string) (int, error)
}

// Config is what a Plane needs.
type Config struct {
	// StateDir is the appliance's state directory.
	StateDir string
	// Spec needs no name; see controlplane.Spec.
	Spec controlplane.Spec
	// Images maps release components to references by digest.
	Images map[string]string
	Driver Driver
	// Renewed is called with the administrator's kubeconfig when it changed while running; may be nil.
	Renewed func(admin []byte) error
	Now     func() time.Time
	Log     *slog.Logger
}

// Plane is the management control plane.
type Plane struct {
	cfg   Config
	store store

	mu      sync.Mutex
	secrets map[string]*corev1.Secret
	next    time.Time
	// encryption of the Secrets in etcd.
	encryption encryption
}

// New returns a plane; it does nothing yet.
func New(cfg Config) *Plane {
	cfg.Spec.Name, cfg.Spec.Namespace = controlplane.ManagementName, ""
	cfg.Spec = cfg.Spec.Defaulted()
	return &Plane{cfg: cfg, store: store{dir: filepath.Join(cfg.StateDir, "controlplanes", controlplane.ManagementName, "secrets")}}
}

// Start makes the API run, or finds it running, and returns when it is ready.
func (p *Plane) Start(ctx context.Context) error {
	if err := p.cfg.Spec.Validate(); err != nil {
		return fmt.Errorf("management control plane: %w", err)
	}
	begin := time.Now()
	if err := p.apply(ctx); err != nil {
		return fmt.Errorf("management control plane: %w", err)
	}
	if err := p.wait(ctx, begin); err != nil {
		return err
	}
	return p.encryptAll(ctx, begin)
}

// encryptAll Secrets that an older version left in clear. Should it not end, the API serves all the same and the next start goes on.
func (p *Plane) encryptAll(ctx context.Context, begin time.Time) error {
	if !p.encryption.clear {
		return nil
	}
	if err := p.migrate(ctx, p.encryption); err != nil {
		p.cfg.Log.Error("Secrets of an older version are not all encrypted: the next start goes on", "err", err)
		return nil
	}
	p.encryption.clear = false
	if err := p.keepEncryption(); err != nil {
		return err
	}
	if err := p.apply(ctx); err != nil {
		return fmt.Errorf("management control plane: %w", err)
	}
	return p.wait(ctx, begin)
}

// wait until every component is ready. With a key that is not the one of the Secrets the API server never would be.
func (p *Plane) wait(ctx context.Context, begin time.Time) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var said string
	looked := false
	err := p.cfg.Driver.Wait(ctx, controlplane.ManagementName, func(status controlplane.Status) {
		if text := progress(status); text != said {
			said = text
			p.cfg.Log.Info("management control plane", "ready", text, "after", time.Since(begin).Round(10*time.Millisecond))
		}
		if !looked && status.Component(controlplane.Etcd).Ready {
			looked = true
			if err := p.checkKey(ctx); errors.Is(err, ErrKeyLost) {
				stop(err)
			}
		}
	})
	if cause := context.Cause(ctx); errors.Is(cause, ErrKeyLost) {
		err = cause
	}
	if err != nil {
		return fmt.Errorf("management control plane: %w", err)
	}
	return nil
}

// Run renews certificates before they expire, until ctx ends. The API goes on when it returns.
func (p *Plane) Run(ctx context.Context) error {
	for {
		wait := p.renewal().Sub(p.cfg.Now())
		// The wall clock may be set; so it is looked at often.
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(min(max(wait, time.Second), time.Hour)):
		}
		if p.cfg.Now().Before(p.renewal()) {
			continue
		}
		before := string(p.AdminKubeconfig())
		if err := p.apply(ctx); err != nil {
			p.cfg.Log.Error("management control plane: certificates are not renewed", "err", err)
			continue
		}
		p.cfg.Log.Info("management control plane: certificates renewed", "next", p.renewal())
		if admin := p.AdminKubeconfig(); p.cfg.Renewed != nil && string(admin) != before {
			if err := p.cfg.Renewed(admin); err != nil {
				p.cfg.Log.Error("management control plane: kubeconfig is not renewed", "err", err)
			}
		}
	}
}

// renewal is when the next certificate is due.
func (p *Plane) renewal() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.next
}

// AdminKubeconfig reaches the API from the site; LocalKubeconfig from this machine.
func (p *Plane) AdminKubeconfig() []byte { return p.kubeconfig(pki.AdminKubeconfig) }

// LocalKubeconfig reaches the API over loopback.
func (p *Plane) LocalKubeconfig() []byte { return p.kubeconfig(pki.LocalhostKubeconfig) }

func (p *Plane) kubeconfig(name string) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if secret := p.secrets[name]; secret != nil {
		return secret.Data[pki.KeyKubeconfig]
	}
	return nil
}

// apply brings certificates and processes up to date.
func (p *Plane) apply(ctx context.Context) error {
	loaded, err := p.store.load()
	if err != nil {
		return err
	}
	encryption, err := p.store.desiredEncryption(loaded, p.etcdDir())
	if err != nil {
		return err
	}
	secrets, next, err := pki.Desired(p.cfg.Spec.PKI(), loaded, p.cfg.Now())
	if err != nil {
		return err
	}
	if secrets[controlplane.EncryptionSecret], err = encryption.secret(); err != nil {
		return err
	}
	if err := p.store.save(loaded, secrets); err != nil {
		return err
	}
	p.mu.Lock()
	p.secrets, p.next, p.encryption = secrets, next, encryption
	p.mu.Unlock()
	spec := p.cfg.Spec
	if encryption.clear {
		spec.ExtraArgs = migratingArgs()
	}
	return p.cfg.Driver.Apply(ctx, controlplane.ControlPlane{
		Name:       controlplane.ManagementName,
		Components: controlplane.Management(spec),
		Images:     p.cfg.Images,
		Secrets:    secrets,
	})
}

// keepEncryption stores the encryption as it is now.
func (p *Plane) keepEncryption() error {
	secret, err := p.encryption.secret()
	if err != nil {
		return err
	}
	return p.store.save(nil, map[string]*corev1.Secret{secret.Name: secret})
}

// etcdDir is where the driver keeps etcd's data.
func (p *Plane) etcdDir() string {
	return filepath.Join(p.cfg.StateDir, "controlplanes", controlplane.ManagementName, "data", controlplane.Etcd)
}

// progress says what a status means: "etcd, kube-apiserver; waiting for kube-controller-manager".
func progress(status controlplane.Status) string {
	var ready, waiting []string
	for _, c := range status.Components {
		switch {
		case c.Ready:
			ready = append(ready, c.Name)
		case c.Restarts > 0 && c.Message != "":
			waiting = append(waiting, c.Name+" ("+c.Message+")")
		default:
			waiting = append(waiting, c.Name)
		}
	}
	text := strings.Join(ready, ", ")
	if len(waiting) > 0 {
		text += "; waiting for " + strings.Join(waiting, ", ")
	}
	return strings.TrimPrefix(text, "; ")
}
