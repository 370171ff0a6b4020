package image

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/openshift/assisted-service/api/v1beta1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	uid    = "5ab6ea6e-6b1e-4c0a-9d0e-3c8d2b6a9f10"
	token1 = "token-of-one"
)

// world is a service over a small OS image, and what it asks.
type world struct {
	t        testing.TB
	dir      string
	files    map[string][]byte
	os       *OS
	service  *Service
	infraEnv *v1beta1.InfraEnv
	decision Decision
	failure  error
	rendered int
	noise    []byte // in the configuration
	told     []netip.Addr
	log      bytes.Buffer
}

func (w *world) ByUID(_ context.Context, id string) (*v1beta1.InfraEnv, error) {
	if w.failure != nil {
		return nil, w.failure
	}
	if id != uid {
		return nil, fmt.Errorf("look up: %w", ErrNotFound)
	}
	return w.infraEnv.DeepCopy(), nil
}

func (w *world) BootDecision(context.Context, net.HardwareAddr, string, string) (Decision, error) {
	return w.decision, w.failure
}

type tokens struct{}

func (tokens) InfraEnv(id string) string {
	if id == uid {
		return token1
	}
	return "token-of-" + id
}

func (t tokens) CheckInfraEnv(id, token string) bool { return token == t.InfraEnv(id) }

// liveISO is the header of a real CoreOS ISO.
func liveISO(t testing.TB) []byte {
	t.Helper()
	f, err := os.Open("iso/testdata/embed-areas-2023-03.x86_64.iso.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	packed, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(packed)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), files: map[string][]byte{}}
	random := rand.New(rand.NewPCG(1, 2))
	for name, size := range map[string]int{"kernel": 5003, "initrd.img": 20_001, "rootfs.img": 40_000, "disk.img.zst": 30_000, "agent": 10_000} {
		content := make([]byte, size)
		for i := range content {
			content[i] = byte(random.Uint32())
		}
		w.files[name] = content
		if err := os.WriteFile(filepath.Join(w.dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w.files["live.iso"] = liveISO(t)
	if err := os.WriteFile(filepath.Join(w.dir, "live.iso"), w.files["live.iso"], 0o644); err != nil {
		t.Fatal(err)
	}
	w.describe(nil)
	var err error
	if w.os, err = OpenOS(w.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.os.Close() })
	agent, err := OpenAgent(t.Context(), filepath.Join(w.dir, "agent"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = agent.Close() })
	w.infraEnv = &v1beta1.InfraEnv{}
	w.infraEnv.UID, w.infraEnv.Name, w.infraEnv.Namespace, w.infraEnv.Generation = types.UID(uid), "lab", "slipway", 1
	w.infraEnv.Spec.CpuArchitecture = "x86_64"
	w.service, err = New(Config{
		OSImages: []*OS{w.os}, Agents: map[string]*Agent{"x86_64": agent},
		Addresses: []netip.Addr{netip.MustParseAddr("10.7.0.2"), netip.MustParseAddr("fd00:7::2")}, HTTPPort: 8080,
		InfraEnvs: w, Tokens: tokens{},
		Discovery: func(_ context.Context, infraEnv *v1beta1.InfraEnv, address netip.Addr) ([]byte, error) {
			w.rendered++
			w.told = append(w.told, address)
			config := fmt.Appendf(nil, `{"ignition":{"version":"3.4.0"},"generation":%d}`, infraEnv.Generation)
			return append(config, w.noise...), nil
		},
		Log: slog.New(slog.NewTextHandler(&w.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// describe writes os.json, changed by edit.
func (w *world) describe(edit func(map[string]any)) {
	w.t.Helper()
	part := func(name string) map[string]any {
		return map[string]any{"file": name, "sha256": w.sum(name), "size": len(w.files[name])}
	}
	disk := part("disk.img.zst")
	disk["uncompressedSha256"], disk["uncompressedSize"] = w.sum("rootfs.img"), 1<<20
	description := map[string]any{
		"version": "12.1", "cpuArchitecture": "x86_64",
		"kernel": part("kernel"), "initrd": part("initrd.img"), "rootfs": part("rootfs.img"), "disk": disk,
		"iso": part("live.iso"),
	}
	if edit != nil {
		edit(description)
	}
	raw, err := json.Marshal(description)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, "os.json"), raw, 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) sum(name string) string {
	sum := sha256.Sum256(w.files[name])
	return hex.EncodeToString(sum[:])
}

// ask is a request with headers as pairs, from a machine that reached the address local.
func (w *world) ask(method, path, local string, headers ...string) *http.Response {
	w.t.Helper()
	r := httptest.NewRequest(method, path, nil)
	if local != "" {
		at := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(local))
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(at)))
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	recorder := httptest.NewRecorder()
	w.service.ServeHTTP(recorder, r)
	return recorder.Result()
}
