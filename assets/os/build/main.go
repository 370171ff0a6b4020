// Command build makes the machine OS from Debian packages and the real ignition: kernel, initramfs, root file
// system for live boots, and the image that goes onto disks.
//
// The result is cached by a hash of the recipe; its directory is the only line on stdout.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// isolated marks the process that runs inside its own mount and PID namespace.
const isolated = "SLIPWAY_OS_BUILD_ISOLATED"

type options struct {
	recipe string
	cache  string
	kernel string
}

func main() {
	opts := options{}
	flag.StringVar(&opts.recipe, "recipe", "", "directory of the recipe (default: assets/os of the enclosing module)")
	flag.StringVar(&opts.cache, "cache", "", "cache directory (default: slipway in the user's cache directory)")
	flag.StringVar(&opts.kernel, "kernel", "linux-image-cloud-amd64", "Debian package of the kernel; linux-image-amd64 has the drivers of real machines")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, opts); err != nil {
		fmt.Fprintln(os.Stderr, "os:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, opts options) error {
	if err := opts.complete(ctx); err != nil {
		return err
	}
	hash, err := hashRecipe(opts)
	if err != nil {
		return err
	}
	dir := filepath.Join(opts.cache, "os-"+hash)
	if os.Getenv(isolated) != "" {
		return buildInto(ctx, opts, hash, dir)
	}
	if _, err := os.Stat(filepath.Join(dir, "os.json")); err != nil {
		if err := isolate(ctx); err != nil {
			return err
		}
	}
	fmt.Println(dir)
	return nil
}

func (o *options) complete(ctx context.Context) error {
	if o.recipe == "" {
		out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
		if err != nil {
			return fmt.Errorf("find the module of the recipe: %w", err)
		}
		o.recipe = filepath.Join(strings.TrimSpace(string(out)), "assets", "os")
	}
	if o.cache == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return fmt.Errorf("find the cache directory: %w", err)
		}
		o.cache = filepath.Join(base, "slipway")
	}
	return os.MkdirAll(o.cache, 0o755)
}

// isolate runs this program again in a mount and a PID namespace of its own: however it ends, no mount and no
// process is left.
func isolate(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("needs root, to unpack packages with their owners")
	}
	runtime.LockOSThread() // the parent-death signal is bound to the thread that starts the child
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), isolated+"=1")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   syscall.CLONE_NEWPID,
		Unshareflags: syscall.CLONE_NEWNS,
		Pdeathsig:    syscall.SIGKILL,
	}
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		return fmt.Errorf("build in a namespace of its own: %w", err)
	}
	return nil
}

func buildInto(ctx context.Context, opts options, hash, dir string) error {
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	lock, err := lockFile(filepath.Join(opts.cache, "os.lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	if _, err := os.Stat(filepath.Join(dir, "os.json")); err == nil {
		return nil // built by another process while this one waited for the lock
	}
	b, err := newBuilder(opts, hash)
	if err != nil {
		return err
	}
	defer b.close()
	if err := b.build(ctx); err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Rename(b.out, dir)
}

func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}
