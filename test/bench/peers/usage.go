package peers

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// group is a control group, of version 1 or 2. It counts also what children cost that nobody waited for.
type group struct{ dir string }

func newGroup() (group, error) {
	parent := "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(parent, "cgroup.controllers")); err != nil {
		parent = filepath.Join(parent, "cpuacct")
	}
	dir, err := os.MkdirTemp(parent, "slipway-bench-")
	if err != nil {
		return group{}, fmt.Errorf("make control group (needs root): %w", err)
	}
	return group{dir}, nil
}

// within makes a command start in the group.
func (g group) within(command []string) []string {
	return append([]string{"/bin/sh", "-c", `echo $$ > "$0" && exec "$@"`, filepath.Join(g.dir, "cgroup.procs")}, command...)
}

func (g group) pids() ([]int, error) {
	data, err := os.ReadFile(filepath.Join(g.dir, "cgroup.procs"))
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, field := range strings.Fields(string(data)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

func (g group) cpu() (time.Duration, error) {
	data, err := os.ReadFile(filepath.Join(g.dir, "cpuacct.usage")) // version 1, nanoseconds
	if err == nil {
		n, err := strconv.ParseInt(string(bytes.TrimSpace(data)), 10, 64)
		return time.Duration(n), err
	}
	data, err = os.ReadFile(filepath.Join(g.dir, "cpu.stat")) // version 2
	if err != nil {
		return 0, err
	}
	var n int64
	if _, err := fmt.Sscanf(string(data), "usage_usec %d", &n); err != nil {
		return 0, fmt.Errorf("read cpu.stat: %w", err)
	}
	return time.Duration(n) * time.Microsecond, nil
}

// kill ends everything in the group, and the group.
func (g group) kill() error {
	for range 100 {
		pids, err := g.pids()
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			break
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended meanwhile
		}
		time.Sleep(10 * time.Millisecond)
	}
	return os.Remove(g.dir)
}

// Usage is what a process and its descendants have cost so far and hold now.
type Usage struct {
	CPU time.Duration
	RSS int64 // bytes, shared pages as often as they are mapped
}

// Usage reads it from the kernel.
func (p *Process) Usage() (u Usage, err error) {
	if u.CPU, err = p.group.cpu(); err != nil {
		return u, fmt.Errorf("read processor time of %s: %w", p.name, err)
	}
	pids, err := p.group.pids()
	if err != nil {
		return u, fmt.Errorf("list processes of %s: %w", p.name, err)
	}
	for _, pid := range pids {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has ended meanwhile
		}
		if err != nil {
			return u, err
		}
		var size, resident int64
		if _, err := fmt.Sscan(string(data), &size, &resident); err != nil {
			return u, fmt.Errorf("read memory of %s: %w", p.name, err)
		}
		u.RSS += resident * int64(os.Getpagesize())
	}
	return u, nil
}
