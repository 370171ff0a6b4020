package site

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
)

// insideEnv tells a process which role it has: absent outside, "init" for the first process inside, "site" for the program proper.
const insideEnv = "SLIPWAY_SITE"

// hostPIDEnv is the number of the init process as the machine outside sees it; nsenter wants it.
const hostPIDEnv = "SLIPWAY_SITE_PID"

// Inside says whether this process already runs in the site's namespaces.
func Inside() bool {
	return os.Getenv(insideEnv) == "site"
}

// Outside says that this is neither the site's process nor the init above it, which has nothing to do but to call Enter.
func Outside() bool {
	return os.Getenv(insideEnv) == ""
}

// HostPID is the process whose namespaces are the site's, numbered as outside.
func HostPID() string {
	return os.Getenv(hostPIDEnv)
}

// Enter runs this program again, with the same arguments, in new network, PID and mount namespaces and returns its exit code,
// with which the caller ends. Signals are passed on.
func Enter(ctx context.Context) (int, error) {
	role, attributes := "init", &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
		Setpgid:    true,
	}
	if os.Getenv(insideEnv) == "init" {
		role, attributes = "site", &syscall.SysProcAttr{Setpgid: true}
	}
	// Pdeathsig goes by thread: the one that starts the child has to live as long as this process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	child, err := again(role, attributes)
	if err != nil {
		return 1, err
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for {
			select {
			case s := <-signals:
				// The child may just have ended; then there is nobody to tell.
				_ = child.Process.Signal(s)
			case <-ctx.Done():
				_ = child.Process.Signal(syscall.SIGTERM)
				return
			case <-ended:
				return
			}
		}
	}()
	if role == "site" {
		return waitAsInit(child.Process.Pid)
	}
	var exit *exec.ExitError
	if err := child.Wait(); err != nil && !errors.As(err, &exit) {
		return 1, fmt.Errorf("wait for the site: %w", err)
	}
	return child.ProcessState.ExitCode(), nil
}

// again starts this program in another role. The init learns its number outside from a pipe, since inside it is 1.
func again(role string, attributes *syscall.SysProcAttr) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own executable: %w", err)
	}
	child := exec.Command(self, os.Args[1:]...)
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	child.SysProcAttr = attributes
	child.Env = append(os.Environ(), insideEnv+"="+role)
	if role == "site" {
		pid, err := readHostPID()
		if err != nil {
			return nil, err
		}
		child.Env = append(child.Env, hostPIDEnv+"="+pid)
		if err := child.Start(); err != nil {
			return nil, fmt.Errorf("start the site: %w", err)
		}
		return child, nil
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	defer reader.Close()
	defer writer.Close()
	child.ExtraFiles = []*os.File{reader}
	if err := child.Start(); err != nil {
		return nil, fmt.Errorf("start in new namespaces (root is needed): %w", err)
	}
	if _, err := writer.WriteString(strconv.Itoa(child.Process.Pid)); err != nil {
		return nil, fmt.Errorf("tell the site its number: %w", err)
	}
	return child, nil
}

// readHostPID reads what again wrote into the first extra file.
func readHostPID() (string, error) {
	pipe := os.NewFile(3, "host-pid")
	defer pipe.Close()
	var number [16]byte
	n, err := pipe.Read(number[:])
	if err != nil {
		return "", fmt.Errorf("read own number: %w", err)
	}
	return string(number[:n]), nil
}

// waitAsInit collects every orphan, which are many: shims outlive the appliance on purpose. It ends with the site's process.
func waitAsInit(site int) (int, error) {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 1, fmt.Errorf("wait for the site: %w", err)
		case pid == site && status.Signaled():
			return 128 + int(status.Signal()), nil
		case pid == site && status.Exited():
			return status.ExitStatus(), nil
		}
	}
}
