package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipway-io/slipway/assets/debian"
)

// epoch is the time stamp of every file.
const epoch = "1735689600"

type builder struct {
	recipe, work, tree, out, hash string
	arch                          architecture
}

func (b *builder) build(ctx context.Context) error {
	packages, err := debian.Open(ctx, filepath.Join(b.work, "apt"), b.arch.debian)
	if err != nil {
		return err
	}
	kernel, err := packages.Depends(ctx, b.arch.kernel, "linux-image-")
	if err != nil {
		return err
	}
	unpacked, err := packages.Unpack(ctx, kernel, "busybox-static")
	if err != nil {
		return err
	}
	for _, dir := range []string{b.out, filepath.Join(b.tree, "bin"), filepath.Join(b.tree, "etc"), filepath.Join(b.tree, "proc"),
		filepath.Join(b.tree, "sys"), filepath.Join(b.tree, "dev"), filepath.Join(b.tree, "run"), filepath.Join(b.tree, "tmp")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
	}
	version, err := b.kernel(filepath.Join(unpacked, kernel))
	if err != nil {
		return err
	}
	busybox := filepath.Join(unpacked, "busybox-static", "bin", "busybox")
	for from, to := range map[string]string{
		busybox: "bin/busybox", filepath.Join(b.recipe, "init"): "init", filepath.Join(b.recipe, "dhcp-event"): "etc/dhcp-event",
	} {
		if err := b.run(ctx, b.work, "install", "-m", "0755", from, filepath.Join(b.tree, to)); err != nil {
			return err
		}
	}
	if err := b.modules(ctx, filepath.Join(unpacked, kernel), version); err != nil {
		return err
	}
	live := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", filepath.Join(b.tree, "bin/live"), ".")
	live.Dir = filepath.Join(b.recipe, "live")
	live.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+b.arch.goarch)
	if out, err := live.CombinedOutput(); err != nil {
		return fmt.Errorf("compile live: %w: %s", err, out)
	}
	if err := b.pack(ctx); err != nil {
		return err
	}
	return b.describe(version)
}

// kernel takes the kernel and gives its version.
func (b *builder) kernel(from string) (string, error) {
	found, err := filepath.Glob(filepath.Join(from, "boot", b.arch.image+"*"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("find the kernel: there are %d files %s*", len(found), b.arch.image)
	}
	data, err := os.ReadFile(found[0])
	if err != nil {
		return "", fmt.Errorf("read kernel: %w", err)
	}
	if err := os.WriteFile(filepath.Join(b.out, "kernel"), data, 0o644); err != nil {
		return "", fmt.Errorf("write kernel: %w", err)
	}
	return strings.TrimPrefix(filepath.Base(found[0]), b.arch.image), nil
}

// modules copies the chosen modules with what they depend on; those that are built in or that the architecture does not have
// are left out.
func (b *builder) modules(ctx context.Context, from, version string) error {
	// depmod reads modules of any architecture.
	if err := b.run(ctx, b.work, "depmod", "-b", from, version); err != nil {
		return err
	}
	source := filepath.Join(from, "lib/modules", version)
	data, err := os.ReadFile(filepath.Join(source, "modules.dep"))
	if err != nil {
		return fmt.Errorf("read dependencies of modules: %w", err)
	}
	list, err := os.ReadFile(filepath.Join(b.recipe, "modules.txt"))
	if err != nil {
		return fmt.Errorf("read list of modules: %w", err)
	}
	chosen := choose(string(data), names(string(list)))
	if len(chosen) == 0 {
		return errors.New("none of the modules is there")
	}
	target := filepath.Join(b.tree, "lib/modules", version)
	if err := os.MkdirAll(target, 0o755); err != nil {
		return fmt.Errorf("make directory of modules: %w", err)
	}
	copied := append([]string{"modules.order", "modules.builtin", "modules.builtin.modinfo"}, chosen...)
	if err := b.run(ctx, source, "cp", append([]string{"--parents", "--no-preserve=all", "-t", target}, copied...)...); err != nil {
		return err
	}
	if err := b.run(ctx, b.work, "depmod", "-b", b.tree, version); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.tree, "etc/modules"), []byte(strings.Join(names(string(list)), "\n")+"\n"), 0o644)
}

// choose gives the files of the named modules and of what they need, of modules.dep.
func choose(dependencies string, wanted []string) []string {
	var files []string
	for line := range strings.Lines(dependencies) {
		file, needs, _ := strings.Cut(strings.TrimSpace(line), ":")
		name, _, _ := strings.Cut(filepath.Base(file), ".ko")
		if slices.ContainsFunc(wanted, func(w string) bool { return strings.ReplaceAll(w, "-", "_") == strings.ReplaceAll(name, "-", "_") }) {
			files = append(append(files, file), strings.Fields(needs)...)
		}
	}
	slices.Sort(files)
	return slices.Compact(files)
}

// names leaves comments and empty lines out.
func names(list string) []string {
	var out []string
	for line := range strings.Lines(list) {
		if name := strings.TrimSpace(line); name != "" && !strings.HasPrefix(name, "#") {
			out = append(out, name)
		}
	}
	return out
}

// pack writes the initrd, filled up to 4 bytes: what is appended has to start there.
func (b *builder) pack(ctx context.Context) error {
	const script = `cd "$1" && find . -exec touch -hd "@` + epoch + `" {} + &&
find . -print0 | sort -z | cpio --quiet --null -o -H newc -R 0:0 --reproducible | gzip -n -9 > "$2"`
	image := filepath.Join(b.out, "initrd.img")
	if err := b.run(ctx, b.work, "sh", "-c", script, "sh", b.tree, image); err != nil {
		return err
	}
	info, err := os.Stat(image)
	if err != nil {
		return fmt.Errorf("measure initrd: %w", err)
	}
	return os.Truncate(image, (info.Size()+3)/4*4)
}

// describe writes os.json as the machine OS has it, without rootfs and disk.
func (b *builder) describe(kernel string) error {
	description := map[string]any{"version": strings.SplitN(kernel, "-", 2)[0] + "-" + b.hash[:12], "cpuArchitecture": b.arch.name}
	for key, name := range map[string]string{"kernel": "kernel", "initrd": "initrd.img"} {
		data, err := os.ReadFile(filepath.Join(b.out, name))
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		description[key] = map[string]any{"file": name, "sha256": fmt.Sprintf("%x", sha256.Sum256(data)), "size": len(data)}
	}
	data, err := json.MarshalIndent(description, "", "  ")
	if err != nil {
		return fmt.Errorf("encode os.json: %w", err)
	}
	return os.WriteFile(filepath.Join(b.out, "os.json"), append(data, '\n'), 0o644)
}

func (b *builder) run(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %s: %w: %s", strings.Join(cmd.Args, " "), err, out.String())
	}
	return nil
}
