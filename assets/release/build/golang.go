package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// goEnvironment fixes what would otherwise leak from the builder's machine into the binaries.
func goEnvironment() []string {
	return append(os.Environ(),
		"CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1",
		"GOFLAGS=-mod=readonly", "GOEXPERIMENT=", "GOWORK=off", "GOTOOLCHAIN=local")
}

// build compiles the component's programs into dir/<base name of the path in the image>.
func (c component) build(ctx context.Context, source, dir string) error {
	for _, p := range c.Programs {
		flags := append([]string{"-s", "-w"}, c.LDFlags...)
		args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", strings.Join(flags, " ")}
		if c.Tags != "" {
			args = append(args, "-tags", c.Tags)
		}
		args = append(args, "-o", filepath.Join(dir, filepath.Base(p.Path)), p.Package)
		if _, err := goOutput(ctx, filepath.Join(source, c.Module), args...); err != nil {
			return fmt.Errorf("build %s: %w", p.Path, err)
		}
	}
	return nil
}

// goOutput runs the go tool; its complaint becomes the error's text.
func goOutput(ctx context.Context, dir string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = goEnvironment()
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go %s in %s: %w\n%s", args[0], dir, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSpace(stdout.String()), nil
}
