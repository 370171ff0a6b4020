package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"syscall"
)

// programs compiles what is not a Debian package: ignition, and our own helper of the first boot.
func (b *builder) programs(ctx context.Context) error {
	const pkg = "github.com/coreos/ignition/v2/internal"
	bin := filepath.Join(b.work, "bin")
	cmd := exec.CommandContext(ctx, "go", "install", "-trimpath", "-ldflags",
		"-s -w -X "+pkg+"/version.Raw="+ignitionVersion+" -X "+pkg+"/distro.selinuxRelabel=false", pkg+"@"+ignitionVersion)
	cmd.Env = append(os.Environ(), "GOBIN="+bin, "CGO_ENABLED=1", "GOFLAGS=")
	if err := b.runCmd(cmd); err != nil {
		return err
	}
	cmd = exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", filepath.Join(bin, "firstboot"), ".")
	cmd.Dir = b.recipe("firstboot")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	return b.runCmd(cmd)
}

// initramfs packs busybox, the kernel modules of disks and networks, ignition and our scripts, together with the
// digest of the one root file system that fits.
func (b *builder) initramfs(ctx context.Context) error {
	tree := filepath.Join(b.work, "initramfs")
	for _, dir := range []string{"dev", "etc/ssl/certs", "proc", "run", "sys", "sysroot", "tmp", "usr/bin", "usr/lib64", "usr/lib/slipway", "var"} {
		if err := os.MkdirAll(filepath.Join(tree, dir), 0o755); err != nil {
			return err
		}
	}
	for link, target := range map[string]string{
		"bin": "usr/bin", "sbin": "usr/bin", "usr/sbin": "bin", "lib": "usr/lib", "lib64": "usr/lib64", "var/run": "../run", "etc/mtab": "../proc/mounts",
	} {
		if err := os.Symlink(target, filepath.Join(tree, link)); err != nil {
			return err
		}
	}
	for _, fill := range []func(context.Context, string) error{b.initBusybox, b.initPrograms, b.initModules, b.initFiles} {
		if err := fill(ctx, tree); err != nil {
			return err
		}
	}
	return b.initPack(ctx, tree)
}

func (b *builder) initBusybox(ctx context.Context, tree string) error {
	busybox := filepath.Join(tree, "usr/bin/busybox")
	if err := b.run(ctx, "install", "-m", "0755", filepath.Join(b.work, "payload/busybox/bin/busybox"), busybox); err != nil {
		return err
	}
	applets, err := exec.CommandContext(ctx, busybox, "--list").Output()
	if err != nil {
		return fmt.Errorf("list the applets of busybox: %w", err)
	}
	for _, applet := range strings.Fields(string(applets)) {
		if applet == "busybox" {
			continue
		}
		if err := os.Symlink("busybox", filepath.Join(tree, "usr/bin", applet)); err != nil {
			return err
		}
	}
	return nil
}

// initPrograms copies programs with the libraries that the target system's own loader names for them.
func (b *builder) initPrograms(ctx context.Context, tree string) error {
	programs, err := b.list("initramfs-programs.txt")
	if err != nil {
		return err
	}
	temp := filepath.Join(b.root, "tmp/ignition")
	if err := b.run(ctx, "install", "-m", "0755", filepath.Join(b.work, "bin/internal"), temp); err != nil {
		return err
	}
	defer os.Remove(temp)
	libraries := map[string]bool{}
	for _, program := range append(programs, "/tmp/ignition") {
		out, err := exec.CommandContext(ctx, "chroot", b.root, "ldd", program).Output()
		if err != nil {
			return fmt.Errorf("list the libraries of %s: %w", program, err)
		}
		for _, path := range libraryPath.FindAllString(string(out), -1) {
			libraries[path] = true
		}
		if err := b.install(ctx, program, filepath.Join(tree, "usr/bin", filepath.Base(program))); err != nil {
			return err
		}
	}
	for path := range libraries {
		if err := b.install(ctx, path, filepath.Join(tree, path)); err != nil {
			return err
		}
	}
	return b.run(ctx, "install", "-m", "0755", filepath.Join(b.work, "bin/firstboot"), filepath.Join(tree, "usr/bin/firstboot"))
}

var libraryPath = regexp.MustCompile(`/(usr/)?lib[^\s:]*`)

// install copies a file of the target system, following links.
func (b *builder) install(ctx context.Context, path, to string) error {
	os.Remove(to) // a busybox applet of that name
	return b.run(ctx, "install", "-D", "-m", "0755", filepath.Join(b.root, path), to)
}

// initModules copies the chosen modules and what they depend on.
func (b *builder) initModules(ctx context.Context, tree string) error {
	version, err := b.kernelVersion()
	if err != nil {
		return err
	}
	chosen, err := b.list("modules.txt")
	if err != nil {
		return err
	}
	from := filepath.Join(b.root, "usr/lib/modules", version)
	depends, err := readDepends(filepath.Join(from, "modules.dep"))
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for module, needs := range depends {
		for _, prefix := range chosen {
			if path := "kernel/" + prefix; module == path || strings.HasPrefix(module, path+"/") {
				wanted[module] = true
				for _, need := range needs {
					wanted[need] = true
				}
			}
		}
	}
	to := filepath.Join(tree, "usr/lib/modules", version)
	files := []string{"modules.order", "modules.builtin", "modules.builtin.modinfo"}
	for module := range wanted {
		files = append(files, module)
	}
	sort.Strings(files)
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "cp", append([]string{"--parents", "--no-preserve=all", "-t", to}, files...)...)
	cmd.Dir = from
	if err := b.runCmd(cmd); err != nil {
		return err
	}
	return b.depmod(ctx, tree, version)
}

// depmod indexes the modules of a tree with the target system's program.
func (b *builder) depmod(ctx context.Context, tree, version string) error {
	mnt := filepath.Join(b.root, "mnt")
	if err := syscall.Mount(tree, mnt, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", tree, err)
	}
	defer syscall.Unmount(mnt, syscall.MNT_DETACH)
	return b.chroot(ctx, "depmod", "-b", "/mnt", version)
}

func readDepends(path string) (map[string][]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	depends := map[string][]string{}
	for _, line := range strings.Split(string(data), "\n") {
		if module, needs, ok := strings.Cut(line, ":"); ok {
			depends[module] = strings.Fields(needs)
		}
	}
	return depends, nil
}

func (b *builder) initFiles(ctx context.Context, tree string) error {
	if err := b.run(ctx, "install", "-m", "0755", b.recipe("initramfs/init"), filepath.Join(tree, "init")); err != nil {
		return err
	}
	for _, name := range []string{"common.sh", "live.sh", "installed.sh", "network.sh", "static.sh", "dhcp-event", "in-sysroot", "kargs-helper"} {
		if err := b.run(ctx, "install", "-m", "0755", b.recipe("initramfs/"+name), filepath.Join(tree, "usr/lib/slipway", name)); err != nil {
			return err
		}
	}
	// ignition calls these to change the system that it provisions, and they exist there.
	for _, name := range []string{"useradd", "usermod", "userdel", "groupadd", "groupdel", "systemctl"} {
		if err := os.Symlink("../lib/slipway/in-sysroot", filepath.Join(tree, "usr/bin", name)); err != nil {
			return err
		}
	}
	if err := os.Symlink("../lib/slipway/kargs-helper", filepath.Join(tree, "usr/bin/ignition-kargs-helper")); err != nil {
		return err
	}
	digest, _, err := digestFile(filepath.Join(b.out, "rootfs.img"))
	if err != nil {
		return err
	}
	for name, content := range map[string]string{
		"etc/slipway-rootfs.sha256": digest + "\n",
		"etc/passwd":                "root:x:0:0:root:/:/bin/sh\n",
		"etc/group":                 "root:x:0:\n",
		"etc/hosts":                 "127.0.0.1 localhost\n::1 localhost\n",
		"etc/nsswitch.conf":         "passwd: files\ngroup: files\nhosts: files dns\n",
	} {
		if err := os.WriteFile(filepath.Join(tree, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	const bundle = "etc/ssl/certs/ca-certificates.crt"
	return b.run(ctx, "install", "-m", "0644", filepath.Join(b.root, bundle), filepath.Join(tree, bundle))
}

// initPack writes the archive in a fixed order with fixed times, and fills it up to 4 bytes: what is appended to
// an initramfs has to start there.
func (b *builder) initPack(ctx context.Context, tree string) error {
	const script = `cd "$1" && find . -exec touch -hd "@$SOURCE_DATE_EPOCH" {} + &&
find . -print0 | sort -z | cpio --quiet --null -o -H newc -R 0:0 --reproducible | zstd -q -T0 -12 -o "$2"`
	img := filepath.Join(b.out, "initrd.img")
	if err := b.run(ctx, "sh", "-c", script, "sh", tree, img); err != nil {
		return err
	}
	info, err := os.Stat(img)
	if err != nil {
		return err
	}
	return os.Truncate(img, (info.Size()+3)/4*4)
}
