package agentapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	"github.com/openshift/assisted-service/models"

	"github.com/slipway-io/slipway/services/agentapi/wire"
	"github.com/slipway-io/slipway/services/host"
)

// replyBody bounds a reply; the inventory of a big server is some hundred kilobytes.
const replyBody = 4 << 20

func (s *Server) reply(w http.ResponseWriter, r *http.Request) {
	c := s.enter(w, r, true)
	if c == nil {
		return
	}
	var reply wire.StepReply
	if !decode(w, r, replyBody, &reply) {
		return
	}
	// An installed system speaks only of its own reboot; what is on the disk may be anybody's work.
	if c.installed && reply.Type != string(host.StepRebootForReclaim) {
		problem(w, r, http.StatusForbidden, fmt.Sprintf("an installed host does not reply to step %q", clip(reply.Type)))
		return
	}
	ok, message := reply.ExitCode == 0, clip(reply.Error)
	if !ok {
		s.Log.Warn("step did not work", "host", c.hostID, "step", clip(reply.Type), "exitCode", reply.ExitCode, "err", message)
	}
	var change func(*agentv1beta1.Agent) error
	switch host.StepType(reply.Type) {
	case host.StepClean:
		change = func(a *agentv1beta1.Agent) error {
			host.CleanEnded(a, clip(reply.Output), ok, message, s.Now())
			return nil
		}
	case host.StepInventory:
		if !ok {
			break
		}
		inventory, err := parseInventory([]byte(reply.Output))
		if err != nil {
			problem(w, r, http.StatusBadRequest, err.Error())
			return
		}
		change = func(a *agentv1beta1.Agent) error { return host.SetInventory(a, inventory, s.Requirements, s.Now()) }
	case host.StepInstall:
		if !ok && message == "" {
			message = fmt.Sprintf("the install step ended with exit code %d", reply.ExitCode)
		}
		change = func(a *agentv1beta1.Agent) error { host.InstallEnded(a, ok, message); return nil }
	case host.StepRebootForReclaim:
		change = func(a *agentv1beta1.Agent) error { host.ReclaimEnded(a, ok, message, s.Now()); return nil }
	default:
		if !knownStep(reply.Type) {
			problem(w, r, http.StatusBadRequest, fmt.Sprintf("step type %q is not known", clip(reply.Type)))
			return
		}
	}
	if change != nil {
		if _, err := s.update(r.Context(), c.agent, change); err != nil {
			s.failed(w, r, c, "take reply", err)
			return
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// knownStep says whether the protocol has the step, whoever gave it.
func knownStep(step string) bool {
	return slices.Contains([]string{
		"connectivity-check", "free-network-addresses", "ntp-synchronizer", "domain-resolution", "installation-disk-speed-check",
		"container-image-availability", "api-vip-connectivity-check", "tang-connectivity-check", "dhcp-lease-allocate", "verify-vips",
		"download-boot-artifacts", "logs-gather", "stop-installation", "upgrade-agent", "next-step-runner", "execute",
	}, step)
}

func (s *Server) progress(w http.ResponseWriter, r *http.Request) {
	c := s.enter(w, r, false)
	if c == nil {
		return
	}
	var request wire.ProgressRequest
	if !decode(w, r, smallBody, &request) {
		return
	}
	stage, info := models.HostStage(request.Stage), clip(request.Info)
	power, held := host.Power{}, false
	if stage == models.HostStageRebooting {
		power = s.power(r.Context(), c.agent)
		if held = !host.Ready(c.agent, power, s.Now()); held {
			info = host.Waits(power)
		}
	}
	_, err := s.update(r.Context(), c.agent, func(a *agentv1beta1.Agent) error {
		return host.Progress(a, stage, info, s.Now())
	})
	if err != nil {
		s.failed(w, r, c, "take progress", err)
		return
	}
	if held {
		// The host reports again until it may go.
		w.Header().Set("Retry-After", "1")
		problem(w, r, http.StatusServiceUnavailable, info)
		return
	}
	s.Log.Info("host progress", "host", c.hostID, "stage", request.Stage, "info", info, "mediumLeft", power.Medium)
	w.WriteHeader(http.StatusOK)
}

// parseInventory turns what an agent says into what the Agent shows.
func parseInventory(data []byte) (agentv1beta1.HostInventory, error) {
	var in wire.Inventory
	if err := json.Unmarshal(data, &in); err != nil {
		return agentv1beta1.HostInventory{}, fmt.Errorf("inventory: %w", err)
	}
	out := agentv1beta1.HostInventory{
		Hostname: clip(in.Hostname), BmcAddress: in.BMCAddress, BmcV6address: in.BMCV6Address,
		Memory: agentv1beta1.HostMemory{PhysicalBytes: in.Memory.PhysicalBytes, UsableBytes: in.Memory.UsableBytes},
		Cpu: agentv1beta1.HostCPU{
			Count: in.CPU.Count, ClockMegahertz: int64(in.CPU.Frequency), Flags: in.CPU.Flags,
			ModelName: in.CPU.ModelName, Architecture: in.CPU.Architecture,
		},
		Boot: agentv1beta1.HostBoot{CurrentBootMode: in.Boot.CurrentBootMode, PxeInterface: in.Boot.PXEInterface},
		SystemVendor: agentv1beta1.HostSystemVendor{
			SerialNumber: in.SystemVendor.SerialNumber, ProductName: in.SystemVendor.ProductName,
			Manufacturer: in.SystemVendor.Manufacturer, Virtual: in.SystemVendor.Virtual,
		},
	}
	for _, nic := range in.Interfaces {
		out.Interfaces = append(out.Interfaces, agentv1beta1.HostInterface{
			Name: nic.Name, MacAddress: nic.MACAddress, IPV4Addresses: some(nic.IPv4Addresses), IPV6Addresses: some(nic.IPv6Addresses),
			HasCarrier: nic.HasCarrier, Mtu: nic.MTU, SpeedMbps: nic.SpeedMbps, Vendor: nic.Vendor, Product: nic.Product,
			Biosdevname: nic.Biosdevname, ClientId: nic.ClientID, Flags: some(nic.Flags),
		})
	}
	for _, disk := range in.Disks {
		out.Disks = append(out.Disks, parseDisk(disk))
	}
	return out, nil
}

func parseDisk(disk wire.Disk) agentv1beta1.HostDisk {
	// SMART texts are what makes inventories outgrow an object of the API.
	const longestSMART = 8 << 10
	if len(disk.SMART) > longestSMART {
		disk.SMART = ""
	}
	if disk.ID == "" {
		disk.ID = disk.Path
	}
	return agentv1beta1.HostDisk{
		ID: disk.ID, DriveType: disk.DriveType, Vendor: disk.Vendor, Name: disk.Name, Path: disk.Path, Hctl: disk.HCTL,
		ByPath: disk.ByPath, ByID: disk.ByID, Model: disk.Model, Wwn: disk.WWN, Serial: disk.Serial, SizeBytes: disk.SizeBytes,
		Bootable: disk.Bootable, Smart: disk.SMART,
		IoPerf: agentv1beta1.HostIOPerf{SyncDurationMilliseconds: disk.IOPerf.SyncDuration},
		InstallationEligibility: agentv1beta1.HostInstallationEligibility{
			Eligible: disk.Eligibility.Eligible, NotEligibleReasons: some(disk.Eligibility.NotEligibleReasons),
		},
	}
}

// some makes an empty list of none: the CRD takes no null.
func some(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
