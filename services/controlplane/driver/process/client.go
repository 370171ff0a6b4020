package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-io/slipway/services/controlplane"
	"github.com/slipway-io/slipway/services/controlplane/driver/process/shim"
)

// Times of talking to shims.
const (
	answerTime = 5 * time.Second
	startTime  = 20 * time.Second
	stopTime   = 2 * time.Minute
)

// ensure returns the status of the shim and starts one if there is none. The caller holds the lock.
func (d *Driver) ensure(ctx context.Context, name string) (shim.Status, error) {
	dir := d.dir(name)
	if _, err := os.Stat(filepath.Join(dir, shim.PlanFile)); errors.Is(err, fs.ErrNotExist) {
		return shim.Status{}, controlplane.ErrNotFound
	}
	status, err := ask(ctx, dir, 0, 0)
	if err == nil || !gone(err) {
		return status, err
	}
	ended, err := d.spawn(dir)
	if err != nil {
		return shim.Status{}, err
	}
	d.cfg.Log.Info("shim started", "controlplane", name)
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	for {
		status, err := ask(ctx, dir, 0, 0)
		if err == nil {
			return status, nil
		}
		select {
		case <-ctx.Done():
			return shim.Status{}, fmt.Errorf("wait for shim: %w", err)
		case <-ended:
			return shim.Status{}, fmt.Errorf("start shim: it ended at once: %s", lastLine(filepath.Join(dir, shim.LogDir, "shim.log")))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// spawn starts a shim in a session of its own. The returned channel is closed when it ends; the
// goroutine behind it only reaps, and ends with the shim or with this program.
func (d *Driver) spawn(dir string) (<-chan struct{}, error) {
	if err := os.MkdirAll(filepath.Join(dir, shim.LogDir), 0o700); err != nil {
		return nil, fmt.Errorf("start shim: %w", err)
	}
	path := filepath.Join(dir, shim.LogDir, "shim.log")
	if info, err := os.Stat(path); err == nil && info.Size() > 1<<20 {
		_ = os.Rename(path, path+".1")
	}
	log, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start shim: %w", err)
	}
	defer log.Close()
	argv := append(append([]string{}, d.cfg.Shim...), "--dir", dir)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start shim: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // why it ended stands in its log
		close(ended)
	}()
	return ended, nil
}

// gone tells whether an error means that no shim listens.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

// ask returns the shim's status as soon as its revision differs from after, at the latest after wait.
func ask(ctx context.Context, dir string, after uint64, wait time.Duration) (shim.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+answerTime)
	defer cancel()
	var status shim.Status
	err := call(ctx, dir, http.MethodGet, fmt.Sprintf("/status?after=%d&wait=%s", after, wait), &status)
	return status, err
}

func reload(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	return call(ctx, dir, http.MethodPost, "/reload", nil)
}

func call(ctx context.Context, dir, method, path string, answer any) error {
	home, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("ask shim: %w", err)
	}
	defer home.Close()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", shim.SocketPath(home))
	}}
	req, err := http.NewRequestWithContext(ctx, method, "http://shim"+path, nil)
	if err != nil {
		return fmt.Errorf("ask shim: %w", err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("ask shim: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("ask shim: %w", err)
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("ask shim: %s", strings.TrimSpace(string(body)))
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return fmt.Errorf("ask shim: %w", err)
	}
	return nil
}

// stopShim ends the shim and with it the processes; it returns when the shim's lock is free.
func stopShim(ctx context.Context, dir string) error {
	lock, err := os.OpenFile(filepath.Join(dir, shim.LockFile), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stop shim: %w", err)
	}
	defer lock.Close()
	asking, cancel := context.WithTimeout(ctx, answerTime)
	err = call(asking, dir, http.MethodPost, "/stop", nil)
	cancel()
	patience := stopTime
	if err != nil && !gone(err) {
		patience = 0 // it hangs
	}
	if err := awaitLock(ctx, lock, patience); err == nil || ctx.Err() != nil {
		return err
	}
	if err := killShim(dir); err != nil {
		return fmt.Errorf("stop shim: %w", err)
	}
	return awaitLock(ctx, lock, answerTime)
}

func awaitLock(ctx context.Context, lock *os.File, patience time.Duration) error {
	deadline := time.After(patience)
	for {
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("stop shim: %w", ctx.Err())
		case <-deadline:
			return errors.New("stop shim: it does not end")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// killShim kills whoever listens on the control socket; the processes die with it.
func killShim(dir string) error {
	home, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer home.Close()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: shim.SocketPath(home), Net: "unix"})
	if err != nil {
		return err
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var peerErr error
	if err := raw.Control(func(fd uintptr) {
		peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if peerErr != nil {
		return peerErr
	}
	return unix.Kill(int(peer.Pid), unix.SIGKILL)
}

func lastLine(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return lines[len(lines)-1]
}
