package site

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// DirEnv tells the process inside where the site's files go.
const DirEnv = "SLIPWAY_SITE_DIR"

// The Makefile says where binaries, release, machine OS, those of other architectures and loaders are.
const (
	binEnv      = "SLIPWAY_E2E_BIN"
	releaseEnv  = "SLIPWAY_E2E_RELEASE"
	osEnv       = "SLIPWAY_E2E_OS"
	osImagesEnv = "SLIPWAY_E2E_OS_IMAGES"
	loadersEnv  = "SLIPWAY_E2E_LOADERS"
)

// Dir is the directory that Main made.
func Dir() string { return os.Getenv(DirEnv) }

// Under is the configuration of a site under test, of what the Makefile built.
func Under() Config {
	return Config{
		Dir:      Dir(),
		Slipway:  filepath.Join(os.Getenv(binEnv), "slipway"),
		Release:  os.Getenv(releaseEnv),
		OS:       os.Getenv(osEnv),
		OSImages: strings.Fields(os.Getenv(osImagesEnv)),
		Loaders:  os.Getenv(loadersEnv),
	}
}

// Main runs tests in the namespaces of a site, checks that nothing of the site is left, and returns the exit code.
// The files of a site whose tests failed are kept, and it says where.
func Main(tests func() int) int {
	code, err := 1, error(nil)
	switch {
	case Inside():
		return tests()
	case Outside():
		code, err = outside()
	default:
		code, err = Enter(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "site:", err)
	}
	return code
}

func outside() (int, error) {
	dir, err := os.MkdirTemp("", "slipway-e2e-")
	if err != nil {
		return 1, err
	}
	// What another user must not read is guarded by the state directory itself, not by what is around it.
	if err := errors.Join(os.Chmod(dir, 0o755), os.Setenv(DirEnv, dir)); err != nil {
		return 1, err
	}
	before, err := snapshot()
	if err != nil {
		return 1, err
	}
	code, err := Enter(context.Background())
	if err != nil {
		return 1, err
	}
	after, err := snapshot()
	if err != nil {
		return 1, err
	}
	if left := before.missing(after, dir); len(left) > 0 {
		return 1, fmt.Errorf("left behind: %v", left)
	}
	if code != 0 {
		fmt.Fprintf(os.Stderr, "site: its files are kept in %s\n", dir)
		return code, nil
	}
	return 0, os.RemoveAll(dir)
}
