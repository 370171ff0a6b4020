//go:build integration

package management

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/slipway-io/slipway/services/controlplane"
	"github.com/slipway-io/slipway/services/controlplane/driver/process"
	"github.com/slipway-io/slipway/services/controlplane/pki"
)

const (
	password = "correct-horse-battery-staple-0417"
	// canary stands in a ConfigMap, which is not encrypted: a search that misses it is no search.
	canary = "yellow-bird-in-the-mine-0417"
)

// site is a state directory with a real driver.
type site struct {
	*testing.T
	dir    string
	driver *process.Driver
	spec   controlplane.Spec
	log    bytes.Buffer
}

func newSite(t *testing.T) *site {
	t.Helper()
	release := os.Getenv("SLIPWAY_RELEASE_BIN")
	if release == "" {
		t.Fatal("SLIPWAY_RELEASE_BIN has to name a directory with the release's images, unpacked")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &site{T: t, dir: t.TempDir(), spec: controlplane.Spec{
		AdvertiseAddress: netip.MustParseAddr("192.0.2.10"), APIPort: 30443,
		ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("172.30.0.0/16")},
	}}
	s.driver = process.New(process.Config{
		StateDir: s.dir, Images: unpacked(release), Shim: []string{"/usr/bin/env", roleEnv + "=shim", self}, Log: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(func() {
		if err := s.driver.Delete(context.Background(), controlplane.ManagementName); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *site) images() map[string]string {
	return map[string]string{controlplane.ImageEtcd: "etcd", controlplane.ImageKubernetes: "kubernetes"}
}

func (s *site) start(ctx context.Context) (*Plane, error) {
	s.log.Reset()
	p := New(Config{
		StateDir: s.dir, Driver: s.driver, Now: time.Now, Spec: s.spec, Images: s.images(),
		Log: slog.New(slog.NewTextHandler(&s.log, nil)),
	})
	err := p.Start(ctx)
	s.Logf("%s", s.log.String())
	return p, err
}

func (s *site) client(kubeconfig []byte) kubernetes.Interface {
	s.Helper()
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	s.must(err)
	config.QPS, config.Burst = 500, 500
	client, err := kubernetes.NewForConfig(config)
	s.must(err)
	return client
}

// fill the API with BMCs' Secrets and the canary.
func (s *site) fill(ctx context.Context, client kubernetes.Interface, secrets int) {
	s.Helper()
	_, err := client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "canary"}, Data: map[string]string{"bird": canary},
	}, metav1.CreateOptions{})
	s.must(err)
	for i := range secrets {
		_, err := client.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "bmc-"}, StringData: map[string]string{"username": "admin", "password": password},
		}, metav1.CreateOptions{})
		if err != nil {
			s.Fatalf("secret %d: %v", i, err)
		}
	}
}

// readable checks that every Secret still has its password.
func (s *site) readable(ctx context.Context, client kubernetes.Interface, secrets int) {
	s.Helper()
	list, err := client.CoreV1().Secrets("default").List(ctx, metav1.ListOptions{})
	s.must(err)
	good := 0
	for i := range list.Items {
		if string(list.Items[i].Data["password"]) == password {
			good++
		}
	}
	if good != secrets {
		s.Errorf("%d of %d Secrets are as they were", good, secrets)
	}
}

// search names the files of the state directory that have one of the texts.
func (s *site) search(texts ...string) (found []string) {
	s.Helper()
	s.must(filepath.WalkDir(s.dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && !entry.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // etcd renames and removes files while it runs
		}
		if err != nil {
			return err
		}
		for _, text := range texts {
			if bytes.Contains(data, []byte(text)) {
				found = append(found, path)
			}
		}
		return nil
	}))
	return found
}

// secretive: the password is nowhere, and the search does find what is there.
func (s *site) secretive() {
	s.Helper()
	if found := s.search(canary); len(found) == 0 {
		s.Error("the search finds nothing at all")
	}
	if found := s.search(password, base64.StdEncoding.EncodeToString([]byte(password))); len(found) > 0 {
		s.Errorf("the password stands in %v", found)
	}
}

func (s *site) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// TestIntegrationSecretsAtRest: nothing of a Secret ever comes to the disk in clear, and the key is not replaced when it is lost.
func TestIntegrationSecretsAtRest(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	s := newSite(t)
	p, err := s.start(ctx)
	s.must(err)
	s.fill(ctx, s.client(p.LocalKubeconfig()), 20)
	s.secretive()
	s.must(s.driver.Stop(ctx, controlplane.ManagementName))
	s.secretive()
	p, err = s.start(ctx)
	s.must(err)
	s.readable(ctx, s.client(p.LocalKubeconfig()), 20)
	s.must(s.driver.Stop(ctx, controlplane.ManagementName))
	s.must(os.Remove(p.store.path(controlplane.EncryptionSecret)))
	if _, err := s.start(ctx); !errors.Is(err, ErrKeyLost) {
		t.Errorf("started without the key: %v", err)
	}
	if _, err := os.Stat(p.store.path(controlplane.EncryptionSecret)); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a new key was made")
	}
	p.encryption = newEncryption(false)
	s.must(p.keepEncryption())
	if _, err := s.start(ctx); !errors.Is(err, ErrKeyLost) {
		t.Errorf("started with another key: %v", err)
	} else {
		t.Log(err)
	}
}

// older starts the management API as versions did that knew no encryption.
func (s *site) older(ctx context.Context) (kubeconfig []byte) {
	s.Helper()
	p := New(Config{StateDir: s.dir, Driver: s.driver, Now: time.Now, Spec: s.spec})
	secrets, _, err := pki.Desired(p.cfg.Spec.PKI(), nil, time.Now())
	s.must(err)
	_, err = p.store.load()
	s.must(err)
	s.must(p.store.save(nil, secrets))
	components := controlplane.Management(p.cfg.Spec)
	for i := range components {
		components[i].Command = slices.DeleteFunc(components[i].Command, func(arg string) bool { return strings.HasPrefix(arg, "--encryption-") })
		components[i].Mounts = slices.DeleteFunc(components[i].Mounts, func(m controlplane.Mount) bool { return m.Secret == controlplane.EncryptionSecret })
	}
	s.must(s.driver.Apply(ctx, controlplane.ControlPlane{Name: controlplane.ManagementName, Components: components, Images: s.images(), Secrets: secrets}))
	s.must(s.driver.Wait(ctx, controlplane.ManagementName, func(controlplane.Status) {}))
	return secrets[pki.LocalhostKubeconfig].Data[pki.KeyKubeconfig]
}

// interrupted start, which ends when the first encrypted Secret is there.
func (s *site) interrupted(ctx context.Context) {
	s.Helper()
	ctx, interrupt := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		_, err := s.start(ctx)
		ended <- err
	}()
	for len(s.search(encryptedPrefix)) == 0 {
		select {
		case <-ctx.Done():
			s.Fatal("no Secret was encrypted")
		case <-time.After(100 * time.Millisecond):
		}
	}
	interrupt()
	s.Logf("interrupted: %v", <-ended)
}

// TestIntegrationMigration of a state directory whose Secrets are in clear, which is interrupted once.
func TestIntegrationMigration(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	s := newSite(t)
	client := s.client(s.older(ctx))
	s.fill(ctx, client, 150)
	if found := s.search(password); len(found) == 0 {
		t.Fatal("the older version kept no Secret in clear: nothing is shown")
	}
	s.interrupted(ctx)
	if found := s.search(password); len(found) == 0 {
		t.Log("the interruption came too late to show anything")
	}
	p, err := s.start(ctx)
	s.must(err)
	s.secretive()
	s.readable(ctx, client, 150)
	began := time.Now()
	_, err = s.start(ctx)
	s.must(err)
	if strings.Contains(s.log.String(), "older version") {
		t.Error("migrated once more")
	}
	t.Logf("the start after that took %s", time.Since(began).Round(time.Millisecond))
	// What was clear is refused from now on: nobody can plant it in etcd.
	if kept, err := p.store.load(); err != nil || bytes.Contains(kept[controlplane.EncryptionSecret].Data[controlplane.EncryptionFile], []byte("identity")) {
		t.Errorf("clear Secrets are still read: %v", err)
	}
	s.secretive()
}
