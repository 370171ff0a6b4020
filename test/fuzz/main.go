// Command fuzz runs every fuzz target of the module, side by side: parsers of what strangers send for longer than the rest.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
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
	short := flag.Duration("short", 5*time.Second, "for each other target")
	flag.Parse()
	if err := run(ctx, *long, *short); err != nil {
		fmt.Fprintln(os.Stderr, "fuzz:", err)
		os.Exit(1)
	}
}

// besides is how many of the other targets run at a time beside those of the strangers, which all run at once. A target has one worker.
const besides = 3

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
	programs, err := os.MkdirTemp("", "slipway-fuzz-")
	if err != nil {
		return fmt.Errorf("make directory of test programs: %w", err)
	}
	defer os.RemoveAll(programs)
	b, err := build(ctx, programs, targets)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	rest := make(chan struct{}, besides)
	for _, t := range targets {
		group.Go(func() error {
			if slices.Contains(strangers, t.name) {
				return b.fuzz(ctx, t, long)
			}
			rest <- struct{}{}
			defer func() { <-rest }()
			return b.fuzz(ctx, t, short)
		})
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

// built are the test programs of the targets' packages, each linked once however many targets it has.
type built struct {
	programs map[string]string
	// corpus is where go test keeps what it has found, by package.
	corpus string
}

func build(ctx context.Context, into string, targets []target) (built, error) {
	b := built{programs: map[string]string{}}
	out, err := exec.CommandContext(ctx, "go", "env", "GOCACHE").Output()
	if err != nil {
		return b, fmt.Errorf("find Go's cache: %w", err)
	}
	module, err := exec.CommandContext(ctx, "go", "list", "-m").Output()
	if err != nil {
		return b, fmt.Errorf("find the module: %w", err)
	}
	b.corpus = filepath.Join(strings.TrimSpace(string(out)), "fuzz", filepath.FromSlash(strings.TrimSpace(string(module))))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2)
	for _, t := range targets {
		if b.programs[t.dir] != "" {
			continue
		}
		program := filepath.Join(into, fmt.Sprint(len(b.programs)))
		b.programs[t.dir] = program
		group.Go(func() error {
			// With -fuzz the program is instrumented for coverage, which guides the fuzzing.
			if out, err := exec.CommandContext(ctx, "go", "test", "-c", "-fuzz", ".", "-o", program, t.dir).CombinedOutput(); err != nil {
				return fmt.Errorf("build tests of %s: %w\n%s", t.dir, err, out)
			}
			return nil
		})
	}
	return b, group.Wait()
}

const (
	// longer is how often a target gets twice the time to come to the end of its corpus, which go test runs first and counts as fuzzing.
	longer = 4
	// fewest inputs beside its corpus that a target has to have run.
	fewest = 100
)

func (b built) fuzz(ctx context.Context, t target, duration time.Duration) error {
	last := ""
	for range 1 + longer {
		var err error
		if last, err = b.once(ctx, t, duration); err != nil {
			return err
		}
		if fuzzed(last) {
			fmt.Printf("%-20s %-40s %s\n", t.name, t.dir, last)
			return nil
		}
		duration *= 2
	}
	return fmt.Errorf("%s in %s: ran its corpus and fewer than %d inputs more: %s", t.name, t.dir, fewest, last)
}

var counts = regexp.MustCompile(`execs: (\d+) .*\(total: (\d+)\)`)

// fuzzed tells by a target's progress whether it has run more than its corpus.
func fuzzed(progress string) bool {
	match := counts.FindStringSubmatch(progress)
	if match == nil {
		return false
	}
	runs, err := strconv.Atoi(match[1])
	corpus, err2 := strconv.Atoi(match[2])
	return err == nil && err2 == nil && runs-corpus >= fewest
}

// once gives the last that the target said of its progress. The target is interrupted, as a person would do it, because Go 1.26 may
// tell the end of its own -fuzztime as a failure: golang/go#75804. Before its first word an interrupt would kill it. An input that
// covers something new is made shorter in few runs: by default that takes up to a minute, in which nothing else is tried.
func (b built) once(ctx context.Context, t target, duration time.Duration) (last string, err error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, b.programs[t.dir], "-test.run", "^$", "-test.fuzz", "^"+t.name+"$",
		"-test.parallel", "1", "-test.fuzzminimizetime", "10x", "-test.fuzzcachedir", filepath.Join(b.corpus, t.dir), "-test.timeout", "10m")
	cmd.Dir = t.dir
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", fmt.Errorf("%s in %s: %w", t.name, t.dir, err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("%s in %s: %w", t.name, t.dir, err)
	}
	said, last := listen(out, func() *time.Timer {
		return time.AfterFunc(duration, func() { _ = cmd.Process.Signal(os.Interrupt) }) // it may have ended by itself
	})
	if err := cmd.Wait(); err != nil {
		return "", fmt.Errorf("%s in %s: %w\n%s", t.name, t.dir, err, said)
	}
	return last, nil
}

// listen gives all that a target says, and the last that it said of its progress. With the first of that the time begins.
func listen(out io.Reader, begin func() *time.Timer) (said, last string) {
	var end *time.Timer
	var all strings.Builder
	for lines := bufio.NewReader(out); ; {
		line, err := lines.ReadString('\n')
		all.WriteString(line)
		if progress, found := strings.CutPrefix(line, "fuzz: "); found && strings.HasPrefix(progress, "elapsed") {
			last = strings.TrimSpace(progress)
			if end == nil {
				end = begin()
				defer end.Stop()
			}
		}
		if err != nil {
			return all.String(), last
		}
	}
}
