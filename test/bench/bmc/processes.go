package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// process of the appliance, by what it costs.
type process struct {
	seconds   float64 // of processors, since its start
	rss, most int     // MiB resident, now and at most
	own       int     // MiB of rss that are no pages of files, which processes of one binary share
}

func (p process) and(q process) process {
	return process{p.seconds + q.seconds, p.rss + q.rss, p.most + q.most, p.own + q.own}
}

// processes of the appliance by name; in the site's PID namespace there are no others of these names.
func processes() (map[string]process, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	found := map[string]process{}
	for _, path := range stats {
		name, one, err := read(filepath.Dir(path))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if name != "" {
			sum := found[name]
			found[name] = sum.and(one)
		}
	}
	return found, nil
}

// read one; without a name it is none of the appliance's.
func read(dir string) (name string, one process, err error) {
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return "", one, err
	}
	line, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil {
		return "", one, err
	}
	args := strings.Split(string(line), "\x00")
	switch name = filepath.Base(args[0]); name {
	case "etcd", "kube-apiserver", "kube-controller-manager":
	case "slipway":
		if len(args) > 1 {
			name += " " + args[1]
		}
	default:
		return "", one, nil
	}
	// The name may hold spaces; it ends with the last parenthesis. Ticks are hundredths of a second on every architecture of ours.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return "", one, fmt.Errorf("read %s/stat: %w", dir, err)
		}
		one.seconds += float64(ticks) / 100
	}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return "", one, err
	}
	if one.rss, err = memory(status, "VmRSS"); err != nil {
		return "", one, err
	}
	if one.own, err = memory(status, "RssAnon"); err != nil {
		return "", one, err
	}
	one.most, err = memory(status, "VmHWM")
	return name, one, err
}

// memory in MiB of a field of /proc/PID/status.
func memory(status []byte, field string) (int, error) {
	for line := range strings.Lines(string(status)) {
		if rest, found := strings.CutPrefix(line, field+":"); found {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("no %s in the status of a process", field)
}

// report what each process cost in a time, 0 for what it costs at its beginning.
func report(out io.Writer, when string, before, after map[string]process, took time.Duration) {
	fmt.Fprintf(out, "%s:\n", when)
	var sum process
	for _, name := range slices.Sorted(maps.Keys(after)) {
		one := after[name]
		one.seconds -= before[name].seconds
		sum = sum.and(one)
		cost(out, name, one, took)
	}
	cost(out, "all processes", sum, took)
}

func cost(out io.Writer, name string, one process, took time.Duration) {
	fmt.Fprintf(out, "  %-24s RSS %4d MiB, %4d without files, peak %4d", name, one.rss, one.own, one.most)
	if took > 0 {
		fmt.Fprintf(out, ", %6.1f CPU s, %.2f cores over %s", one.seconds, one.seconds/took.Seconds(), took.Round(time.Second))
	}
	fmt.Fprintln(out)
}
