// Package peers brings the programs that benches compare with, and measures what they cost. They are unpacked, not installed:
// an installed server would start on the machine's ports.
package peers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Unpack gives a directory with the files of Debian packages, from the cache when they were unpacked before.
func Unpack(ctx context.Context, packages ...string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find cache: %w", err)
	}
	cache = filepath.Join(cache, "slipway", "peers")
	dir := filepath.Join(cache, strings.Join(packages, "+"))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(cache, "unpack-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	download := exec.CommandContext(ctx, "apt-get", append([]string{"download", "-q"}, packages...)...)
	download.Dir = work
	if out, err := download.CombinedOutput(); err != nil {
		return "", fmt.Errorf("download %s (apt-get update may help): %w\n%s", packages, err, out)
	}
	archives, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil {
		return "", err
	}
	root := filepath.Join(work, "root")
	for _, archive := range archives {
		if out, err := exec.CommandContext(ctx, "dpkg-deb", "-x", archive, root).CombinedOutput(); err != nil {
			return "", fmt.Errorf("unpack %s: %w\n%s", filepath.Base(archive), err, out)
		}
	}
	return dir, os.Rename(root, dir)
}

// Libraries is the environment variable that lets unpacked programs find unpacked libraries.
func Libraries(dir string) string {
	found, _ := filepath.Glob(filepath.Join(dir, "usr/lib/*-linux-*")) // the pattern is well formed
	more, _ := filepath.Glob(filepath.Join(dir, "lib/*-linux-*"))
	return "LD_LIBRARY_PATH=" + strings.Join(slices.Concat(found, more), ":")
}

// FreePort is a port that nobody had a moment ago.
func FreePort(network, host string) (netip.AddrPort, error) {
	if network == "udp" {
		conn, err := net.ListenPacket(network, net.JoinHostPort(host, "0"))
		if err != nil {
			return netip.AddrPort{}, err
		}
		address := conn.LocalAddr().(*net.UDPAddr).AddrPort()
		return address, conn.Close()
	}
	listener, err := net.Listen(network, net.JoinHostPort(host, "0"))
	if err != nil {
		return netip.AddrPort{}, err
	}
	address := listener.Addr().(*net.TCPAddr).AddrPort()
	return address, listener.Close()
}

// Process is a server under measurement, with all that it starts.
type Process struct {
	name  string
	group group
	done  chan error
	out   *os.File
}

// Start starts a program in a control group of its own; what it prints is shown when it ends early.
func Start(command []string, env ...string) (*Process, error) {
	group, err := newGroup()
	if err != nil {
		return nil, err
	}
	out, err := os.CreateTemp("", "slipway-bench-log-")
	if err != nil {
		return nil, errors.Join(err, group.kill())
	}
	within := group.within(command)
	cmd := exec.Command(within[0], within[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", command[0], err), out.Close(), os.Remove(out.Name()), group.kill())
	}
	p := &Process{name: filepath.Base(command[0]), group: group, done: make(chan error, 1), out: out}
	go func() { p.done <- cmd.Wait() }()
	return p, nil
}

// Ended says why, if the program has ended.
func (p *Process) Ended() error {
	select {
	case err := <-p.done:
		p.done <- err
		said, readErr := os.ReadFile(p.out.Name())
		return fmt.Errorf("%s ended: %w\n%s", p.name, errors.Join(err, readErr), said)
	default:
		return nil
	}
}

// Stop kills the program and all that it started.
func (p *Process) Stop() error {
	err := p.group.kill()
	<-p.done
	return errors.Join(err, p.out.Close(), os.Remove(p.out.Name()))
}
