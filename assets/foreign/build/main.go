// Command build makes a small live system for each of Arm, Power and IBM Z: Debian's kernel, a static busybox and a program
// that does what a discovery configuration says. Its hosts register; there is no disk image to install.
//
// The results are cached by a hash of the recipe; their directories are the lines on stdout.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/slipway-io/slipway/assets/debian"
)

// architecture is one in the words of the machine OS, Debian and Go.
type architecture struct {
	name, debian, goarch string
	kernel               string // metapackage
	image                string // begin of the kernel's file name
}

func architectures() []architecture {
	return []architecture{
		{"aarch64", "arm64", "arm64", "linux-image-cloud-arm64", "vmlinuz-"},
		{"ppc64le", "ppc64el", "ppc64le", "linux-image-powerpc64le", "vmlinux-"},
		{"s390x", "s390x", "s390x", "linux-image-s390x", "vmlinuz-"},
	}
}

func main() {
	cache := flag.String("cache", "", "cache directory (default: slipway in the user's cache directory)")
	only := flag.String("arch", "", "aarch64, ppc64le or s390x (default: all)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *cache, *only)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "foreign:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, cache, only string) error {
	recipe, err := recipeDir(ctx)
	if err != nil {
		return err
	}
	if cache == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("find the cache directory: %w", err)
		}
		cache = filepath.Join(base, "slipway")
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return fmt.Errorf("make cache directory: %w", err)
	}
	hash, err := hashRecipe(recipe)
	if err != nil {
		return err
	}
	lock, err := lockFile(filepath.Join(cache, "foreign.lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	var dirs []string
	for _, arch := range architectures() {
		if only != "" && only != arch.name {
			continue
		}
		dir := filepath.Join(cache, "foreign-"+arch.name+"-"+hash)
		if _, err := os.Stat(filepath.Join(dir, "os.json")); err != nil {
			if err := buildInto(ctx, cache, recipe, dir, hash, arch); err != nil {
				return fmt.Errorf("%s: %w", arch.name, err)
			}
		}
		dirs = append(dirs, dir)
	}
	if len(dirs) == 0 {
		return fmt.Errorf("-arch %q is none of aarch64, ppc64le, s390x", only)
	}
	fmt.Println(strings.Join(dirs, "\n"))
	return nil
}

func recipeDir(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find the module of the recipe: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "assets", "foreign"), nil
}

// hashRecipe covers every file but tests and texts.
func hashRecipe(recipe string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, debian.Suite)
	err := filepath.WalkDir(recipe, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, ".md") {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fmt.Fprintln(h, strings.TrimPrefix(path, recipe), len(data))
		_, err = h.Write(data)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("hash the recipe: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

func buildInto(ctx context.Context, cache, recipe, dir, hash string, arch architecture) error {
	work, err := os.MkdirTemp(cache, "foreign.work-")
	if err != nil {
		return fmt.Errorf("make work directory: %w", err)
	}
	defer os.RemoveAll(work)
	b := &builder{recipe: recipe, work: work, tree: filepath.Join(work, "tree"), out: filepath.Join(work, "out"), hash: hash, arch: arch}
	if err := b.build(ctx); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove an unfinished result: %w", err)
	}
	return os.Rename(b.out, dir)
}
