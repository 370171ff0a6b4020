package world

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
)

// aloneEnv is set in a test program that has a network of its own.
const aloneEnv = "SLIPWAY_TEST_ALONE"

// Main runs the tests of a package in a network of their own, with nothing but loopback: a port that is free there stays free until
// it is listened on, whatever other packages do at the same time. TestMain exits with the result. Without root they share the
// machine's network.
func Main(m *testing.M) (code int) {
	if os.Getenv(aloneEnv) == "" && os.Getuid() == 0 {
		return again()
	}
	if os.Getenv(aloneEnv) != "" {
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "set up loopback: %v: %s\n", err, out)
			return 1
		}
	}
	return m.Run()
}

// again runs this program in a new network, which ends with it.
func again() (code int) {
	// Pdeathsig goes by thread: the one that starts the child has to live as long as this process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	child := exec.Command("/proc/self/exe", os.Args[1:]...)
	child.Args[0] = os.Args[0]
	child.Env = append(os.Environ(), aloneEnv+"=1")
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	var exit *exec.ExitError
	if err := child.Run(); err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, "run the tests in a network of their own:", err)
		return 1
	}
	// A signal has no exit code.
	if code = child.ProcessState.ExitCode(); code < 0 {
		fmt.Fprintln(os.Stderr, "the tests ended by", child.ProcessState)
		return 1
	}
	return code
}
