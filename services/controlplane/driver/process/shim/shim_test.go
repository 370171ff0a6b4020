package shim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// running is a shim inside of the test, which watches it through its supervisor.
type running struct {
	dir  string
	sup  *supervisor
	stop context.CancelFunc
	done chan struct{}
}

func runPlan(t *testing.T, components ...Component) *running {
	t.Helper()
	r := &running{dir: t.TempDir(), done: make(chan struct{})}
	for _, sub := range []string{LogDir, runDir} {
		if err := os.Mkdir(filepath.Join(r.dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	r.stop = cancel
	r.sup = newSupervisor(ctx, r.dir, slog.New(slog.DiscardHandler))
	r.sup.bounds = bounds{kind: "none"}
	r.load(t, components...)
	go func() { defer close(r.done); r.sup.run(ctx) }()
	t.Cleanup(func() { cancel(); <-r.done })
	return r
}

func (r *running) load(t *testing.T, components ...Component) {
	t.Helper()
	data, err := Plan{Components: components}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.dir, PlanFile), data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.sup.reload(); err != nil {
		t.Fatal(err)
	}
}

// until waits for a status and returns it.
func (r *running) until(t *testing.T, what string, cond func(map[string]ComponentStatus) bool) map[string]ComponentStatus {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	var last Status
	for time.Now().Before(deadline) {
		last = r.sup.await(t.Context(), last.Revision, 100*time.Millisecond)
		byName := map[string]ComponentStatus{}
		for _, c := range last.Components {
			byName[c.Name] = c
		}
		if cond(byName) {
			return byName
		}
	}
	t.Fatalf("waited in vain for %s: %+v", what, last.Components)
	return nil
}

func shell(name, script string, after ...string) Component {
	return Component{Name: name, Hash: script, Argv: []string{"/bin/sh", "-c", script}, After: after, StopGrace: time.Second}
}

const forever = "exec sleep 1000"

// reserve takes a port of the loopback on which nothing listens before listen is called, and which nobody else gets.
func reserve(t *testing.T) (address string, listen func()) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", bound.(*unix.SockaddrInet4).Port), func() {
		t.Helper()
		if err := unix.Listen(fd, 128); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOrderOfStartAndStop(t *testing.T) {
	journal := filepath.Join(t.TempDir(), "journal")
	note := func(name string) string {
		return fmt.Sprintf("trap 'echo stop %[1]s >>%[2]s; exit' TERM; echo start %[1]s >>%[2]s; while :; do sleep 0.02; done", name, journal)
	}
	addr, listen := reserve(t)
	first, second := shell("first", note("first")), shell("second", note("second"), "first")
	first.Ready = &Probe{Addr: addr}
	first.StopGrace, second.StopGrace = time.Minute, time.Minute
	r := runPlan(t, first, second)
	written := func(text string) { // a shell that has written that it starts has set its trap
		t.Helper()
		r.until(t, text, func(map[string]ComponentStatus) bool {
			data, err := os.ReadFile(journal)
			return err == nil && string(data) == text
		})
	}
	written("start first\n")
	time.Sleep(300 * time.Millisecond) // in which the second must not start
	r.until(t, "first alone", func(s map[string]ComponentStatus) bool { return s["first"].PID != 0 && s["second"].PID == 0 })
	listen()
	r.until(t, "both", func(s map[string]ComponentStatus) bool { return s["first"].Ready && s["second"].Ready })
	written("start first\nstart second\n")
	r.stop()
	<-r.done
	got, err := os.ReadFile(journal)
	if want := "start first\nstart second\nstop second\nstop first\n"; err != nil || string(got) != want {
		t.Errorf("journal is %q, %v", got, err)
	}
}

func TestRestartsWithBackOff(t *testing.T) {
	file := filepath.Join(t.TempDir(), "starts")
	r := runPlan(t, shell("x", "date +%s%N >>"+file+"; echo the disk is full; exit 3"))
	s := r.until(t, "restarts", func(s map[string]ComponentStatus) bool { return s["x"].Restarts >= 3 && s["x"].PID == 0 })
	if got := s["x"].Message; !strings.Contains(got, "exit status 3") || !strings.HasSuffix(got, "the disk is full") {
		t.Errorf("message is %q", got)
	}
	r.until(t, "the next restart", func(s map[string]ComponentStatus) bool { return s["x"].Restarts >= 4 && s["x"].PID == 0 })
	data, err := os.ReadFile(file)
	starts := strings.Fields(string(data))
	if err != nil || len(starts) < 5 {
		t.Fatalf("%d starts, %v", len(starts), err)
	}
	var at [5]int64
	for i := range at {
		if at[i], err = strconv.ParseInt(starts[i], 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	for i, least := range []time.Duration{firstDelay, 2 * firstDelay, 4 * firstDelay, 8 * firstDelay} {
		if took := time.Duration(at[i+1] - at[i]); took < least {
			t.Errorf("start %d came %s after the one before, want %s or more", i+2, took, least)
		}
	}
}

func TestReload(t *testing.T) {
	r := runPlan(t, shell("same", forever), shell("changed", forever), shell("gone", forever))
	all := func(s map[string]ComponentStatus) bool {
		for _, c := range s {
			if c.PID == 0 {
				return false
			}
		}
		return true
	}
	before := r.until(t, "all", all)
	changed := shell("changed", forever)
	changed.Hash = "other"
	r.load(t, shell("same", forever), changed, shell("new", forever))
	after := r.until(t, "the new plan", func(s map[string]ComponentStatus) bool {
		return all(s) && s["changed"].PID != before["changed"].PID
	})
	if after["same"].PID != before["same"].PID {
		t.Error("a component that did not change was restarted")
	}
	if after["changed"].Restarts != 0 {
		t.Error("a change was counted as a restart")
	}
	for deadline := time.Now().Add(20 * time.Second); syscall.Kill(before["gone"].PID, 0) == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a removed component still runs")
		}
	}
}

// TestStubbornProcessIsKilled: one that ignores being asked, with a child, gets its grace and no more.
func TestStubbornProcessIsKilled(t *testing.T) {
	file := filepath.Join(t.TempDir(), "child")
	r := runPlan(t, shell("x", "trap '' TERM; sleep 1000 & echo $! >"+file+"; wait; wait"))
	r.until(t, "the child", func(map[string]ComponentStatus) bool {
		data, err := os.ReadFile(file)
		return err == nil && strings.HasSuffix(string(data), "\n")
	})
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	r.stop()
	<-r.done
	if took := time.Since(begin); took < 900*time.Millisecond {
		t.Errorf("stopping took %s", took)
	}
	stat := filepath.Join("/proc", strings.TrimSpace(string(data)), "stat")
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if stat, err := os.ReadFile(stat); err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
	}
	t.Error("the child still runs")
}

// TestNoOverlap: while a run of a component lives that an earlier shim started, there is no second one.
func TestNoOverlap(t *testing.T) {
	r := runPlan(t)
	held, err := takeLock(t.Context(), filepath.Join(r.dir, runDir, "x.lock"), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	r.load(t, shell("x", forever))
	r.until(t, "the explanation", func(s map[string]ComponentStatus) bool {
		return s["x"].PID == 0 && strings.Contains(s["x"].Message, errStillEnding.Error())
	})
	held.Close()
	r.until(t, "x", func(s map[string]ComponentStatus) bool { return s["x"].PID != 0 })
}

func TestSecondShimIsRefused(t *testing.T) {
	dir := t.TempDir()
	lock, err := takeLock(t.Context(), filepath.Join(dir, LockFile), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if _, err := takeLock(t.Context(), filepath.Join(dir, LockFile), 50*time.Millisecond); !errors.Is(err, ErrRunning) {
		t.Errorf("error is %v", err)
	}
}

func TestSlots(t *testing.T) {
	s := openSlots(filepath.Join(t.TempDir(), "a"))
	var held []*os.File
	for range slotCount() {
		f, err := s.take(t.Context())
		if err != nil || f == nil {
			t.Fatal(f, err)
		}
		held = append(held, f)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.take(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one too many: %v", err)
	}
	held[0].Close()
	f, err := s.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	held[0] = f
	for _, f := range held {
		f.Close()
	}
}

func TestLogRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.log")
	l, err := openLog(path)
	if err != nil {
		t.Fatal(err)
	}
	block := strings.Repeat("x", 1<<20-1) + "\n"
	for range 5 * logSize >> 20 {
		if _, err := l.Write([]byte(block)); err != nil {
			t.Fatal(err)
		}
	}
	l.Close()
	found, _ := filepath.Glob(path + "*")
	if len(found) != logKeep+1 {
		t.Errorf("files are %v", found)
	}
	for _, path := range found {
		if info, err := os.Stat(path); err != nil || info.Size() > logSize || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
}
