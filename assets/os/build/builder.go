package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	ignitionVersion = "v2.24.0"
	suite           = "bookworm"
	// epoch is the time stamp of what the build itself writes.
	epoch = "1735689600"
)

// builder holds the directories of one build. Work is thrown away at the end, out becomes the result.
type builder struct {
	opts  options
	hash  string
	work  string
	root  string
	out   string
	start time.Time

	mu  sync.Mutex
	log *os.File
}

func newBuilder(opts options, hash string) (*builder, error) {
	if err := checkTools(); err != nil {
		return nil, err
	}
	work := filepath.Join(opts.cache, "os.work")
	if err := os.RemoveAll(work); err != nil {
		return nil, fmt.Errorf("remove an unfinished build: %w", err)
	}
	b := &builder{opts: opts, hash: hash, work: work, start: time.Now(),
		root: filepath.Join(work, "root"), out: filepath.Join(work, "out")}
	for _, dir := range []string{b.root, b.out} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	log, err := os.Create(filepath.Join(opts.cache, "os-build.log"))
	b.log = log
	return b, err
}

func (b *builder) close() {
	b.log.Close()
	os.RemoveAll(b.work)
}

func (b *builder) build(ctx context.Context) error {
	// The compiler has one core busy while dpkg has the other.
	programs := make(chan error, 1)
	programsCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		programs <- b.step("compile ignition "+ignitionVersion, func() error { return b.programs(programsCtx) })
	}()

	if err := b.step("install Debian "+suite, func() error { return b.base(ctx) }); err != nil {
		return err
	}
	if err := b.step("customise the system", func() error { return b.customize(ctx) }); err != nil {
		return err
	}
	if err := <-programs; err != nil {
		return err
	}
	steps := []struct {
		name string
		do   func(context.Context) error
	}{
		{"pack rootfs.img", b.squash},
		{"pack initrd.img", b.initramfs},
		{"make disk.img.zst", b.disk},
		{"make live.iso", b.liveISO},
		{"write os.json", b.manifest},
	}
	for _, s := range steps {
		if err := b.step(s.name, func() error { return s.do(ctx) }); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) step(name string, do func() error) error {
	start := time.Now()
	fmt.Fprintf(os.Stderr, "os: %5.0fs  %s\n", time.Since(b.start).Seconds(), name)
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	fmt.Fprintf(os.Stderr, "os: %5.0fs  %s: done in %.0f s\n", time.Since(b.start).Seconds(), name, time.Since(start).Seconds())
	return nil
}

// run runs a program; its output goes to the log, and the end of it into the error.
func (b *builder) run(ctx context.Context, name string, args ...string) error {
	return b.runCmd(exec.CommandContext(ctx, name, args...))
}

func (b *builder) runCmd(cmd *exec.Cmd) error {
	var out bytes.Buffer
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, "SOURCE_DATE_EPOCH="+epoch, "E2FSPROGS_FAKE_TIME="+epoch, "LC_ALL=C", "TZ=UTC")
	cmd.Stderr = &out
	if cmd.Stdout == nil {
		cmd.Stdout = &out
	}
	err := cmd.Run()
	b.mu.Lock()
	defer b.mu.Unlock()
	fmt.Fprintf(b.log, "\n+ %s\n%s", strings.Join(cmd.Args, " "), out.Bytes())
	if err != nil {
		text := out.String()
		return fmt.Errorf("run %s: %w\n%s\n(all output: %s)", cmd.Args[0], err, text[max(0, len(text)-2000):], b.log.Name())
	}
	return nil
}

func (b *builder) chroot(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "chroot", append([]string{b.root}, args...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/"}
	return b.runCmd(cmd)
}

// checkTools names everything that is missing at once, with the package it comes from.
func checkTools() error {
	var missing []string
	for tool, pkg := range map[string]string{
		"debootstrap": "debootstrap", "mksquashfs": "squashfs-tools", "mkfs.vfat": "dosfstools", "mcopy": "mtools",
		"sgdisk": "gdisk", "grub-mkimage": "grub-common", "cpio": "cpio", "zstd": "zstd", "mkfs.ext4": "e2fsprogs",
		"gcc": "gcc", "tar": "tar", "xorriso": "xorriso",
	} {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, pkg)
		}
	}
	for file, pkg := range map[string]string{
		grubBIOS + "/boot.img": "grub-pc-bin", grubEFI + "/normal.mod": "grub-efi-amd64-bin",
		"/usr/include/blkid/blkid.h": "libblkid-dev", isolinuxBinary: "isolinux", isolinuxCore: "syslinux-common",
		shimSigned: "shim-signed", grubSigned: "grub-efi-amd64-signed",
	} {
		if _, err := os.Stat(file); err != nil {
			missing = append(missing, pkg)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("needs the Debian packages %s", strings.Join(missing, " "))
	}
	return nil
}

// hashRecipe is the identity of a build: every file of the recipe, except tests and texts, and what the command
// line chooses.
func hashRecipe(opts options) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, ignitionVersion, opts.kernel)
	err := filepath.WalkDir(opts.recipe, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, ".md") {
			return err
		}
		return hashFile(h, path, strings.TrimPrefix(path, opts.recipe))
	})
	if err != nil {
		return "", fmt.Errorf("hash the recipe: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

func hashFile(w io.Writer, path, name string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	fmt.Fprintln(w, name, info.Mode(), info.Size())
	_, err = io.Copy(w, f)
	return err
}
