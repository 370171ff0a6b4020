package shim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrRunning means that another shim has the directory.
var ErrRunning = errors.New("another shim runs here")

// lockWait is how long a new shim waits for one that is just ending.
const lockWait = 2 * time.Second

// Run carries out the plan in dir until ctx ends or it is told to stop; then it stops what it started.
func Run(ctx context.Context, dir string, log *slog.Logger) error {
	unix.Umask(0o077)
	lock, err := takeLock(ctx, filepath.Join(dir, LockFile), lockWait)
	if err != nil {
		return err
	}
	defer lock.Close()
	for _, sub := range []string{LogDir, runDir} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return fmt.Errorf("create %s: %w", sub, err)
		}
	}
	home, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open directory: %w", err)
	}
	defer home.Close()
	listener, err := listen(home)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	sup := newSupervisor(ctx, dir, log)
	if err := sup.reload(); err != nil {
		listener.Close()
		return err
	}
	// A site has many shims, each in the memory of a whole appliance's program: they keep little.
	debug.SetGCPercent(20)
	debug.FreeOSMemory()
	log.Info("shim runs", "dir", dir)
	return serve(ctx, stop, listener, sup)
}

// serve answers until ctx ends, and while the processes are being stopped.
func serve(ctx context.Context, stop func(), listener net.Listener, sup *supervisor) error {
	server := &http.Server{Handler: handler(sup, stop), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	sup.run(ctx)
	server.Close()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve control socket: %w", err)
	}
	return nil
}

func handler(sup *supervisor, stop func()) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		after, _ := strconv.ParseUint(r.URL.Query().Get("after"), 10, 64)
		wait, _ := time.ParseDuration(r.URL.Query().Get("wait"))
		writeJSON(w, sup.await(r.Context(), after, wait))
	})
	mux.HandleFunc("POST /reload", func(w http.ResponseWriter, _ *http.Request) {
		if err := sup.reload(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		writeJSON(w, sup.status())
	})
	mux.HandleFunc("POST /stop", func(w http.ResponseWriter, _ *http.Request) {
		stop()
		w.WriteHeader(http.StatusAccepted)
	})
	return mux
}

// SocketPath is the control socket of the directory that home is open on. It goes by way of the file
// descriptor: the path of a socket may have 107 bytes only, that of a directory any length.
func SocketPath(home *os.File) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", home.Fd(), SocketFile)
}

func listen(home *os.File) (net.Listener, error) {
	path := SocketPath(home)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove old control socket: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on control socket: %w", err)
	}
	return listener, nil
}

// takeLock waits a moment for the lock at path; it is held until the file is closed or the process ends.
func takeLock(ctx context.Context, path string, wait time.Duration) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	deadline := time.After(wait)
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-deadline:
			f.Close()
			return nil, ErrRunning
		case <-time.After(20 * time.Millisecond):
		}
	}
}
