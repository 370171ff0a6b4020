package shim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var errStillEnding = errors.New("the process before is still ending")

// process is one run of a component.
type process struct {
	component Component
	pid       int
	started   time.Time
	cmd       *exec.Cmd
	cgroup    boundedGroup
	output    *rotatingLog
	ctx       context.Context // ends with the process
	outcome   string          // set before that
	watch     sync.WaitGroup  // reaper, log copier and prober
}

// startProcess starts a component. The child inherits a lock that ends with it, whatever happens to
// the shim: so two runs of a component never overlap.
func (s *supervisor) startProcess(c Component, log *slog.Logger) (*process, error) {
	lock, err := os.OpenFile(filepath.Join(s.dir, runDir, c.Name+".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errStillEnding
	}
	output, err := openLog(filepath.Join(s.dir, LogDir, c.Name+".log"))
	if err != nil {
		return nil, err
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		output.Close()
		return nil, fmt.Errorf("open pipe: %w", err)
	}
	cmd := &exec.Cmd{
		Path: c.Argv[0], Args: c.Argv, Env: c.Env, Dir: c.Dir,
		Stdout: writer, Stderr: writer, ExtraFiles: []*os.File{lock},
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	}
	err = s.spawner.start(cmd)
	writer.Close()
	if err != nil {
		reader.Close()
		output.Close()
		return nil, fmt.Errorf("start: %w", err)
	}
	ctx, ended := context.WithCancel(s.ctx)
	p := &process{component: c, pid: cmd.Process.Pid, started: time.Now(), cmd: cmd, output: output, ctx: ctx}
	p.cgroup = s.bounds.enter(c, p.pid, log)
	p.watch.Go(func() {
		output.copy(reader)
		reader.Close()
		output.Close()
	})
	p.watch.Go(func() {
		defer ended()
		p.reap()
	})
	log.Info("component started", "pid", p.pid)
	return p, nil
}

func (p *process) reap() {
	err := p.cmd.Wait()
	p.outcome = "ended"
	if err != nil {
		p.outcome = err.Error()
	}
}

// terminate asks the process to end and kills it when its grace is over.
func (p *process) terminate() {
	grace := p.component.StopGrace
	if grace == 0 {
		grace = defaultGrace
	}
	p.signal(unix.SIGTERM)
	select {
	case <-p.ctx.Done():
		return
	case <-time.After(grace):
	}
	p.signal(unix.SIGKILL)
	<-p.ctx.Done()
}

// signal goes to the whole process group, or to nobody once the process is reaped.
func (p *process) signal(sig syscall.Signal) {
	select {
	case <-p.ctx.Done():
	default:
		_ = unix.Kill(-p.pid, sig) // it may have ended meanwhile
	}
}

// close waits for everything that belongs to the ended process.
func (p *process) close() {
	_ = unix.Kill(-p.pid, unix.SIGKILL) // children of the process, if it had any
	p.watch.Wait()
	p.cgroup.remove()
}

// spawner starts all processes from one thread: the parent death signal is sent when the starting
// *thread* ends, and Go may end others of its threads at any time.
type spawner struct{ requests chan func() }

func newSpawner() *spawner {
	s := &spawner{requests: make(chan func())}
	go func() {
		runtime.LockOSThread()
		for request := range s.requests {
			request()
		}
	}()
	return s
}

func (s *spawner) start(cmd *exec.Cmd) error {
	result := make(chan error, 1)
	s.requests <- func() { result <- cmd.Start() }
	return <-result
}

func (s *spawner) close() { close(s.requests) }
