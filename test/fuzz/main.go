// Command fuzz runs every fuzz target of the module, two at a time: parsers of what strangers send for longer than the rest.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// strangers are the parsers that anybody on the network, or with a file in hand, can reach.
var strangers = []string{"FuzzDHCPv4", "FuzzDHCPv6", "FuzzRequest", "FuzzISO", "FuzzNMState"}

// target is one fuzz function and its package's directory.
type target struct{ name, dir string }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	long := flag.Duration("long", 30*time.Second, "for each parser of what strangers send")
	short := flag.Duration("short", 3*time.Second, "for each other target")
	flag.Parse()
	if err := run(ctx, *long, *short); err != nil {
		fmt.Fprintln(os.Stderr, "fuzz:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, long, short time.Duration) error {
	targets, err := find(".")
	if err != nil {
		return err
	}
	for _, name := range strangers {
		if !slices.ContainsFunc(targets, func(t target) bool { return t.name == name }) {
			return fmt.Errorf("there is no target %s any more", name)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2)
	for _, t := range targets {
		duration := short
		if slices.Contains(strangers, t.name) {
			duration = long
		}
		group.Go(func() error { return t.fuzz(ctx, duration) })
	}
	return group.Wait()
}

var declaration = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(f \*testing\.F\)`)

// find lists the targets below root, those of other modules left out.
func find(root string) (targets []target, err error) {
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && path != root {
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil || strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata" {
				return fs.SkipDir
			}
		}
		if entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, match := range declaration.FindAllSubmatch(text, -1) {
			targets = append(targets, target{string(match[1]), "./" + filepath.Dir(path)})
		}
		return nil
	})
	if err == nil && len(targets) == 0 {
		err = errors.New("no fuzz targets found")
	}
	return targets, err
}

func (t target) fuzz(ctx context.Context, duration time.Duration) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-fuzz", "^"+t.name+"$", "-fuzztime", duration.String(), "-parallel", "1", t.dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s in %s: %w\n%s", t.name, t.dir, err, out)
	}
	last := ""
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "fuzz: elapsed") {
			last = strings.TrimSpace(strings.TrimPrefix(line, "fuzz: "))
		}
	}
	fmt.Printf("%-20s %-40s %s\n", t.name, t.dir, last)
	return nil
}
