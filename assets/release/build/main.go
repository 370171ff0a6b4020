// Command build makes the release: it builds Kubernetes and its companions from Go modules and packs them as an OCI layout directory.
//
//	go run ./assets/release/build [-out PATH] [-cache=false]
//
// The result is kept in the user's cache folder under the hash of its inputs. Progress goes to standard error, the directory to standard output.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/slipway-io/slipway/assets/release/pack"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var b builder
	flag.StringVar(&b.source, "source", filepath.Join("assets", "release"), "folder with the release's Go modules")
	flag.StringVar(&b.out, "out", "", "make this path a symbolic link to the result")
	flag.BoolVar(&b.cache, "cache", true, "reuse a result of the same inputs")
	flag.Parse()
	b.progress = os.Stderr
	b.start = time.Now()
	dir, err := b.run(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		stop()
		os.Exit(1)
	}
	fmt.Println(dir)
}

type builder struct {
	source, out string
	cache       bool
	progress    io.Writer
	start       time.Time
}

func (b builder) run(ctx context.Context) (string, error) {
	hash, err := inputsHash(ctx, b.source)
	if err != nil {
		return "", err
	}
	root, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find cache folder: %w", err)
	}
	dir := filepath.Join(root, "slipway", "release-"+hash)
	_, err = os.Stat(filepath.Join(dir, "index.json"))
	switch {
	case err == nil && b.cache:
		b.say("release %s: taken from the cache", version)
	case err == nil || errors.Is(err, fs.ErrNotExist):
		if err := b.replace(ctx, dir); err != nil {
			return "", err
		}
	default:
		return "", fmt.Errorf("look into cache: %w", err)
	}
	return dir, link(dir, b.out)
}

// replace builds in a folder beside dir and then puts it in dir's place, so that dir is whole at any moment.
func (b builder) replace(ctx context.Context, dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("create cache: %w", err)
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), ".release-")
	if err != nil {
		return fmt.Errorf("create work folder: %w", err)
	}
	defer os.RemoveAll(work)
	made := filepath.Join(work, "layout")
	if err := b.make(ctx, made, filepath.Join(work, "bin")); err != nil {
		return err
	}
	if !b.cache {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("replace result: %w", err)
		}
	}
	err = os.Rename(made, dir)
	if errors.Is(err, fs.ErrExist) { // another builder of the same inputs was first: its result is as good
		err = nil
	}
	if err != nil {
		return fmt.Errorf("name result: %w", err)
	}
	b.say("release %s: done", version)
	return nil
}

// make builds the programs into bin and packs them into a new layout.
func (b builder) make(ctx context.Context, dir, bin string) error {
	layout, err := pack.New(dir)
	if err != nil {
		return err
	}
	var contents []pack.Component
	all := components()
	for i, c := range all {
		b.say("[%d/%d] %s %s: building", i+1, len(all), c.Name, c.Version)
		folder := filepath.Join(bin, c.Name)
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return fmt.Errorf("create folder: %w", err)
		}
		if err := c.build(ctx, b.source, folder); err != nil {
			return err
		}
		b.say("[%d/%d] %s %s: packing", i+1, len(all), c.Name, c.Version)
		image, err := layout.Add(c.image(func(p program) string { return filepath.Join(folder, filepath.Base(p.Path)) }), version)
		if err != nil {
			return err
		}
		contents = append(contents, pack.Component{Name: c.Name, Version: c.Version, Digest: image.Digest})
	}
	release, err := layout.AddRelease(version, contents)
	if err != nil {
		return err
	}
	b.say("release %s: %s", version, release.Digest)
	return layout.Close()
}

func (b builder) say(format string, args ...any) {
	fmt.Fprintf(b.progress, "%6.1fs  %s\n", time.Since(b.start).Seconds(), fmt.Sprintf(format, args...))
}

// link makes path a symbolic link to dir; a path that is something else is left alone and refused.
func link(dir, path string) error {
	if path == "" {
		return nil
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSymlink {
		return fmt.Errorf("link result: %s exists and is no symbolic link", path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("link result: %w", err)
	}
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("link result: %w", err)
	}
	if err := os.Symlink(dir, fresh); err != nil {
		return fmt.Errorf("link result: %w", err)
	}
	if err := os.Rename(fresh, path); err != nil {
		return fmt.Errorf("link result: %w", err)
	}
	return nil
}
