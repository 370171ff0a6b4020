package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/openshift/assisted-service/api/v1beta1"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/slipway-io/slipway/services/image"
	"github.com/slipway-io/slipway/services/web"
)

const (
	uid     = "5ab6ea6e-6b1e-4c0a-9d0e-3c8d2b6a9f10"
	version = "1.0"
)

func tokens() web.Tokens { return web.NewTokens([]byte("a key for this bench alone, 32 b")) }

func isoPath(kind string) string {
	return "/byapikey/" + uid + "." + tokens().InfraEnv(uid) + "/" + version + "/x86_64/" + kind + ".iso"
}

// makeImage makes a machine OS with a live ISO of about size bytes, laid out as CoreOS has it.
func makeImage(ctx context.Context, work string, size int64) error {
	const volume = "slipway-bench"
	args := "coreos.liveiso=" + volume + " ignition.firstboot ignition.platform.id=metal"
	area := args + "\n" + strings.Repeat("#", 1023)
	kargs, err := json.Marshal(map[string]any{"default": args, "size": len(area), "files": []any{map[string]any{"path": "boot/grub/grub.cfg", "offset": 6}}})
	if err != nil {
		return err
	}
	tree, out := filepath.Join(work, "tree"), filepath.Join(work, "os")
	random := rand.NewChaCha8([32]byte{1})
	for name, content := range map[string]io.Reader{
		"coreos/kargs.json": strings.NewReader(string(kargs)), "coreos/igninfo.json": strings.NewReader(`{"file":"images/ignition.img"}`),
		"boot/grub/grub.cfg":  strings.NewReader("linux " + area + "# COREOS_KARG_EMBED_AREA\n"),
		"images/ignition.img": io.LimitReader(zeros{}, 256<<10), "images/efiboot.img": io.LimitReader(random, 8<<20),
		"images/pxeboot/vmlinuz": io.LimitReader(random, 14<<20), "images/pxeboot/initrd.img": io.LimitReader(random, 80<<20),
		"images/pxeboot/rootfs.img": io.LimitReader(random, max(1<<20, size-103<<20)),
	} {
		if err := writeFile(filepath.Join(tree, name), content); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	iso := filepath.Join(out, "live.iso")
	if err := command(ctx, "xorriso", "-as", "mkisofs", "-quiet", "-V", volume, "-o", iso, "-J", "-joliet-long", "-r",
		"-e", "images/efiboot.img", "-no-emul-boot", "-isohybrid-gpt-basdat", tree); err != nil {
		return err
	}
	if err := os.RemoveAll(tree); err != nil {
		return err
	}
	return describe(out, iso)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func writeFile(path string, content io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, content); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

func describe(dir, iso string) error {
	f, err := os.Open(iso)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	size, err := io.Copy(sum, f)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(map[string]any{
		"version": version, "cpuArchitecture": "x86_64",
		"iso": map[string]any{"file": filepath.Base(iso), "sha256": hex.EncodeToString(sum.Sum(nil)), "size": size},
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "os.json"), raw, 0o644)
}

// infraEnvs has one, as the manager's cache would give it.
type infraEnvs struct{ one *v1beta1.InfraEnv }

func (i infraEnvs) ByUID(_ context.Context, id string) (*v1beta1.InfraEnv, error) {
	if id != uid {
		return nil, image.ErrNotFound
	}
	return i.one.DeepCopy(), nil
}

func (infraEnvs) BootDecision(context.Context, net.HardwareAddr, string, string) (image.Decision, error) {
	return image.Decision{}, image.ErrNotFound
}

// serve is the appliance's web front and image service, as cmd/slipway puts them together.
func serve(ctx context.Context, dir string, at netip.AddrPort) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	system, err := image.OpenOS(filepath.Join(dir, "os"))
	if err != nil {
		return err
	}
	defer system.Close()
	if err := system.Verify(ctx, filepath.Join(dir, "verified.json"), nil); err != nil {
		return err
	}
	one := &v1beta1.InfraEnv{}
	one.UID, one.Name, one.Namespace, one.Generation = types.UID(uid), "bench", "bench", 1
	service, err := image.New(image.Config{
		OSImages: []*image.OS{system}, Addresses: []netip.Addr{at.Addr()}, HTTPPort: int(at.Port()), InfraEnvs: infraEnvs{one}, Tokens: tokens(), Log: log,
		Discovery: func(context.Context, *v1beta1.InfraEnv, netip.Addr) ([]byte, error) {
			return []byte(fmt.Sprintf(`{"ignition":{"version":"3.4.0"},"storage":{"files":[{"path":"/x","contents":{"source":"data:,%s"}}]}}`, strings.Repeat("x", 8000))), nil
		},
	})
	if err != nil {
		return err
	}
	var routes []web.Route
	for pattern, handler := range service.Routes() {
		routes = append(routes, web.Route{Pattern: pattern, Handler: handler, Plain: true})
	}
	server, err := web.New(web.Config{HTTP: []netip.AddrPort{at}, Metrics: prometheus.NewRegistry(), Log: log}, routes)
	if err != nil {
		return err
	}
	if err := server.Listen(ctx); err != nil {
		return err
	}
	return server.Run(ctx)
}
