//go:build integration

package registry

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// client is an unmodified program of others that talks to the registry of a site.
type client struct {
	name string
	// push, for those that are to push, and pull move clients/<name>:v1 from the OCI layout and out of the registry, with a login or without.
	push, pull func(c *clients, login bool) error
	// ipv6 tells that it knows addresses as [::1]:5000. Debian 12's skopeo and podman know names only.
	ipv6 bool
}

// clients are what they are run with.
type clients struct {
	*site
	t      *testing.T
	work   string
	layout string // OCI layout of the image
	image  v1.Image
	digest v1.Hash
	bins   string // of crane, regctl
	node   string // of containerd, ctr
	trust  string // CA file; another one makes every client refuse
	folder string // of repositories
}

// login is a configuration of docker's, which crane and regctl read.
func (c *clients) login(login bool) string {
	dir := filepath.Join(c.work, fmt.Sprint("docker-", login))
	text := `{}`
	if login {
		text = fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, c.host, base64.StdEncoding.EncodeToString([]byte("pusher:secret")))
	}
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "config.json"), []byte(text), 0o600)); err != nil {
		c.t.Fatal(err)
	}
	return dir
}

func (c *clients) run(env []string, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.work, "TMPDIR=" + c.work, "SSL_CERT_FILE=" + c.trust}, env...)
	cmd.Dir = c.work
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", filepath.Base(program), strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// certs is a folder with the CA as containers' tools want it.
func (c *clients) certs() string {
	dir := filepath.Join(c.work, "certs")
	pem, err := os.ReadFile(c.trust)
	if err := errors.Join(err, os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "ca.crt"), pem, 0o600)); err != nil {
		c.t.Fatal(err)
	}
	return dir
}

func creds(flag string, login bool) []string {
	if login {
		return []string{flag + "=pusher:secret"}
	}
	return nil
}

func all() []client {
	crane := func(args ...string) func(*clients, bool) error {
		return func(c *clients, login bool) error {
			_, err := c.run([]string{"DOCKER_CONFIG=" + c.login(login)}, filepath.Join(c.bins, "crane"), c.expand(args)...)
			return err
		}
	}
	regctl := func(args ...string) func(*clients, bool) error {
		return func(c *clients, login bool) error {
			_, err := c.run([]string{"DOCKER_CONFIG=" + c.login(login), "REGCTL_CONFIG=" + filepath.Join(c.work, "regctl.json")}, filepath.Join(c.bins, "regctl"), c.expand(args)...)
			return err
		}
	}
	return []client{
		{name: "crane", push: crane("push", "LAYOUT", "REF/crane:v1"), pull: crane("validate", "--remote", "REF/crane:v1"), ipv6: true},
		{name: "regctl", push: regctl("image", "copy", "ocidir://LAYOUT:v1", "REF/regctl:v1"), pull: regctl("image", "export", "REF/regctl:v1", "regctl.tar"), ipv6: true},
		{name: "skopeo", push: pushSkopeo, pull: pullSkopeo},
		{name: "podman", pull: pullPodman},
		{name: "containerd", pull: pullContainerd, ipv6: true},
	}
}

func (c *clients) expand(args []string) []string {
	out := make([]string, len(args))
	for i, arg := range args {
		out[i] = strings.NewReplacer("LAYOUT", c.layout, "REF", c.host+"/"+c.folder).Replace(arg)
	}
	return out
}

func pushSkopeo(c *clients, login bool) error {
	args := append([]string{"--insecure-policy", "copy", "--dest-cert-dir", c.certs()}, creds("--dest-creds", login)...)
	_, err := c.run(nil, "skopeo", append(args, "oci:"+c.layout+":v1", "docker://"+c.host+"/"+c.folder+"/skopeo:v1")...)
	return err
}

func pullSkopeo(c *clients, login bool) error {
	args := append([]string{"--insecure-policy", "copy", "--src-cert-dir", c.certs()}, creds("--src-creds", login)...)
	_, err := c.run(nil, "skopeo", append(args, "docker://"+c.host+"/"+c.folder+"/skopeo:v1", "dir:"+filepath.Join(c.work, "skopeo"))...)
	return err
}

func pullPodman(c *clients, login bool) error {
	policy := filepath.Join(c.work, "policy.json")
	if err := os.WriteFile(policy, []byte(`{"default":[{"type":"insecureAcceptAnything"}]}`), 0o600); err != nil {
		return err
	}
	run, err := os.MkdirTemp("", "p") // podman wants a short path
	if err != nil {
		return err
	}
	defer os.RemoveAll(run)
	storage := []string{"--root", filepath.Join(run, "root"), "--runroot", filepath.Join(run, "run"), "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "none"}
	args := append(append(storage, "pull", "--quiet", "--signature-policy", policy, "--cert-dir", c.certs()), creds("--creds", login)...)
	out, err := c.run(nil, "podman", append(args, c.host+"/"+c.folder+"/podman:v1")...)
	if err == nil && len(strings.TrimSpace(out)) != 64 {
		return fmt.Errorf("podman pull says %q", out)
	}
	return err
}

// pullContainerd runs containerd of our own release, as nodes do, with the CA in a hosts.toml.
func pullContainerd(c *clients, login bool) error {
	hosts := filepath.Join(c.work, "hosts", strings.Trim(strings.NewReplacer("[", "", "]", "").Replace(c.host), " "))
	for _, dir := range []string{hosts, filepath.Join(c.work, "hosts", c.host)} {
		if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "hosts.toml"),
			fmt.Appendf(nil, "server = \"https://%s\"\n[host.\"https://%s\"]\n  capabilities = [\"pull\", \"resolve\"]\n  ca = %q\n", c.host, c.host, c.trust), 0o600)); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "containerd") // the path of a socket is short
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	config := filepath.Join(dir, "config.toml")
	socket := filepath.Join(dir, "s")
	text := fmt.Sprintf("version = 3\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.cri.v1.images\", \"io.containerd.cri.v1.runtime\", \"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = %q\n",
		filepath.Join(dir, "root"), filepath.Join(dir, "state"), socket)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	var log bytes.Buffer
	daemon := exec.Command(filepath.Join(c.node, "containerd"), "--config", config)
	daemon.Stdout, daemon.Stderr = &log, &log
	if err := daemon.Start(); err != nil {
		return err
	}
	defer func() { _ = errors.Join(daemon.Process.Signal(os.Interrupt), daemon.Wait()) }()
	ctr := func(args ...string) (string, error) {
		return c.run(nil, filepath.Join(c.node, "ctr"), append([]string{"--address", socket, "--connect-timeout", "20s"}, args...)...)
	}
	for begin := time.Now(); !exists(socket) && time.Since(begin) < 20*time.Second; {
		time.Sleep(20 * time.Millisecond)
	}
	if _, err := ctr("version"); err != nil {
		return fmt.Errorf("%w\n%s", err, &log)
	}
	args := append([]string{"images", "pull", "--local", "--hosts-dir", filepath.Join(c.work, "hosts"), "--snapshotter", "native"}, creds("--user", login)...)
	if _, err := ctr(append(args, c.host+"/"+c.folder+"/containerd:v1")...); err != nil {
		return err
	}
	list, err := ctr("images", "list")
	if err == nil && !strings.Contains(list, c.digest.String()) {
		return fmt.Errorf("containerd has %s, want %s", list, c.digest)
	}
	return err
}

func newClients(t *testing.T, address string, access Access) *clients {
	t.Helper()
	c := &clients{site: newSite(t, address, access), t: t, work: t.TempDir(), bins: os.Getenv("SLIPWAY_CLIENTS"), node: os.Getenv("SLIPWAY_RELEASE_BIN")}
	if c.bins == "" || c.node == "" {
		t.Skip("SLIPWAY_CLIENTS and SLIPWAY_RELEASE_BIN do not say where crane, regctl and containerd are: run `make integration`")
	}
	c.trust, c.folder = c.ca, "clients"
	image, err := random.Image(200_000, 3)
	if err == nil {
		image, err = mutate.ConfigFile(image, &v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: must(image.ConfigFile()).RootFS})
	}
	if err != nil {
		t.Fatal(err)
	}
	image = mutate.ConfigMediaType(mutate.MediaType(image, ociManifest), "application/vnd.oci.image.config.v1+json")
	c.layout, c.image, c.digest = filepath.Join(c.work, "layout"), image, must(image.Digest())
	dir, err := layout.Write(c.layout, empty.Index)
	if err == nil {
		err = dir.AppendImage(image, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "v1"}))
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func TestIntegrationClients(t *testing.T) {
	for _, address := range loopbacks {
		for name, anonymous := range map[string]bool{"everybody pulls": true, "only users pull": false} {
			c := newClients(t, address, Access{Anonymous: anonymous, Users: []User{user(t, "pusher", "secret", nil, []string{"clients/*"})}})
			for _, one := range all() {
				if address == "::1" && !one.ipv6 {
					continue
				}
				t.Run(fmt.Sprintf("%s %s %s", address, name, one.name), func(t *testing.T) {
					c.t = t
					c.check(t, one, anonymous)
				})
			}
		}
	}
}

func (c *clients) check(t *testing.T, one client, anonymous bool) {
	if one.push == nil {
		if err := remote.Write(c.reference(t, "clients/"+one.name+":v1"), c.image, c.options(t)...); err != nil {
			t.Fatal(err)
		}
	} else {
		if err := one.push(c, false); err == nil {
			t.Error("pushed without a login")
		}
		if err := one.push(c, true); err != nil {
			t.Fatalf("push: %v", err)
		}
	}
	if m, err := c.Manifest("clients/"+one.name, "v1"); err != nil || m.Digest != c.digest.String() {
		t.Errorf("the registry has %s, want %s, %v", m.Digest, c.digest, err)
	}
	if err := one.pull(c, true); err != nil {
		t.Errorf("pull with a login: %v", err)
	}
	switch err := one.pull(c, false); {
	case anonymous && err != nil:
		t.Errorf("pull without a login: %v", err)
	case !anonymous && err == nil:
		t.Error("pulled without a login")
	}
	trusted := c.trust
	defer func() { c.trust = trusted }()
	c.trust = stranger(t)
	if err := one.pull(c, true); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("pull from a registry whose CA is not trusted: %v", err)
	}
}

// stranger is the certificate of a CA that signed nothing here.
func stranger(t *testing.T) string {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	raw := must(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))
	path := filepath.Join(t.TempDir(), "stranger.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
