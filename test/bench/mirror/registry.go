package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// registry is one that runs as a process and logs what it is asked.
type registry struct {
	host string
	log  string
	dir  string
	cmd  *exec.Cmd
	read int64 // how far the log was read
}

const distributionConfig = `version: 0.1
log:
  level: error
  accesslog: {disabled: false}
storage:
  filesystem: {rootdirectory: %s}
  delete: {enabled: true}
  cache: {blobdescriptor: inmemory}
http:
  addr: %s
`

// startRegistry starts an empty registry and waits until it answers.
func startRegistry(ctx context.Context, o options, name, host, kind string) (*registry, error) {
	dir := filepath.Join(o.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	r := &registry{host: host, dir: dir, log: filepath.Join(o.dir, name+".log")}
	log, err := os.Create(r.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	config := filepath.Join(o.dir, name+".yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, distributionConfig, dir, host), 0o600); err != nil {
		return nil, err
	}
	if kind == "slipway" {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		r.cmd = exec.CommandContext(ctx, self)
		r.cmd.Env = append(os.Environ(), serveEnv+"="+dir+"="+host)
	} else {
		r.cmd = exec.CommandContext(ctx, filepath.Join(o.tools, "registry"), "serve", config)
		r.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "OTEL_TRACES_EXPORTER=none"}
	}
	r.cmd.Stdout, r.cmd.Stderr = log, log
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	if err := waitFor(ctx, host); err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}

func (r *registry) stop() {
	_ = r.cmd.Process.Signal(syscall.SIGTERM)
	_ = r.cmd.Wait() // it ends by our signal
	_ = os.RemoveAll(r.dir)
}

// requests by method.
type requests map[string]int

func (r requests) total() int {
	n := 0
	for _, count := range r {
		n += count
	}
	return n
}

func (r requests) String() string {
	var parts []string
	for _, method := range []string{"GET", "HEAD", "POST", "PATCH", "PUT"} {
		parts = append(parts, strings.ToLower(method)+strconv.Itoa(r[method]))
	}
	return strconv.Itoa(r.total()) + ": " + strings.Join(parts, " ")
}

var accessLine = regexp.MustCompile(`"(GET|HEAD|POST|PATCH|PUT|DELETE) /v2/[^"]* HTTP`)

// asked counts what was asked since the last call.
func (r *registry) asked() (requests, error) {
	raw, err := os.ReadFile(r.log)
	if err != nil {
		return nil, err
	}
	counts := requests{}
	for _, match := range accessLine.FindAllSubmatch(raw[r.read:], -1) {
		counts[string(match[1])]++
	}
	r.read = int64(len(raw))
	return counts, nil
}

// loopbackBytes that were sent so far in this network namespace; /sys shows the namespace that mounted it.
func loopbackBytes() (int64, error) {
	raw, err := os.ReadFile("/proc/self/net/dev")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if counters, found := strings.CutPrefix(strings.TrimSpace(line), "lo:"); found {
			return strconv.ParseInt(strings.Fields(counters)[0], 10, 64)
		}
	}
	return 0, errors.New("no loopback")
}

// resent counts the TCP segments that were sent again so far in this network namespace.
func resent() (int64, error) {
	raw, err := os.ReadFile("/proc/self/net/snmp")
	if err != nil {
		return 0, err
	}
	var names []string
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "Tcp:" {
			continue
		}
		if names == nil {
			names = fields
		} else if at := slices.Index(names, "RetransSegs"); at >= 0 && at < len(fields) {
			return strconv.ParseInt(fields[at], 10, 64)
		}
	}
	return 0, errors.New("no count of segments sent again")
}

// pause between two looks.
func pause(ctx context.Context) error {
	timer := time.NewTimer(20 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
