package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/crypto/bcrypt"

	"github.com/slipway-io/slipway/mirror/archive"
	"github.com/slipway-io/slipway/mirror/registry"
	"github.com/slipway-io/slipway/mirror/sync"
)

// tlsRegistry is a registry behind TLS into which ann may push.
type tlsRegistry struct {
	store *registry.Registry
	dir   string
	host  string
	ca    []byte
	http  *http.Client
}

func serveTLS(t *testing.T, address string) *tlsRegistry {
	t.Helper()
	dir := t.TempDir()
	store, err := registry.Open(registry.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	store.Allow(registry.Access{Users: []registry.User{{Name: "ann", Hash: hash, Push: []string{"*"}}}}) // nothing without a password
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Skipf("no loopback for %s: %v", address, err)
	}
	server := httptest.NewUnstartedServer(store.Handler())
	server.Listener = listener
	server.StartTLS()
	t.Cleanup(func() {
		server.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return &tlsRegistry{store: store, dir: dir, host: listener.Addr().String(), http: server.Client(),
		ca: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})}
}

func (r *tlsRegistry) push(t *testing.T, path string, size int64) {
	t.Helper()
	image, err := random.Image(size, 2)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(r.host + "/" + path)
	if err == nil {
		err = remote.Write(ref, image, remote.WithTransport(r.http.Transport), remote.WithAuth(&authn.Basic{Username: "ann", Password: "secret"}))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// gap is a source, a target that can't reach it, and a directory that is carried.
type gap struct {
	source, target *tlsRegistry
	dir            string
}

func newGap(t *testing.T, address string) *gap {
	t.Helper()
	g := &gap{source: serveTLS(t, address), target: serveTLS(t, address), dir: t.TempDir()}
	auths := map[string]map[string]string{}
	for _, r := range []*tlsRegistry{g.source, g.target} {
		auths[r.host] = map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte("ann:secret"))}
	}
	raw, err := json.Marshal(map[string]any{"auths": auths})
	if err != nil {
		t.Fatal(err)
	}
	g.write(t, "auth.json", string(raw))
	g.write(t, "ca.pem", string(g.source.ca)+string(g.target.ca))
	return g
}

func (g *gap) write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(g.dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (g *gap) images(t *testing.T, kind, key string, names ...string) {
	t.Helper()
	text := "apiVersion: mirror.openshift.io/v2alpha1\nkind: " + kind + "\n" + key + ":\n  additionalImages:\n"
	for _, n := range names {
		text += "  - name: \"" + g.source.host + "/" + n + "\"\n"
	}
	g.write(t, key+".yaml", text)
}

// mirror runs the verb as a person would.
func (g *gap) mirror(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := mirrorCommand(ocMirror)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(append(args, "--v2", "--authfile", filepath.Join(g.dir, "auth.json"), "--ca", filepath.Join(g.dir, "ca.pem")))
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func (g *gap) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := g.mirror(t, args...)
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return out
}

func TestMirrorAcrossTheGap(t *testing.T) {
	for _, address := range []string{"127.0.0.1", "::1"} {
		t.Run(address, func(t *testing.T) {
			g := newGap(t, address)
			g.source.push(t, "team/one:v1", 200_000)
			g.source.push(t, "team/two:v1", 200_000)
			g.images(t, "ImageSetConfiguration", "mirror", "team/one:v1", "team/two:v1")
			config, usb := filepath.Join(g.dir, "mirror.yaml"), "file://"+filepath.Join(g.dir, "usb")
			target := "docker://" + g.target.host + "/site"
			g.must(t, "-c", config, "--dry-run", usb)
			if left, err := filepath.Glob(filepath.Join(g.dir, "usb", "*.segment")); err != nil || len(left) != 0 {
				t.Errorf("a dry run has made %v, %v", left, err)
			}
			g.must(t, "-c", config, usb)
			if out := g.must(t, "--from", usb, target); !strings.Contains(out, "2 images copied") {
				t.Error(out)
			}
			if tags, err := g.target.store.Tags("site/team/one"); err != nil || !slices.Equal(tags, []string{"v1"}) {
				t.Errorf("tags: %v %v", tags, err)
			}
			idms, err := os.ReadFile(filepath.Join(g.dir, "usb/working-dir/cluster-resources/itms-oc-mirror.yaml"))
			if err != nil || !strings.Contains(string(idms), g.target.host+"/site/team") {
				t.Errorf("mirror set: %s %v", idms, err)
			}
			// The state came back with the disk: the next archive has what is new alone.
			g.source.push(t, "team/three:v1", 100_000)
			g.images(t, "ImageSetConfiguration", "mirror", "team/one:v1", "team/three:v1")
			if out := g.must(t, "-c", config, usb); !strings.Contains(out, "3 blobs left out because the target has them") && !strings.Contains(out, "6 blobs left out") {
				t.Error(out)
			}
			if out := g.must(t, "--from", usb, target); !strings.Contains(out, "1 images copied, 1 were there") {
				t.Error(out)
			}
			g.deletes(t, target, usb)
		})
	}
}

// deletes what no image set wants any more.
func (g *gap) deletes(t *testing.T, target, usb string) {
	t.Helper()
	g.images(t, "DeleteImageSetConfiguration", "delete", "team/one:v1", "team/two:v1")
	out := g.must(t, "delete", "--generate", "-c", filepath.Join(g.dir, "delete.yaml"), "--workspace", usb, target)
	if !strings.Contains(out, "stays: "+g.source.host+"/team/one:v1") || !strings.Contains(out, "list of 1 images") {
		t.Error(out)
	}
	g.must(t, "delete", "--delete-yaml-file", filepath.Join(g.dir, "usb/working-dir/delete/delete-images.yaml"), "--workspace", usb, target)
	if tags, err := g.target.store.Tags("site/team/two"); err == nil && len(tags) > 0 {
		t.Errorf("what was deleted has tags %v", tags)
	}
	if tags, err := g.target.store.Tags("site/team/one"); err != nil || len(tags) != 1 {
		t.Errorf("what stays has tags %v, %v", tags, err)
	}
}

// Two image sets came by archives to one workspace: what either wants stays.
func TestDeleteKeepsWhatEveryArchiveWants(t *testing.T) {
	g := newGap(t, "127.0.0.1")
	target, work := "docker://"+g.target.host+"/site", filepath.Join(g.dir, "work")
	for _, name := range []string{"one", "two"} {
		g.source.push(t, "team/"+name+":v1", 1000)
		g.images(t, "ImageSetConfiguration", "mirror", "team/"+name+":v1")
		config, usb := filepath.Join(g.dir, name+".yaml"), "file://"+filepath.Join(g.dir, "usb-"+name)
		if err := os.Rename(filepath.Join(g.dir, "mirror.yaml"), config); err != nil {
			t.Fatal(err)
		}
		g.must(t, "-c", config, usb)
		g.must(t, "--from", usb, "--workspace", "file://"+work, target)
	}
	g.images(t, "DeleteImageSetConfiguration", "delete", "team/one:v1", "team/two:v1")
	out := g.must(t, "delete", "--generate", "-c", filepath.Join(g.dir, "delete.yaml"), "--workspace", "file://"+work, target)
	for _, want := range []string{"stays: " + g.source.host + "/team/one:v1", "stays: " + g.source.host + "/team/two:v1", "list of 0 images"} {
		if !strings.Contains(out, want) {
			t.Errorf("want %q in\n%s", want, out)
		}
	}
}

func TestMirrorStraight(t *testing.T) {
	g := newGap(t, "127.0.0.1")
	g.source.push(t, "team/one:v1", 100_000)
	g.images(t, "ImageSetConfiguration", "mirror", "team/one:v1", "team/none:v1")
	args := []string{"-c", filepath.Join(g.dir, "mirror.yaml"), "--workspace", "file://" + g.dir, "docker://" + g.target.host}
	out, err := g.mirror(t, args...)
	var failure *failed
	if !errors.As(err, &failure) || failure.ExitCode() != sync.ExitAdditional || !strings.Contains(out, "team/none:v1") {
		t.Errorf("%v\n%s", err, out)
	}
	var result sync.Result
	raw, err := os.ReadFile(filepath.Join(g.dir, "working-dir/result.json"))
	if err == nil {
		err = json.Unmarshal(raw, &result)
	}
	if err != nil || result.Copied != 1 || result.Failed != 1 || result.ExitCode != sync.ExitAdditional {
		t.Errorf("result %+v, %v", result, err)
	}
	for _, text := range []string{out, string(raw)} {
		if strings.Contains(text, "secret") {
			t.Error("a password is in the output")
		}
	}
}

func TestMaliciousArchiveChangesNothing(t *testing.T) {
	g := newGap(t, "127.0.0.1")
	g.source.push(t, "team/one:v1", 100_000)
	g.images(t, "ImageSetConfiguration", "mirror", "team/one:v1")
	dir := filepath.Join(g.dir, "usb")
	g.must(t, "-c", filepath.Join(g.dir, "mirror.yaml"), "file://"+dir)
	segments, err := filepath.Glob(filepath.Join(dir, "*.segment"))
	if err != nil || len(segments) != 1 {
		t.Fatal(segments, err)
	}
	whole, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	index, err := os.ReadFile(filepath.Join(dir, archive.IndexName))
	if err != nil {
		t.Fatal(err)
	}
	for reason, change := range map[string]func() error{
		"wrong digest": func() error {
			raw := slices.Clone(whole)
			raw[len(raw)/2] ^= 1
			return os.WriteFile(segments[0], raw, 0o600)
		},
		"path traversal": func() error {
			return os.WriteFile(filepath.Join(dir, archive.IndexName), bytes.Replace(index, []byte(`"name":"sha256-`), []byte(`"name":"../sha256-`), 1), 0o600)
		},
		"oversized index": func() error { return os.Truncate(filepath.Join(dir, archive.IndexName), 1<<30) },
		"cut":             func() error { return os.Truncate(segments[0], int64(len(whole)/2)) },
	} {
		t.Run(reason, func(t *testing.T) {
			if err := change(); err != nil {
				t.Fatal(err)
			}
			out, err := g.mirror(t, "--from", "file://"+dir, "--workspace", "file://"+t.TempDir(), "docker://"+g.target.host)
			if err == nil || !strings.Contains(out+err.Error(), archive.ErrInvalid.Error()) {
				t.Errorf("got %v, want a refusal\n%s", err, out)
			}
			if found := g.target.store.Repositories(); len(found) != 0 {
				t.Errorf("the target has %v", found)
			}
			if err := errors.Join(os.WriteFile(segments[0], whole, 0o600), os.WriteFile(filepath.Join(dir, archive.IndexName), index, 0o600)); err != nil {
				t.Fatal(err)
			}
		})
	}
	g.must(t, "--from", "file://"+dir, "docker://"+g.target.host)
}

func TestMirrorFlags(t *testing.T) {
	g := newGap(t, "127.0.0.1")
	g.images(t, "ImageSetConfiguration", "mirror", "team/one:v1")
	config := filepath.Join(g.dir, "mirror.yaml")
	for want, args := range map[string][]string{
		"--v1":              {"--v1", "-c", config, "docker://x"},
		"or docker://reg":   {"-c", config, "s3://x"},
		"-c names":          {"docker://x"},
		"--bandwidth":       {"-c", config, "--bandwidth", "fast", "docker://x"},
		"--platform-index":  {"-c", config, "--platform-index", "none", "docker://x"},
		"--parallel-images": {"-c", config, "--parallel-images", "0", "docker://x"},
		"a date says":       {"-c", config, "--since", "2026-01-02", "file://" + g.dir},
		"invalid image ref": {"-c", config, "docker://UP PER"},
		"--generate":        {"delete", "docker://x"},
	} {
		if out, err := g.mirror(t, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q\n%s", args, err, want, out)
		}
	}
}
