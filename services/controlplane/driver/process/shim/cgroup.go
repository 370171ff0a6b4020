package shim

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

// bounds puts processes into control groups where the kernel has them and lets us.
type bounds struct {
	// trees are the group's parent directories: one for version 2, one per controller for version 1.
	trees []string
	kind  string
}

func (b bounds) String() string { return b.kind }

// findBounds prepares the parent group of a control plane.
func findBounds(dir string) bounds {
	// Two appliances on one machine may both have a control plane of this name.
	sum := sha256.Sum256([]byte(dir))
	group := filepath.Join("slipway", fmt.Sprintf("%s-%x", filepath.Base(dir), sum[:4]))
	var fs unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &fs); err != nil {
		return bounds{kind: "none: no control groups here"}
	}
	b := bounds{kind: "cgroup v1", trees: []string{filepath.Join(cgroupRoot, "memory", group), filepath.Join(cgroupRoot, "cpu", group)}}
	if fs.Type == unix.CGROUP2_SUPER_MAGIC {
		b = bounds{kind: "cgroup v2", trees: []string{filepath.Join(cgroupRoot, group)}}
	}
	for _, tree := range b.trees {
		if _, err := os.Stat(filepath.Dir(filepath.Dir(tree))); err != nil {
			return bounds{kind: "none: " + err.Error()}
		}
		if err := os.MkdirAll(tree, 0o755); err != nil {
			return bounds{kind: "none: " + err.Error()}
		}
		if b.kind == "cgroup v2" {
			for _, parent := range []string{cgroupRoot, filepath.Dir(tree), tree} {
				if err := write(parent, "cgroup.subtree_control", "+memory +cpu"); err != nil {
					return bounds{kind: "none: " + err.Error()}
				}
			}
		}
	}
	return b
}

// boundedGroup is the control groups of one process.
type boundedGroup []string

// enter bounds a process that just started. A bound that cannot be set is no reason to stop it.
func (b bounds) enter(c Component, pid int, log *slog.Logger) boundedGroup {
	var group boundedGroup
	for _, tree := range b.trees {
		dir := filepath.Join(tree, c.Name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			log.Warn("component is not bounded", "err", err)
			continue
		}
		group = append(group, dir)
		b.limit(dir, c)
		if err := write(dir, "cgroup.procs", strconv.Itoa(pid)); err != nil {
			log.Warn("component is not bounded", "err", err)
		}
	}
	return group
}

// limit writes to the files that exist in this version's and controller's directory.
func (b bounds) limit(dir string, c Component) {
	const period = 100000
	memory, quota := "-1", "-1"
	if b.kind == "cgroup v2" {
		memory, quota = "max", "max"
	}
	if c.MemoryBytes > 0 {
		memory = strconv.FormatInt(c.MemoryBytes, 10)
	}
	if c.CPUMillis > 0 {
		quota = strconv.FormatInt(c.CPUMillis*period/1000, 10)
	}
	if b.kind == "cgroup v2" {
		_ = write(dir, "memory.max", memory)
		_ = write(dir, "cpu.max", quota+" "+strconv.Itoa(period))
		return
	}
	_ = write(dir, "memory.limit_in_bytes", memory)
	_ = write(dir, "cpu.cfs_quota_us", quota)
}

// remove takes away empty groups; the kernel keeps those that still have processes.
func (g boundedGroup) remove() {
	for _, dir := range g {
		_ = unix.Rmdir(dir)
	}
}

func (b bounds) remove() {
	for _, tree := range b.trees {
		_ = unix.Rmdir(tree)
		_ = unix.Rmdir(filepath.Dir(tree))
	}
}

// write changes a file of the kernel; it never creates one.
func write(dir, name, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(value)
	return err
}
