// Command release makes the programs of a release runnable for integration tests: one directory with links to all of them, and images/ with links to the unpacked images.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/slipway-io/slipway/mirror/registry"
	"github.com/slipway-io/slipway/mirror/release"
)

func main() {
	layout := flag.String("layout", "", "OCI layout directory of the release")
	to := flag.String("to", "", "directory that takes the links and what they point to")
	flag.Parse()
	if err := unpack(context.Background(), *layout, *to); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func unpack(ctx context.Context, layout, to string) (err error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	site, err := registry.Open(registry.Config{Dir: filepath.Join(to, "registry"), Log: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.Close()) }()
	releases, err := release.Import(ctx, layout, site, log)
	if err != nil {
		return err
	}
	store := release.New(site, filepath.Join(to, "content"), log)
	for _, component := range []string{"etcd", "kubernetes", "containerd"} {
		image, err := releases[len(releases)-1].Image(component)
		if err != nil {
			return err
		}
		dir, err := store.Unpack(ctx, image)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Join(to, "images"), 0o755); err != nil {
			return fmt.Errorf("make directory of images: %w", err)
		}
		if err := os.Symlink(dir, filepath.Join(to, "images", component)); err != nil {
			return fmt.Errorf("link %s: %w", component, err)
		}
		programs, err := filepath.Glob(filepath.Join(dir, "usr", "bin", "*"))
		if err != nil {
			return fmt.Errorf("list programs of %s: %w", component, err)
		}
		for _, program := range programs {
			if err := os.Symlink(program, filepath.Join(to, filepath.Base(program))); err != nil {
				return fmt.Errorf("link %s: %w", filepath.Base(program), err)
			}
		}
	}
	return nil
}
