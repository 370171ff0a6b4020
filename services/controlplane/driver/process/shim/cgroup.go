package shim

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	cgroupRoot  = "/sys/fs/cgroup"
	cgroupName  = "slipway"
	cgroupV1    = "cgroup v1"
	cgroupV2    = "cgroup v2"
	usualWeight = 100
	// siteWeight is that of all control planes together, against each program outside of them.
	siteWeight = 10 * usualWeight
	// sharesPerWeight turns version 2's weights into version 1's shares.
	sharesPerWeight = 1024 / usualWeight
	quotaPeriod     = 100000
)

// bounds puts processes into control groups where the kernel has them and lets us. All groups lie side
// by side, so that weights count among all control planes and not within each of them only.
type bounds struct {
	// trees are the parent directories: one for version 2, one per controller for version 1.
	trees  []string
	prefix string
	kind   string
}

func (b bounds) String() string { return b.kind }

// findBounds prepares the groups' parents.
func findBounds(dir string) bounds {
	b := bounds{kind: cgroupV1, trees: []string{filepath.Join(cgroupRoot, "memory", cgroupName), filepath.Join(cgroupRoot, "cpu", cgroupName)}}
	var fs unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &fs); err != nil {
		return bounds{kind: "none: no control groups here"}
	}
	if fs.Type == unix.CGROUP2_SUPER_MAGIC {
		b = bounds{kind: cgroupV2, trees: []string{filepath.Join(cgroupRoot, cgroupName)}}
	}
	// Two appliances on one machine may both have a control plane of this name.
	sum := sha256.Sum256([]byte(dir))
	b.prefix = fmt.Sprintf("%s-%x-", filepath.Base(dir), sum[:4])
	for _, tree := range b.trees {
		if err := b.prepare(tree); err != nil {
			return bounds{kind: "none: " + err.Error()}
		}
	}
	return b
}

func (b bounds) prepare(tree string) error {
	if _, err := os.Stat(filepath.Join(filepath.Dir(tree), "cgroup.procs")); err != nil {
		return err
	}
	if err := os.MkdirAll(tree, 0o755); err != nil {
		return err
	}
	if b.kind == cgroupV2 {
		for _, parent := range []string{cgroupRoot, tree} {
			if err := write(parent, "cgroup.subtree_control", "+memory +cpu"); err != nil {
				return err
			}
		}
	}
	b.weigh(tree, siteWeight)
	return nil
}

// boundedGroup is the control groups of one process.
type boundedGroup []string

// enter bounds a process that just started. A bound that cannot be set is no reason to stop it.
func (b bounds) enter(c Component, pid int, log *slog.Logger) boundedGroup {
	var group boundedGroup
	for _, tree := range b.trees {
		dir := filepath.Join(tree, b.prefix+c.Name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			log.Warn("component is not bounded", "err", err)
			continue
		}
		group = append(group, dir)
		b.limit(dir, c)
		b.weigh(dir, cmp.Or(c.CPUWeight, usualWeight))
		if err := write(dir, "cgroup.procs", strconv.Itoa(pid)); err != nil {
			log.Warn("component is not bounded", "err", err)
		}
	}
	return group
}

// limit writes to the files that exist in this version's and controller's directory.
func (b bounds) limit(dir string, c Component) {
	memory, quota := "-1", "-1"
	if b.kind == cgroupV2 {
		memory, quota = "max", "max"
	}
	if c.MemoryBytes > 0 {
		memory = strconv.FormatInt(c.MemoryBytes, 10)
	}
	if c.CPUMillis > 0 {
		quota = strconv.FormatInt(c.CPUMillis*quotaPeriod/1000, 10)
	}
	if b.kind == cgroupV2 {
		_ = write(dir, "memory.max", memory)
		_ = write(dir, "cpu.max", quota+" "+strconv.Itoa(quotaPeriod))
		return
	}
	_ = write(dir, "memory.limit_in_bytes", memory)
	_ = write(dir, "cpu.cfs_quota_us", quota)
}

func (b bounds) weigh(dir string, weight int64) {
	if b.kind == cgroupV2 {
		_ = write(dir, "cpu.weight", strconv.FormatInt(weight, 10))
		return
	}
	_ = write(dir, "cpu.shares", strconv.FormatInt(weight*sharesPerWeight, 10))
}

// remove takes away empty groups; the kernel keeps those that still have processes.
func (g boundedGroup) remove() {
	for _, dir := range g {
		_ = unix.Rmdir(dir)
	}
}

// remove takes away the parents when no control plane uses them any more.
func (b bounds) remove() {
	for _, tree := range b.trees {
		_ = unix.Rmdir(tree)
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
