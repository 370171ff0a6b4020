package site

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// leftovers are what a site must not leave: mounts, links and processes, by a name that stays the same between two looks.
type leftovers struct {
	mounts, links, processes map[string]bool
}

func snapshot() (leftovers, error) {
	seen := leftovers{map[string]bool{}, map[string]bool{}, map[string]bool{}}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return seen, fmt.Errorf("read mounts: %w", err)
	}
	for line := range strings.Lines(string(mounts)) {
		seen.mounts[strings.TrimSpace(line)] = true
	}
	links, err := net.Interfaces()
	if err != nil {
		return seen, fmt.Errorf("list links: %w", err)
	}
	for _, link := range links {
		seen.links[link.Name] = true
	}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return seen, fmt.Errorf("list processes: %w", err)
	}
	for _, path := range lines {
		// A process that has just ended is not one that was left.
		text, err := os.ReadFile(path)
		if err == nil {
			seen.processes[filepath.Base(filepath.Dir(path))+" "+strings.ReplaceAll(string(text), "\x00", " ")] = true
		}
	}
	return seen, nil
}

// missing lists what after has and before had not. Only processes that name the site's directory are the site's.
func (before leftovers) missing(after leftovers, dir string) []string {
	var left []string
	for mount := range after.mounts {
		if !before.mounts[mount] && strings.Contains(mount, dir) {
			left = append(left, "mount "+mount)
		}
	}
	for link := range after.links {
		if !before.links[link] {
			left = append(left, "link "+link)
		}
	}
	for process := range after.processes {
		if !before.processes[process] && strings.Contains(process, dir) {
			left = append(left, "process "+process)
		}
	}
	return left
}
