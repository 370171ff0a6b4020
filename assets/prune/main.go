// Command prune removes builds of the release, the machine OSes and the boot loaders that nobody has used for long from the cache.
//
//	go run ./assets/prune DIRECTORY…
//
// The directories are those in use: they are marked as used now. What was used within 30 days stays, so nobody who runs
// beside this loses what he was given, and of each kind the newest three stay whatever their age.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

const (
	unused = 30 * 24 * time.Hour
	newest = 3
)

// Removed directories are first renamed: a build is whole or it is not there.
const doomed = ".pruned-"

var (
	// build's first part is the kind, which has versions by hash: os-06f5f4dc8d39ed48, foreign-s390x-400f9772fb86fe91, os-base-412d3fa3bef8c734.tar.zst.
	build = regexp.MustCompile(`^((?:os|os-base|release|loaders|foreign-[a-z0-9_]+)-)[0-9a-f]{16}(?:\.tar\.zst)?$`)
	// work is what killed builders leave.
	work = regexp.MustCompile(`^(?:\.release-|foreign\.work-|loaders\.work-|\.pruned-)`)
)

func main() {
	cache, err := os.UserCacheDir()
	if err == nil {
		err = run(filepath.Join(cache, "slipway"), os.Args[1:], time.Now())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "prune:", err)
		os.Exit(1)
	}
}

func run(cache string, used []string, now time.Time) error {
	for _, dir := range used {
		if err := os.Chtimes(dir, now, now); err != nil {
			return fmt.Errorf("mark %s as used: %w", dir, err)
		}
	}
	entries, err := os.ReadDir(cache)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list cache: %w", err)
	}
	var found []entry
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look at %s: %w", e.Name(), err)
		}
		found = append(found, entry{e.Name(), info.ModTime()})
	}
	for _, name := range old(found, now) {
		if err := remove(cache, name); err != nil {
			return err
		}
		fmt.Fprintln(os.Stderr, "prune: removed", name)
	}
	return nil
}

// entry of the cache and when it was last used.
type entry struct {
	name string
	used time.Time
}

// old are the names to remove.
func old(entries []entry, now time.Time) (names []string) {
	entries = slices.SortedFunc(slices.Values(entries), func(a, b entry) int { return b.used.Compare(a.used) })
	seen := map[string]int{}
	for _, e := range entries {
		kind := work.FindString(e.name)
		keep := 0
		if match := build.FindStringSubmatch(e.name); match != nil {
			kind, keep = match[1], newest
		}
		if kind == "" {
			continue
		}
		seen[kind]++
		if seen[kind] > keep && now.Sub(e.used) > unused {
			names = append(names, e.name)
		}
	}
	return names
}

func remove(cache, name string) error {
	from, to := filepath.Join(cache, name), filepath.Join(cache, doomed+name)
	if work.MatchString(name) {
		to = from
	} else if err := os.Rename(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("take %s out of use: %w", name, err)
	}
	if err := os.RemoveAll(to); err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}
