// Command build collects the boot loaders of all architectures from Debian packages.
//
// The result is cached by a hash of the recipe; its directory is the only line on stdout.
package main

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/slipway-io/slipway/assets/debian"
)

// loader is a file of a package and its name in the result.
type loader struct{ name, pkg, file string }

func loaders() []loader {
	return []loader{
		{"undionly.kpxe", "ipxe", "usr/lib/ipxe/undionly.kpxe"},
		{"snponly.efi", "ipxe", "usr/lib/ipxe/snponly.efi"},
		{"shimx64.efi", "shim-signed:amd64", "usr/lib/shim/shimx64.efi.signed"},
		{"grubx64.efi", "grub-efi-amd64-signed:amd64", "usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed"},
		{"grubaa64.efi", "grub-efi-arm64-signed:arm64", "usr/lib/grub/arm64-efi-signed/grubnetaa64.efi.signed"},
	}
}

// power is GRUB for Open Firmware, which Debian does not ship as a file for network boots.
const (
	powerModules = "usr/lib/grub/powerpc-ieee1275"
	powerPackage = "grub-ieee1275-bin:ppc64el"
)

// early is what GRUB for Power does before anything else.
//
//go:embed early.cfg
var early []byte

// modules.txt names what GRUB for Power has inside.
//
//go:embed modules.txt
var modules string

func main() {
	cache := flag.String("cache", "", "cache directory (default: slipway in the user's cache directory)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	dir, err := run(ctx, *cache)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "loaders:", err)
		os.Exit(1)
	}
	fmt.Println(dir)
}

func run(ctx context.Context, cache string) (string, error) {
	if cache == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find the cache directory: %w", err)
		}
		cache = filepath.Join(base, "slipway")
	}
	sum := sha256.Sum256(fmt.Append(nil, debian.Suite, loaders(), powerPackage, string(early), modules))
	dir := filepath.Join(cache, "loaders-"+hex.EncodeToString(sum[:8]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("make cache directory: %w", err)
	}
	work, err := os.MkdirTemp(cache, "loaders.work-")
	if err != nil {
		return "", fmt.Errorf("make work directory: %w", err)
	}
	defer os.RemoveAll(work)
	out := filepath.Join(work, "out")
	if err := collect(ctx, work, out); err != nil {
		return "", err
	}
	if err := os.Rename(out, dir); err != nil {
		if _, found := os.Stat(dir); found == nil {
			return dir, nil // another run was first
		}
		return "", fmt.Errorf("keep loaders: %w", err)
	}
	return dir, nil
}

func collect(ctx context.Context, work, out string) error {
	packages, err := debian.Open(ctx, filepath.Join(work, "apt"), "amd64", "arm64", "ppc64el")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return fmt.Errorf("make directory of loaders: %w", err)
	}
	unpacked := map[string]bool{}
	for _, l := range loaders() {
		var names []string
		if !unpacked[l.pkg] {
			names, unpacked[l.pkg] = []string{l.pkg}, true
		}
		tree, err := packages.Unpack(ctx, names...)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(filepath.Join(tree, l.pkg, l.file))
		if err != nil {
			return fmt.Errorf("take %s from %s: %w", l.name, l.pkg, err)
		}
		if err := os.WriteFile(filepath.Join(out, l.name), data, 0o644); err != nil {
			return fmt.Errorf("write %s: %w", l.name, err)
		}
	}
	tree, err := packages.Unpack(ctx, powerPackage)
	if err != nil {
		return err
	}
	return power(ctx, filepath.Join(tree, powerPackage, powerModules), work, filepath.Join(out, "core.elf"))
}

// power links GRUB with its modules and the early configuration.
func power(ctx context.Context, from, work, to string) error {
	config := filepath.Join(work, "early.cfg")
	if err := os.WriteFile(config, early, 0o644); err != nil {
		return fmt.Errorf("write early configuration: %w", err)
	}
	args := []string{"-O", "powerpc-ieee1275", "-d", from, "-p", "/grub", "-c", config, "-o", to}
	cmd := exec.CommandContext(ctx, "grub-mkimage", append(args, strings.Fields(modules)...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make core.elf (needs grub-common): %w: %s", err, out)
	}
	return nil
}
