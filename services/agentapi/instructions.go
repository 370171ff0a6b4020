package agentapi

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"

	"github.com/slipway-io/slipway/services/agentapi/wire"
	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/host"
)

// longest is how long a host may wait on the line.
const longest = 25 * time.Second

// patience reads "Prefer: wait=<seconds>".
func patience(r *http.Request) time.Duration {
	for preference := range strings.SplitSeq(r.Header.Get(wire.PreferHeader), ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(preference), "=")
		seconds, err := strconv.Atoi(value)
		if ok && strings.EqualFold(name, "wait") && err == nil && seconds > 0 {
			return min(time.Duration(seconds)*time.Second, longest)
		}
	}
	return 0
}

func (s *Server) instructions(w http.ResponseWriter, r *http.Request) {
	c := s.enter(w, r, true)
	if c == nil {
		return
	}
	if c.installed && !awaited(c.agent) {
		s.refuse(w, r, c, http.StatusConflict, fmt.Sprintf("host %s is not an installed host; boot it from the network", c.hostID))
		return
	}
	s.readClock(c, r)
	if !c.installed {
		s.sessions.show(c.hostID, r.Header.Get(wire.ApprovalHeader))
	}
	var err error
	c.agent, err = s.update(r.Context(), c.agent, func(a *agentv1beta1.Agent) error {
		host.CheckIn(a, c.installed, s.Now())
		return nil
	})
	if err != nil {
		s.failed(w, r, c, "note contact", err)
		return
	}
	wait := patience(r)
	plan, steps, err := s.await(r.Context(), c, wait)
	if err != nil {
		s.failed(w, r, c, "wait for the next step", err)
		return
	}
	if r.Context().Err() != nil {
		return
	}
	instructions, err := s.instruct(r.Context(), c, steps)
	if err != nil {
		s.failed(w, r, c, "make the next step", err)
		return
	}
	next := plan.Next
	if wait > 0 {
		next = 0
		w.Header().Set(wire.PreferenceApplied, "wait="+strconv.Itoa(int(wait/time.Second)))
	}
	after := wire.PostStepContinue
	if plan.Exit {
		after = wire.PostStepExit
	}
	answer(w, http.StatusOK, wire.Steps{Next: int64(next / time.Second), PostStep: after, Instructions: instructions})
}

// awaited says that an installed system may speak for the host.
func awaited(a *agentv1beta1.Agent) bool {
	switch host.State(a) {
	case api.StateAddedToExistingCluster, api.StateInstallingInProgress, api.StateInstallingPendingUser, api.StateReclaiming,
		api.StateReclaimingRebooting, api.StateUnbindingPendingUserAction, api.StateError:
		return true
	}
	return false
}

func (s *Server) readClock(c *call, r *http.Request) {
	seconds, err := strconv.ParseInt(r.URL.Query().Get("timestamp"), 10, 64)
	if err == nil && seconds > 0 {
		s.sessions.clock(c.hostID, time.Unix(seconds, 0).Sub(s.Now()).Truncate(time.Second))
	}
}

// await gives the steps that are due, at once or when the Agent's state brings some, at most after patience. The call's Agent is
// the one that they were decided on.
func (s *Server) await(ctx context.Context, c *call, patience time.Duration) (host.Plan, []host.StepType, error) {
	hostID := c.hostID
	plan := s.plan(ctx, c.agent)
	next := plan.Next
	if patience > 0 {
		next = time.Second
	}
	done := s.sessions.wait(hostID, next)
	defer done()
	end := time.NewTimer(patience)
	defer end.Stop()
	for {
		changed := s.sessions.changed(hostID)
		agent, err := s.read(ctx, hostID)
		if err != nil {
			return plan, nil, err
		}
		c.agent = agent
		plan = s.plan(ctx, agent)
		steps, in := s.sessions.due(hostID, plan)
		if len(steps) > 0 || plan.Exit || patience == 0 {
			return plan, steps, nil
		}
		again := (<-chan time.Time)(nil)
		if in > 0 {
			again = time.After(in)
		}
		select {
		case <-changed:
		case <-again:
		case <-end.C:
			return plan, nil, nil
		case <-s.stop:
			return plan, nil, nil
		case <-ctx.Done():
			return plan, nil, nil
		}
	}
}

// plan leaves to a host's BMC what that does better.
func (s *Server) plan(ctx context.Context, agent *agentv1beta1.Agent) host.Plan {
	plan := host.NextSteps(agent)
	if len(plan.Steps) > 0 && host.Reclaims(agent, s.power(ctx, agent)) {
		plan.Steps = nil
	}
	return plan
}

// power of a host; one that cannot be found out is nobody's, so that the host does what it can by itself.
func (s *Server) power(ctx context.Context, agent *agentv1beta1.Agent) host.Power {
	if s.Powers == nil {
		return host.Power{}
	}
	power, err := s.Powers.Power(ctx, agent)
	if err != nil {
		s.Log.Warn("who switches the host is not known", "host", agent.Name, "err", err)
	}
	return power
}

// instruct turns due steps into instructions of the wire.
func (s *Server) instruct(ctx context.Context, c *call, steps []host.StepType) ([]wire.Step, error) {
	instructions := []wire.Step{}
	for _, step := range steps {
		args, err := s.arguments(ctx, c, step)
		if err != nil {
			return nil, fmt.Errorf("step %s of host %s: %w", step, c.hostID, err)
		}
		id := make([]byte, 4)
		// Read of crypto/rand never fails.
		_, _ = rand.Read(id)
		instructions = append(instructions, wire.Step{Type: string(step), ID: string(step) + "-" + hex.EncodeToString(id), Args: args})
		s.Log.Debug("step given", "host", c.hostID, "step", step)
	}
	return instructions, nil
}

func (s *Server) arguments(ctx context.Context, c *call, step host.StepType) ([]string, error) {
	agent := c.agent
	var argument any
	switch step {
	case host.StepInventory:
		return []string{c.hostID}, nil
	case host.StepRebootForReclaim:
		argument = wire.ReclaimRequest{HostFSMountDir: "/host", BootDevice: bootDevice(agent)}
	case host.StepClean:
		argument = wire.CleanRequest{DiskID: agent.Status.InstallationDiskID, Path: bootDevice(agent)}
	case host.StepInstall:
		arch := agent.Status.Inventory.Cpu.Architecture
		disk, err := s.Images.Disk(ctx, arch, c.infraEnv.Spec.OSImageVersion)
		if err != nil {
			return nil, fmt.Errorf("disk image for %s: %w", arch, err)
		}
		argument = wire.InstallRequest{
			InfraEnvID: string(c.infraEnv.UID), HostID: c.hostID, Role: string(agent.Status.Role), BootDevice: bootDevice(agent),
			DisksToFormat: []string{}, NotifyReboots: true,
			ImageURL: disk.URL, ImageSHA256: disk.SHA256, ImageSize: disk.Size,
			ImageCompressedSHA256: disk.CompressedSHA256, ImageCompressedSize: disk.CompressedSize,
		}
	}
	data, err := json.Marshal(argument)
	if err != nil {
		return nil, fmt.Errorf("encode arguments: %w", err)
	}
	return []string{string(data)}, nil
}

// bootDevice is the path of the disk to install to; ids that outlive a reboot come first.
func bootDevice(agent *agentv1beta1.Agent) string {
	disk, found := host.FindDisk(agent.Status.Inventory, agent.Status.InstallationDiskID)
	if !found {
		return agent.Status.InstallationDiskID
	}
	for _, path := range []string{disk.ByID, disk.ByPath, disk.Path} {
		if path != "" {
			return path
		}
	}
	return disk.ID
}
