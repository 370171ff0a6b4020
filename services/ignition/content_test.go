package ignition

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// site is a registry with blobs and a host's root directory in which the real program runs.
type site struct {
	t      *testing.T
	root   string
	server *httptest.Server

	mu      sync.Mutex
	blobs   map[string][]byte // path after /v2/
	fetched []string
	refuse  int // answers 503 that many times
}

func newSite(t *testing.T) *site {
	t.Helper()
	for _, program := range []string{"curl", "tar", "sha256sum"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	s := &site{t: t, root: t.TempDir(), blobs: map[string][]byte{}}
	s.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.refuse > 0 {
			s.refuse--
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		content, ok := s.blobs[strings.TrimPrefix(r.URL.Path, "/v2/")]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		s.fetched = append(s.fetched, r.URL.Path)
		_, _ = w.Write(content)
	}))
	t.Cleanup(s.server.Close)
	return s
}

// layer puts a tar+gzip of files into the registry and gives its digest; a name with "->" is a symbolic link.
func (s *site) layer(repository string, names ...string) string {
	s.t.Helper()
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	archive := tar.NewWriter(zip)
	for _, name := range names {
		header := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(name))}
		if from, to, ok := strings.Cut(name, "->"); ok {
			header = &tar.Header{Name: from, Linkname: to, Typeflag: tar.TypeSymlink}
		}
		header.Uid, header.Gid = os.Getuid(), os.Getgid()
		if err := archive.WriteHeader(header); err != nil {
			s.t.Fatal(err)
		}
		if header.Typeflag == tar.TypeReg {
			if _, err := archive.Write([]byte(name)); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	if err := archive.Close(); err != nil {
		s.t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		s.t.Fatal(err)
	}
	sum := sha256.Sum256(packed.Bytes())
	digest := "sha256:" + hex.EncodeToString(sum[:])
	s.put(repository+"/blobs/"+digest, packed.Bytes())
	return digest
}

func (s *site) put(path string, content []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[path] = content
}

// unavailable has the registry answer the next requests with 503.
func (s *site) unavailable(requests int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = requests
}

func (s *site) get(path string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blobs[path]
}

// place renders a node and puts the files that the program reads under the host's root.
func (s *site) place(in NodeInput) {
	s.t.Helper()
	in.Registry = strings.TrimPrefix(s.server.URL, "https://")
	in.SiteCA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.server.Certificate().Raw})
	in.UserConfigs = nil
	raw, err := Node(in)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, path := range []string{"/etc/slipway/content", "/etc/slipway/registry.env", siteCAFile, "/usr/local/libexec/slipway/fetch-content"} {
		file := fileOf(s.t, raw, path)
		if err := os.MkdirAll(filepath.Dir(s.root+path), 0o755); err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(s.root+path, []byte(content(s.t, file.Contents)), os.FileMode(*file.Mode)); err != nil {
			s.t.Fatal(err)
		}
	}
}

// run starts the program of the rendered node.
func (s *site) run(attempts int) (string, error) {
	command := exec.CommandContext(s.t.Context(), s.root+"/usr/local/libexec/slipway/fetch-content")
	command.Env = append(os.Environ(), "ROOT="+s.root, fmt.Sprintf("ATTEMPTS=%d", attempts), "PAUSE=0", "no_proxy=127.0.0.1")
	out, err := command.CombinedOutput()
	return string(out), err
}

func (s *site) component(name string, layers ...string) ComponentContent {
	sum := sha256.Sum256([]byte(strings.Join(layers, " ")))
	return ComponentContent{
		Ref:    "registry.slipway.io/release/" + name + "@sha256:" + hex.EncodeToString(sum[:]),
		Layers: layers,
	}
}

func (s *site) node() NodeInput {
	in := nodeInput()
	in.Components["containerd"] = s.component("containerd",
		s.layer("release/containerd", "usr/bin/containerd", "usr/bin/containerd-shim-runc-v2"), s.layer("release/containerd", "usr/bin/ctr"))
	in.Components["cni-plugins"] = s.component("cni-plugins",
		s.layer("release/cni-plugins", "opt/cni/bin/bridge", "opt/cni/bin/host-local", "opt/cni/bin/loopback", "opt/cni/bin/portmap"))
	in.Components["kubernetes"] = s.component("kubernetes",
		s.layer("release/kubernetes", "usr/bin/kube", "usr/bin/kubelet->kube", "usr/bin/kube-proxy->kube", "usr/bin/kubectl->kube"))
	return in
}

func (s *site) linked(path, want string) {
	s.t.Helper()
	got, err := os.ReadFile(s.root + path)
	if err != nil || string(got) != want {
		s.t.Errorf("%s: %q %v", path, got, err)
	}
}

func TestFetchContent(t *testing.T) {
	s := newSite(t)
	s.place(s.node())
	s.unavailable(2)
	if out, err := s.run(5); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s.linked("/usr/local/bin/containerd", "usr/bin/containerd")
	s.linked("/usr/local/bin/ctr", "usr/bin/ctr")
	s.linked("/usr/local/bin/kubelet", "usr/bin/kube")
	s.linked("/opt/cni/bin/bridge", "opt/cni/bin/bridge")
	s.mu.Lock()
	if len(s.fetched) != 4 {
		t.Errorf("fetched %v", s.fetched)
	}
	s.mu.Unlock()

	// Again, with the registry gone: nothing is fetched.
	s.server.Close()
	if out, err := s.run(1); err != nil {
		t.Fatalf("second run: %v\n%s", err, out)
	}
	if leftovers, err := filepath.Glob(s.root + "/opt/slipway/.work*"); err != nil || len(leftovers) > 0 {
		t.Errorf("left behind: %v %v", leftovers, err)
	}
}

func TestFetchContentRefusesWrongDigest(t *testing.T) {
	s := newSite(t)
	in := s.node()
	s.place(in)
	bad := "release/kubernetes/blobs/" + in.Components["kubernetes"].Layers[0]
	good := s.get(bad)
	s.put(bad, s.get("release/containerd/blobs/"+in.Components["containerd"].Layers[0]))
	out, err := s.run(2)
	if err == nil || !strings.Contains(out, "another digest, refused") {
		t.Fatalf("want a refusal, got %v\n%s", err, out)
	}
	if _, err := os.Lstat(s.root + "/usr/local/bin/kubelet"); err == nil {
		t.Error("kubelet is linked")
	}
	_, _, hex, err := reference(in.Components["kubernetes"].Ref)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.root + "/opt/slipway/" + hex); err == nil {
		t.Error("the image is unpacked")
	}
	s.put(bad, good)
	if out, err := s.run(1); err != nil {
		t.Fatalf("after the repair: %v\n%s", err, out)
	}
	s.linked("/usr/local/bin/kubelet", "usr/bin/kube")
}

// Power was lost while an image was unpacked: it is not taken for whole.
func TestFetchContentAfterInterruption(t *testing.T) {
	s := newSite(t)
	s.place(s.node())
	half := s.root + "/opt/slipway/.work/root/usr/bin"
	if err := os.MkdirAll(half, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(half+"/containerd", []byte("half"), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := s.run(1); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s.linked("/usr/local/bin/containerd", "usr/bin/containerd")
}

func TestFetchContentSaysWhatIsMissing(t *testing.T) {
	s := newSite(t)
	in := s.node()
	in.Components["containerd"] = s.component("containerd", s.layer("release/containerd", "usr/bin/other"))
	s.place(in)
	if out, err := s.run(1); err == nil || !strings.Contains(out, "has no usr/bin/containerd") {
		t.Fatalf("got %v\n%s", err, out)
	}
	in.Components["containerd"] = s.component("containerd", s.layer("release/containerd", "usr/bin/containerd", "usr/.wh.old"))
	s.place(in)
	if out, err := s.run(1); err == nil || !strings.Contains(out, "not supported") {
		t.Fatalf("got %v\n%s", err, out)
	}
}
