package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	serverAddress = "10.77.0.1"
	relayAddress  = "10.77.0.2"
)

// link is a pair of interfaces between two network namespaces without names: they are gone with their holders.
type link struct{ server, client *exec.Cmd }

func newLink(ctx context.Context) (l *link, err error) {
	l = &link{}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	for _, holder := range []**exec.Cmd{&l.server, &l.client} {
		cmd := exec.CommandContext(ctx, "unshare", "-n", "sh", "-c", "echo; exec sleep 3600")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		out, err := cmd.StdoutPipe()
		if err != nil {
			return l, err
		}
		if err := cmd.Start(); err != nil {
			return l, fmt.Errorf("make a network namespace: %w", err)
		}
		*holder = cmd
		if _, err := out.Read(make([]byte, 1)); err != nil {
			return l, fmt.Errorf("make a network namespace (needs root): %w", err)
		}
	}
	s, c := strconv.Itoa(l.server.Process.Pid), strconv.Itoa(l.client.Process.Pid)
	for _, line := range []string{
		"nsenter -t " + s + " -n ip link add s0 type veth peer name c0 netns " + c,
		"nsenter -t " + s + " -n ip addr add " + serverAddress + "/16 dev s0",
		"nsenter -t " + s + " -n ip link set lo up",
		"nsenter -t " + s + " -n ip link set s0 up",
		"nsenter -t " + c + " -n ip addr add " + relayAddress + "/16 dev c0",
		"nsenter -t " + c + " -n ip link set c0 up",
	} {
		argv := strings.Fields(line)
		if out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return l, fmt.Errorf("%s: %w: %s", line, err, out)
		}
	}
	return l, nil
}

func (l *link) close() {
	for _, holder := range []*exec.Cmd{l.server, l.client} {
		if holder != nil {
			_ = holder.Process.Kill()
			_ = holder.Wait()
		}
	}
}

func inside(holder *exec.Cmd, argv []string) []string {
	return append([]string{"nsenter", "-t", strconv.Itoa(holder.Process.Pid), "-n"}, argv...)
}

// server is a running DHCP server.
type server struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// start returns when the server listens.
func (l *link) start(ctx context.Context, command *exec.Cmd) (*server, error) {
	argv := inside(l.server, command.Args)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), command.Env...)
	cmd.Stderr = command.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{cmd, make(chan struct{})}
	go func() { _ = cmd.Wait(); close(s.done) }()
	for range 100 {
		select {
		case <-s.done:
			return nil, fmt.Errorf("%s ended before it listened", command.Args[0])
		case <-time.After(100 * time.Millisecond):
		}
		look := inside(l.server, []string{"ss", "-Hlun", "sport", "=", ":67"})
		if out, err := exec.CommandContext(ctx, look[0], look[1:]...).Output(); err == nil && len(out) > 0 {
			return s, nil
		}
	}
	s.stop()
	return nil, fmt.Errorf("%s does not listen after 10s", command.Args[0])
}

func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(5 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.done
	}
}

// result of one load. nsenter becomes the server, so its process is the server's.
type result struct {
	cpu               float64 // us of CPU for each exchange that was completed
	done              float64 // exchanges each second
	discover, request float64 // unanswered, in percent
	rss               float64 // MiB
}

// load lets perfdhcp ask for a time.
func (l *link) load(ctx context.Context, s *server, rate, clients int, window time.Duration) (result, error) {
	before, err := cpu(s.cmd.Process.Pid)
	if err != nil {
		return result{}, err
	}
	argv := inside(l.client, []string{
		"perfdhcp", "-4", "-r", strconv.Itoa(rate), "-R", strconv.Itoa(clients), "-p", strconv.Itoa(int(window.Seconds())),
		"-l", relayAddress, "-W", "500000", "-g", "single", serverAddress,
	})
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	// perfdhcp says 3 when packets were lost; the figures say how many.
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 3) {
		return result{}, fmt.Errorf("perfdhcp: %w: %s", err, out)
	}
	after, err := cpu(s.cmd.Process.Pid)
	if err != nil {
		return result{}, err
	}
	return figures(string(out), after-before, s.cmd.Process.Pid)
}

// figures reads perfdhcp's report: a part for DISCOVER-OFFER and one for REQUEST-ACK.
func figures(report string, spent time.Duration, pid int) (result, error) {
	received := regexp.MustCompile(`received packets: (\d+)`).FindAllStringSubmatch(report, -1)
	ratios := regexp.MustCompile(`drops ratio: ([\d.e+-]+) ?%`).FindAllStringSubmatch(report, -1)
	rate := regexp.MustCompile(`Rate: ([\d.e+]+) 4-way`).FindStringSubmatch(report)
	if len(received) < 2 || len(ratios) < 2 || rate == nil {
		return result{}, fmt.Errorf("perfdhcp's report is not as expected:\n%s", report)
	}
	var r result
	exchanges, err := strconv.ParseFloat(received[1][1], 64)
	if err != nil || exchanges == 0 {
		return result{}, fmt.Errorf("no exchange was completed:\n%s", report)
	}
	for text, to := range map[string]*float64{rate[1]: &r.done, ratios[0][1]: &r.discover, ratios[1][1]: &r.request} {
		if *to, err = strconv.ParseFloat(text, 64); err != nil {
			return result{}, fmt.Errorf("perfdhcp's report: %w", err)
		}
	}
	r.cpu = float64(spent.Microseconds()) / exchanges
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return result{}, err
	}
	if found := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status); found != nil {
		kib, _ := strconv.ParseFloat(string(found[1]), 64)
		r.rss = kib / 1024
	}
	return r, nil
}

// cpu is the time that all threads of a process were on a CPU, to the nanosecond; neither server makes other processes.
func cpu(pid int) (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("process %d: has no threads: did the server end?", pid)
	}
	var sum time.Duration
	for _, file := range files {
		data, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		} else if err != nil {
			return 0, err
		}
		on, _, _ := strings.Cut(string(data), " ")
		n, err := strconv.ParseInt(on, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", file, err)
		}
		sum += time.Duration(n)
	}
	return sum, nil
}
