package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// ticksPerSecond is the unit of /proc/<pid>/stat on every Linux architecture that we run on.
const ticksPerSecond = 100

// usage is what processes cost while they idle.
type usage struct {
	pss   map[int]float64 // MiB
	cores float64
}

// settle is how long processes get to come to rest before they are watched.
const settle = 20 * time.Second

func watchIdle(ctx context.Context, pids []int, idle time.Duration) (usage, error) {
	if err := pause(ctx, settle); err != nil {
		return usage{}, err
	}
	before, err := cpuTicks(pids)
	if err != nil {
		return usage{}, err
	}
	if err := pause(ctx, idle); err != nil {
		return usage{}, err
	}
	after, err := cpuTicks(pids)
	if err != nil {
		return usage{}, err
	}
	u := usage{pss: map[int]float64{}, cores: float64(after-before) / ticksPerSecond / idle.Seconds()}
	for _, pid := range pids {
		if u.pss[pid], err = pss(pid); err != nil {
			return usage{}, err
		}
	}
	return u, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func cpuTicks(pids []int) (int64, error) {
	var sum int64
	for _, pid := range pids {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, err
		}
		// The name may hold spaces; it ends with the last parenthesis.
		fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
		for _, field := range fields[11:13] {
			ticks, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				return 0, err
			}
			sum += ticks
		}
	}
	return sum, nil
}

// pss is the process's share of memory in MiB: pages that several have count in parts.
func pss(pid int) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) == 3 && fields[0] == "Pss:" {
			kib, err := strconv.ParseFloat(fields[1], 64)
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("no Pss of process %d", pid)
}
