package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/slipway-io/slipway/services/agentapi"
	"github.com/slipway-io/slipway/services/agentapi/wire"
	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/controllers/agent"
	"github.com/slipway-io/slipway/services/controllers/infraenv"
	"github.com/slipway-io/slipway/services/host"
)

const (
	envID  = "aaaaaaaa-0000-4000-8000-000000000001"
	hostID = "c0ffee00-0000-4000-8000-000000000001"
)

type tokens struct{}

func (tokens) CheckInfraEnv(uid, token string) bool { return token == "env-"+uid }
func (tokens) Host(hostID string) string            { return "host-" + hostID }
func (tokens) CheckHost(hostID, token string) bool  { return token == "host-"+hostID }

// images has one machine OS, which the site itself serves.
type images struct {
	url         string
	raw, packed []byte
}

func (i *images) Disk(context.Context, string, string) (agentapi.Disk, error) {
	raw, packed := sha256.Sum256(i.raw), sha256.Sum256(i.packed)
	return agentapi.Disk{
		URL: i.url, SHA256: hex.EncodeToString(raw[:]), CompressedSHA256: hex.EncodeToString(packed[:]),
		Size: int64(len(i.raw)), CompressedSize: int64(len(i.packed)),
	}, nil
}

type ignition struct{}

func (ignition) Pointer(context.Context, agentapi.Pointer) ([]byte, error) {
	return []byte("null"), nil
}

// nodes says that a host's node is there as soon as the host may have one.
type nodes struct{}

func (nodes) NodeReady(context.Context, types.NamespacedName, string) (exists, ready bool, err error) {
	return true, true, nil
}

// site is an appliance in small: the real protocol and controllers on an API that is only memory.
type site struct {
	t      *testing.T
	client client.Client
	server *agentapi.Server
	web    *httptest.Server
	images *images
	ca     string
}

func newSite(t *testing.T) *site {
	t.Helper()
	scheme, err := api.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	memory := fake.NewClientBuilder().WithScheme(scheme).
		WithStatusSubresource(&agentv1beta1.Agent{}, &agentv1beta1.InfraEnv{}).
		WithIndex(&agentv1beta1.Agent{}, "metadata.name", func(o client.Object) []string { return []string{o.GetName()} }).
		WithObjects(
			&agentv1beta1.InfraEnv{ObjectMeta: metav1.ObjectMeta{Namespace: "slipway", Name: "default", UID: envID}},
			&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "clusters-demo", Name: "token"}, Data: map[string][]byte{"ignition-token": []byte("t")}},
		).Build()
	s := &site{t: t, client: memory, images: newImages(t)}
	store := agentapi.Kube{Client: memory, Reader: memory}
	s.server = agentapi.New(agentapi.Config{
		Tokens: tokens{}, InfraEnvs: infraenv.Lookup{Client: memory}, Agents: store, Secrets: store, Images: s.images, Ignition: ignition{},
		Requirements: host.Requirements{CPUs: 1, MemoryBytes: 1, DiskBytes: 1}, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	mux := http.NewServeMux()
	mux.Handle(wire.BasePath+"/", s.server)
	mux.HandleFunc("/disk", func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.images.packed))
	})
	s.web = httptest.NewTLSServer(mux)
	s.images.url = s.web.URL + "/disk"
	s.ca = filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(s.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.web.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	s.control()
	return s
}

// control runs the Agent controller without a manager, and its wake-ups.
func (s *site) control() {
	reconciler := &agent.Reconciler{
		Client: s.client, Seen: s.server, Nodes: nodes{}, Requirements: host.Requirements{CPUs: 1, MemoryBytes: 1, DiskBytes: 1},
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			request := ctrl.Request{NamespacedName: types.NamespacedName{Namespace: "slipway", Name: hostID}}
			before := s.version()
			if _, err := reconciler.Reconcile(ctx, request); err != nil && ctx.Err() == nil {
				s.t.Error(err)
			}
			if s.version() != before {
				s.server.Wake(hostID)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	serving := make(chan error)
	go func() { serving <- s.server.Run(ctx) }()
	s.t.Cleanup(func() {
		stop()
		<-ended
		if err := <-serving; err != nil {
			s.t.Error(err)
		}
		s.web.Close()
	})
}

func (s *site) agent() *agentv1beta1.Agent {
	found := &agentv1beta1.Agent{}
	if err := s.client.Get(s.t.Context(), types.NamespacedName{Namespace: "slipway", Name: hostID}, found); err != nil {
		return nil
	}
	return found
}

func (s *site) version() string {
	if found := s.agent(); found != nil {
		return found.ResourceVersion
	}
	return ""
}

// await waits for a state and says how long that took.
func (s *site) await(state string) time.Duration {
	s.t.Helper()
	started := time.Now()
	for time.Since(started) < time.Minute {
		if found := s.agent(); found != nil && host.State(found) == state {
			return time.Since(started)
		}
		time.Sleep(2 * time.Millisecond)
	}
	s.t.Fatalf("the host does not reach %s: %+v", state, s.agent().Status)
	return 0
}

func (s *site) user(change func(*agentv1beta1.Agent)) {
	s.t.Helper()
	found := s.agent()
	next := found.DeepCopy()
	change(next)
	if err := s.client.Patch(s.t.Context(), next, client.MergeFrom(found)); err != nil {
		s.t.Fatal(err)
	}
}

// newImages makes a disk image with a GPT and an ext4 boot partition.
func newImages(t *testing.T) *images {
	t.Helper()
	const bootAt, bootSize = 2 << 20, 4 << 20
	i := &images{raw: make([]byte, 8<<20)}
	copy(i.raw[512:], "EFI PART")
	binary.LittleEndian.PutUint64(i.raw[512+72:], 2)
	binary.LittleEndian.PutUint32(i.raw[512+80:], 128)
	binary.LittleEndian.PutUint32(i.raw[512+84:], 128)
	entry := i.raw[1024:]
	entry[0] = 1
	binary.LittleEndian.PutUint64(entry[32:], bootAt/512)
	binary.LittleEndian.PutUint64(entry[40:], (bootAt+bootSize)/512-1)
	for n, letter := range "boot" {
		entry[56+2*n] = byte(letter)
	}
	boot := filepath.Join(t.TempDir(), "boot")
	if err := os.WriteFile(boot, make([]byte, bootSize), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "mkfs.ext4", "-q", "-L", "boot", boot).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	data, err := os.ReadFile(boot)
	if err != nil {
		t.Fatal(err)
	}
	copy(i.raw[bootAt:], data)
	i.raw[7<<20] = 7
	var packed bytes.Buffer
	w, err := zstd.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write(i.raw)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	i.packed = packed.Bytes()
	return i
}

// machineRoot is a machine with one disk, which is a file.
func machineRoot(t *testing.T) (root, disk string) {
	t.Helper()
	root = t.TempDir()
	disk = filepath.Join(root, "dev/vda")
	for path, content := range map[string]string{
		"dev/vda":      strings.Repeat("old!", 10<<18),
		"proc/cpuinfo": "processor\t: 0\nmodel name\t: Test\nflags\t: vmx\n", "proc/meminfo": "MemTotal: 2000000 kB\n",
		"sys/block/vda/size": "20480\n", "sys/block/vda/queue/rotational": "0\n", "sys/block/vda/dev": "253:0\n",
		"sys/class/net/eth0/address": "52:54:00:00:00:01\n", "sys/class/net/eth0/device/vendor": "0x1af4\n", "sys/class/net/eth0/carrier": "1\n",
	} {
		at := filepath.Join(root, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return root, disk
}

func claim(a *agentv1beta1.Agent) {
	a.Spec.Approved, a.Spec.Hostname = true, "worker-0"
	a.Spec.ClusterDeploymentName = &agentv1beta1.ClusterReference{Namespace: "clusters-demo", Name: "demo"}
	a.Spec.IgnitionEndpointTokenReference = &agentv1beta1.IgnitionEndpointTokenReference{Namespace: "clusters-demo", Name: "token"}
}

// boot runs the agent until its reboot, or the test's end.
func (s *site) boot(token string, args ...string) <-chan error {
	ended, gone := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(gone)
		ended <- run(s.t.Context(), args, token, s.t.Output())
	}()
	s.t.Cleanup(func() { <-gone })
	return ended
}

func head(t *testing.T, disk string) []byte {
	t.Helper()
	file, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	data := make([]byte, 1<<20)
	if _, err := io.ReadFull(file, data); err != nil {
		t.Fatal(err)
	}
	return data
}

// TestFromFirstWordToReclaim is a host's whole life; writing Ignition needs root and loop devices.
func TestFromFirstWordToReclaim(t *testing.T) {
	if _, err := os.Stat("/dev/loop-control"); err != nil || os.Geteuid() != 0 {
		t.Skip("needs root and loop devices")
	}
	s := newSite(t)
	root, disk := machineRoot(t)
	discovery := []string{
		"--url", s.web.URL, "--infra-env-id", envID, "--cacert", s.ca, "--root", root, "--host-id", hostID, "--no-reboot",
	}
	started := time.Now()
	live := s.boot("env-"+envID, discovery...)
	s.await(api.StateKnownUnbound)
	s.user(claim)
	if err := <-live; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(head(t, disk), s.images.raw[:1<<20]) {
		t.Error("the disk does not hold the image")
	}

	hostFile, tokenFile := filepath.Join(root, "host.json"), filepath.Join(root, "host-token")
	identity := `{"infraEnvID":"` + envID + `","hostID":"` + hostID + `","url":"` + s.web.URL + `","nodeName":"worker-0"}`
	err := errors.Join(os.WriteFile(hostFile, []byte(identity), 0o600), os.WriteFile(tokenFile, []byte("host-"+hostID+"\n"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	installed := s.boot("", "installed", "--host-file", hostFile, "--token-file", tokenFile, "--cacert", s.ca, "--root", root, "--no-reboot")
	s.await(api.StateAddedToExistingCluster)
	t.Logf("from the first word to Done: %s", time.Since(started))
	s.user(func(a *agentv1beta1.Agent) { a.Spec.ClusterDeploymentName = nil })
	if err := <-installed; err != nil {
		t.Fatal(err)
	}
	s.await(api.StateReclaimingRebooting)
	if !bytes.Equal(head(t, disk), make([]byte, 1<<20)) {
		t.Error("the reclaimed disk would boot")
	}
	s.boot("env-"+envID, discovery...)
	s.await(api.StateKnownUnbound)
}

func TestRefusesInsecure(t *testing.T) {
	for _, args := range [][]string{{"--insecure"}, {"--no-such-flag"}, {"word"}, {"--url", "http://x", "--infra-env-id", envID, "--cacert", "/dev/null"}} {
		if err := run(t.Context(), args, "token", io.Discard); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
}
