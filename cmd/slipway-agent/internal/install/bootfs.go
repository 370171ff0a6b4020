package install

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// placeConfig writes the host's config and network into the boot file system, which the kernel sees only through a loop device
// as long as the disk's head with the partition table is missing.
func placeConfig(d *device, boot partition, job Job) (err error) {
	loop, err := attach(d.file, boot)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, detach(loop)) }()
	dir, err := os.MkdirTemp("", "slipway-boot-")
	if err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}
	defer func() { err = errors.Join(err, os.Remove(dir)) }()
	if err := unix.Mount(loop.Name(), dir, "ext4", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount boot file system: %w", err)
	}
	defer func() {
		if unmountErr := unix.Unmount(dir, 0); unmountErr != nil {
			err = errors.Join(err, fmt.Errorf("unmount boot file system: %w", unmountErr))
		}
	}()
	return writeConfig(dir, job)
}

// networkDir on the boot partition is where CoreOS's first boot takes keyfiles from.
const networkDir = "coreos-firstboot-network"

// writeConfig leaves what GRUB and the initramfs look for on the first boot.
func writeConfig(boot string, job Job) error {
	root, err := os.OpenRoot(boot)
	if err != nil {
		return fmt.Errorf("open boot file system: %w", err)
	}
	defer root.Close()
	dirs := []string{"ignition"}
	if len(job.Network) > 0 {
		dirs = append(dirs, networkDir)
	}
	for _, dir := range dirs {
		if err := root.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make directory %s: %w", dir, err)
		}
	}
	for name, content := range job.Network {
		if err := writeFile(root, networkDir+"/"+name, content, 0o600); err != nil {
			return fmt.Errorf("write keyfile %s: %w", name, err)
		}
	}
	for _, file := range []struct {
		name    string
		content []byte
		mode    os.FileMode
	}{{"ignition/config.ign", job.Ignition, 0o600}, {"ignition.firstboot", nil, 0o644}} {
		if err := writeFile(root, file.name, file.content, file.mode); err != nil {
			return fmt.Errorf("write %s: %w", file.name, err)
		}
	}
	for _, dir := range append(dirs, ".") {
		handle, err := root.Open(dir)
		if err != nil {
			return fmt.Errorf("open %s: %w", dir, err)
		}
		if err := errors.Join(handle.Sync(), handle.Close()); err != nil {
			return fmt.Errorf("flush %s: %w", dir, err)
		}
	}
	return nil
}

func writeFile(root *os.Root, name string, content []byte, mode os.FileMode) error {
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	return errors.Join(err, file.Chmod(mode), file.Sync(), file.Close())
}

// attach makes a loop device of a part of the disk.
func attach(backing *os.File, part partition) (*os.File, error) {
	const control = "/dev/loop-control"
	if _, err := os.Stat(control); err != nil {
		// The module may be missing only because nobody has needed it yet; the open tells.
		_ = exec.Command("modprobe", "loop").Run()
	}
	ctl, err := os.OpenFile(control, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open loop control: %w", err)
	}
	defer ctl.Close()
	const tries = 16
	for range tries {
		number, err := unix.IoctlRetInt(int(ctl.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("find free loop device: %w", err)
		}
		path := filepath.Join("/dev", fmt.Sprintf("loop%d", number))
		loop, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return nil, fmt.Errorf("open loop device: %w", err)
		}
		config := unix.LoopConfig{Fd: uint32(backing.Fd()), Info: unix.LoopInfo64{
			Offset: uint64(part.offset), Sizelimit: uint64(part.bytes), Flags: unix.LO_FLAGS_AUTOCLEAR,
		}}
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &config)
		if err == nil {
			return loop, nil
		}
		if closeErr := loop.Close(); !errors.Is(err, unix.EBUSY) {
			return nil, errors.Join(fmt.Errorf("configure %s: %w", path, err), closeErr)
		}
	}
	return nil, errors.New("every free loop device was taken by another process")
}

// detach flushes; the device frees itself with its last user, which is waited for: it holds the disk.
func detach(loop *os.File) error {
	name := filepath.Base(loop.Name())
	err := loop.Sync()
	if closeErr := loop.Close(); closeErr != nil {
		err = errors.Join(err, closeErr)
	}
	if err != nil {
		return fmt.Errorf("flush boot file system: %w", err)
	}
	deadline := time.NewTimer(5 * time.Second)
	defer deadline.Stop()
	for {
		if _, err := os.Stat("/sys/block/" + name + "/loop/backing_file"); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		select {
		case <-deadline.C:
			return fmt.Errorf("loop device %s does not let go of the disk", name)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
