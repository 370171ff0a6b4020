package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// base makes the system as the packages have it. It is kept as an archive of its own, so that a change elsewhere
// in the recipe does not unpack all packages again.
func (b *builder) base(ctx context.Context) error {
	archive, err := b.baseArchive()
	if err != nil {
		return err
	}
	if _, err := os.Stat(archive); err == nil {
		return b.run(ctx, "tar", "-C", b.root, "--numeric-owner", "--xattrs", "--zstd", "-xf", archive)
	}
	if err := b.debootstrap(ctx); err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(b.opts.cache, "os-base-*.tar.zst"))
	if err != nil {
		return err
	}
	for _, path := range old {
		os.Remove(path)
	}
	temp := filepath.Join(b.work, "base.tar.zst")
	if err := b.run(ctx, "tar", "-C", b.root, "--numeric-owner", "--xattrs", "-I", "zstd -1 -T0", "-cf", temp, "."); err != nil {
		return err
	}
	return os.Rename(temp, archive)
}

func (b *builder) baseArchive() (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, suite, b.opts.kernel)
	for _, name := range []string{"packages.txt", "install"} {
		if err := hashFile(h, b.recipe(name), name); err != nil {
			return "", err
		}
	}
	return filepath.Join(b.opts.cache, fmt.Sprintf("os-base-%x.tar.zst", h.Sum(nil)[:8])), nil
}

func (b *builder) recipe(name string) string { return filepath.Join(b.opts.recipe, name) }

func (b *builder) debootstrap(ctx context.Context) error {
	sources, err := b.aptSources(ctx)
	if err != nil {
		return err
	}
	mirror := strings.Fields(sources[0])[1]
	if err := b.run(ctx, "debootstrap", "--foreign", "--variant=minbase", "--arch=amd64", suite, b.root, mirror); err != nil {
		return err
	}
	if err := b.prepareChroot(ctx, sources); err != nil {
		return err
	}
	if err := b.chroot(ctx, "/debootstrap/debootstrap", "--second-stage"); err != nil {
		return err
	}
	// debootstrap writes a source list of its own at its end.
	if err := b.write("etc/apt/sources.list", strings.Join(sources, "\n")+"\n", 0o644); err != nil {
		return err
	}
	packages, err := b.list("packages.txt")
	if err != nil {
		return err
	}
	if err := b.copyInto("install", "tmp/install"); err != nil {
		return err
	}
	proc := filepath.Join(b.root, "proc")
	if err := syscall.Mount("proc", proc, "proc", 0, ""); err != nil && !errors.Is(err, syscall.EBUSY) {
		return fmt.Errorf("mount proc for the packages: %w", err)
	}
	if err := b.chroot(ctx, append([]string{"/tmp/install", b.opts.kernel}, packages...)...); err != nil {
		return err
	}
	for _, dir := range []string{"proc", "sys"} {
		for syscall.Unmount(filepath.Join(b.root, dir), syscall.MNT_DETACH) == nil {
		}
	}
	return nil
}

// aptSources are the machine's own package sources for the suite, as one-line entries, the main archive first.
func (b *builder) aptSources(ctx context.Context) ([]string, error) {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages").Output()
	if err != nil {
		return nil, fmt.Errorf("read the package sources of this machine: %w", err)
	}
	return sourcesOf(string(out))
}

func sourcesOf(targets string) ([]string, error) {
	var sources []string
	seen := map[string]bool{}
	for _, line := range strings.Split(targets, "\n") {
		uri, release, ok := strings.Cut(line, " ")
		entry := fmt.Sprintf("deb %s %s main", uri, release)
		if !ok || seen[entry] || (release != suite && release != suite+"-updates" && release != suite+"-security") {
			continue
		}
		seen[entry] = true
		if release == suite {
			sources = append([]string{entry}, sources...)
		} else {
			sources = append(sources, entry)
		}
	}
	if len(sources) == 0 || !strings.HasSuffix(sources[0], " "+suite+" main") {
		return nil, fmt.Errorf("no package source of Debian %s is configured on this machine (run apt-get update once)", suite)
	}
	return sources, nil
}

// prepareChroot gives the new system this machine's way to the packages, and tells dpkg what is not wanted.
// customize takes both out again.
func (b *builder) prepareChroot(ctx context.Context, sources []string) error {
	dump, err := exec.CommandContext(ctx, "apt-config", "dump").Output()
	if err != nil {
		return fmt.Errorf("read the apt configuration of this machine: %w", err)
	}
	var acquire strings.Builder
	for _, line := range strings.Split(string(dump), "\n") {
		if strings.HasPrefix(line, "Acquire::") && !strings.Contains(line, ":: \"") {
			acquire.WriteString(line + "\n")
		}
	}
	resolv, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return fmt.Errorf("read the resolver configuration of this machine: %w", err)
	}
	const dpkg = "force-unsafe-io\npath-exclude=/usr/share/doc/*\npath-include=/usr/share/doc/*/copyright\n" +
		"path-exclude=/usr/share/man/*\npath-exclude=/usr/share/locale/*\npath-exclude=/usr/share/info/*\n"
	for name, content := range map[string]string{
		"etc/apt/sources.list":               strings.Join(sources, "\n") + "\n",
		"etc/apt/apt.conf.d/00slipway-build": acquire.String(),
		"etc/dpkg/dpkg.cfg.d/slipway-build":  dpkg,
		"etc/resolv.conf":                    string(resolv),
	} {
		if err := b.write(name, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// customize lays our files over the packages' and cleans up. What is for the boot loader moves to the work directory.
func (b *builder) customize(ctx context.Context) error {
	if err := b.run(ctx, "mv", filepath.Join(b.root, "payload"), b.work); err != nil {
		return err
	}
	modules := filepath.Join(b.root, "usr/lib/modules")
	if err := os.RemoveAll(modules); err != nil {
		return err
	}
	if err := b.run(ctx, "cp", "-a", filepath.Join(b.work, "payload/kernel/lib/modules"), modules); err != nil {
		return err
	}
	version, err := b.kernelVersion()
	if err != nil {
		return err
	}
	if err := b.chroot(ctx, "depmod", version); err != nil {
		return err
	}
	if err := b.requireModules(version); err != nil {
		return err
	}
	if err := b.run(ctx, "cp", "-r", "--no-preserve=all", b.recipe("rootfs")+"/.", b.root); err != nil {
		return err
	}
	for _, name := range []string{"customize", "unwanted-units.txt"} {
		if err := b.copyInto(name, "tmp/"+name); err != nil {
			return err
		}
	}
	return b.chroot(ctx, "/tmp/customize")
}

func (b *builder) kernelVersion() (string, error) {
	dirs, err := filepath.Glob(filepath.Join(b.work, "payload/kernel/lib/modules/*"))
	if err != nil || len(dirs) != 1 {
		return "", fmt.Errorf("find the modules of one kernel in %s: found %d", b.opts.kernel, len(dirs))
	}
	return filepath.Base(dirs[0]), nil
}

func (b *builder) requireModules(version string) error {
	names, err := b.list("required-modules.txt")
	if err != nil {
		return err
	}
	var have strings.Builder
	for _, file := range []string{"modules.dep", "modules.builtin"} {
		data, err := os.ReadFile(filepath.Join(b.root, "usr/lib/modules", version, file))
		if err != nil {
			return err
		}
		have.WriteString("\n" + string(data))
	}
	for _, name := range names {
		if !strings.Contains(have.String(), "/"+name+".ko") {
			return fmt.Errorf("the kernel of %s lacks the module %s", b.opts.kernel, name)
		}
	}
	return nil
}

func (b *builder) squash(ctx context.Context) error {
	err := b.run(ctx, "mksquashfs", b.root, filepath.Join(b.out, "rootfs.img"), "-noappend", "-quiet", "-no-progress",
		"-comp", "zstd", "-Xcompression-level", "9", "-b", "256K", "-xattrs")
	if err != nil {
		return err
	}
	kernels, err := filepath.Glob(filepath.Join(b.work, "payload/kernel/boot/vmlinuz-*"))
	if err != nil || len(kernels) != 1 {
		return fmt.Errorf("find the one kernel of %s: found %d", b.opts.kernel, len(kernels))
	}
	return b.run(ctx, "install", "-m", "0644", kernels[0], filepath.Join(b.out, "kernel"))
}

// list reads a file of names: one per line, # starts a comment.
func (b *builder) list(name string) ([]string, error) {
	data, err := os.ReadFile(b.recipe(name))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, line := range strings.Split(string(data), "\n") {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line != "" {
			names = append(names, line)
		}
	}
	return names, nil
}

func (b *builder) write(name, content string, mode os.FileMode) error {
	path := filepath.Join(b.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	os.Remove(path)
	return os.WriteFile(path, []byte(content), mode)
}

func (b *builder) copyInto(recipe, name string) error {
	data, err := os.ReadFile(b.recipe(recipe))
	if err != nil {
		return err
	}
	return b.write(name, string(data), 0o755)
}
