package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-io/slipway/cmd/slipway-agent/internal/install"
	"github.com/slipway-io/slipway/cmd/slipway-agent/internal/inventory"
	"github.com/slipway-io/slipway/services/agentapi/wire"
)

// Steps that this agent can carry out.
const (
	stepInventory = "inventory"
	stepInstall   = "install"
	stepReclaim   = "reboot-for-reclaim"
	stepClean     = "clean-disk"
)

// unknownStep is the exit code of a step that the agent cannot carry out.
const unknownStep = -1

// carryOut does a step and replies; it may give what is to be done after everything else.
func (r *Runner) carryOut(ctx context.Context, step wire.Step) (after func(context.Context) error) {
	reply := wire.StepReply{Type: step.Type, ID: step.ID}
	tries := 60
	var err error
	switch step.Type {
	case stepInventory:
		reply.Output, err = r.inventory()
	case stepClean:
		var request wire.CleanRequest
		if err = arguments(step, &request); err == nil {
			err = r.clean(request)
			reply.Output = request.DiskID
		}
	case stepInstall:
		var request wire.InstallRequest
		if err = arguments(step, &request); err == nil {
			err = r.install(ctx, request)
		}
		if err == nil {
			after = r.leave
		}
	case stepReclaim:
		tries = 3
		var request wire.ReclaimRequest
		if err = arguments(step, &request); err == nil {
			err = r.reclaim(request)
		}
		if err == nil {
			after = r.restart
		}
	default:
		reply.ExitCode, reply.Error = unknownStep, "failed to find action for step type "+step.Type
	}
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		reply.ExitCode, reply.Error = 1, err.Error()
		r.say("%s: %v", step.Type, err)
	}
	r.send(ctx, reply, tries)
	return after
}

func arguments(step wire.Step, into any) error {
	if len(step.Args) != 1 {
		return fmt.Errorf("step %s has %d arguments instead of 1", step.Type, len(step.Args))
	}
	if err := json.Unmarshal([]byte(step.Args[0]), into); err != nil {
		return fmt.Errorf("arguments of step %s: %w", step.Type, err)
	}
	return nil
}

func (r *Runner) inventory() (string, error) {
	found := inventory.Collect(r.Root, time.Now())
	data, err := json.Marshal(found)
	if err != nil {
		return "", fmt.Errorf("encode inventory: %w", err)
	}
	r.say("inventory: %s, %d CPUs, %d MiB, %d disks, %d interfaces", found.Hostname, found.CPU.Count, found.Memory.PhysicalBytes>>20,
		len(found.Disks), len(found.Interfaces))
	return string(data), nil
}

// reclaim makes the disk unbootable, so that the machine comes back into the inventory.
func (r *Runner) reclaim(request wire.ReclaimRequest) error {
	disk := r.rootDisk()
	if disk == "" {
		if request.BootDevice == "" {
			return errNoDisk
		}
		disk = r.Root.Path(request.BootDevice)
	}
	r.say("wiping %s and rebooting into the inventory", disk)
	return install.Wipe(disk)
}

// clean wipes what a disk is known by, so that nothing of its last owner boots or is found.
func (r *Runner) clean(request wire.CleanRequest) error {
	if request.Path == "" {
		return errNoDisk
	}
	path, err := filepath.EvalSymlinks(r.Root.Path(request.Path))
	if err != nil {
		return fmt.Errorf("find disk: %w", err)
	}
	name := filepath.Base(path)
	var partitions []install.Span
	for _, partition := range r.Root.Partitions(name) {
		// The kernel counts in sectors of 512 bytes, whatever the disk has.
		const sector = 512
		start, err1 := strconv.ParseInt(r.Root.Line("sys/block", name, partition, "start"), 10, 64)
		sectors, err2 := strconv.ParseInt(r.Root.Line("sys/block", name, partition, "size"), 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return fmt.Errorf("read partition %s: %w", partition, err)
		}
		partitions = append(partitions, install.Span{Offset: start * sector, Bytes: sectors * sector})
	}
	r.say("wiping partition tables and signatures of %s with %d partitions", request.Path, len(partitions))
	return install.Clean(path, partitions)
}

// rootDisk is the disk that the running system is mounted from, empty when it runs from memory.
func (r *Runner) rootDisk() string {
	for line := range strings.Lines(r.Root.Line("proc/self/mountinfo")) {
		fields := strings.Fields(line)
		const deviceField, pointField = 2, 4
		if len(fields) <= pointField || fields[pointField] != "/" {
			continue
		}
		device, err := filepath.EvalSymlinks(r.Root.Path("sys/dev/block", fields[deviceField]))
		if err != nil {
			return ""
		}
		if _, err := os.Stat(filepath.Join(device, "partition")); err == nil {
			device = filepath.Dir(device)
		}
		return "/dev/" + filepath.Base(device)
	}
	return ""
}

// finished says that the disk is complete and only the reboot is missing.
func (r *Runner) finished() bool {
	_, err := os.Stat(r.Marker)
	return r.Marker != "" && err == nil
}

func (r *Runner) finish() error {
	if r.Marker == "" {
		return nil
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(r.Marker), 0o700), os.WriteFile(r.Marker, nil, 0o600)); err != nil {
		return fmt.Errorf("note the finished installation: %w", err)
	}
	return nil
}

// leave reports the reboot, without which the service would boot the live system again, and reboots.
func (r *Runner) leave(ctx context.Context) error {
	const enough = 2 * time.Minute
	r.report(ctx, stageRebooting, "", enough)
	return r.restart(ctx)
}

func (r *Runner) restart(context.Context) error {
	r.say("rebooting")
	if err := r.Reboot(); err != nil {
		return fmt.Errorf("reboot: %w", err)
	}
	return nil
}
