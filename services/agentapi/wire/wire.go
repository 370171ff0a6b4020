// Package wire has the JSON of the REST protocol v2 between the service and the agents; both sides use it.
//
// Field names are those of the assisted service. Fields that only Slipway's own agent knows say so.
package wire

// Headers of the protocol.
const (
	// SecretHeader carries the InfraEnv's or the host's token.
	SecretHeader = "X-Secret-Key"
	// ApprovalHeader carries the token by which an approval policy knows a host that nobody declared.
	ApprovalHeader = "X-Slipway-Approval"
	// PreferHeader: "wait=25" says that the agent can wait on the line (RFC 7240); PreferenceApplied answers that it did.
	PreferHeader      = "Prefer"
	PreferenceApplied = "Preference-Applied"
)

// BasePath comes before every path of the protocol.
const BasePath = "/api/assisted-install"

// RegisterRequest opens a host's conversation.
type RegisterRequest struct {
	HostID       string `json:"host_id"`
	AgentVersion string `json:"discovery_agent_version,omitempty"`
	// MACs guard the identity; Slipway's own agent sends them.
	MACs []string `json:"mac_addresses,omitempty"`
}

// RunnerCommand tells an upstream agent how to start its runner.
type RunnerCommand struct {
	Command      string   `json:"command"`
	Args         []string `json:"args"`
	RetrySeconds int64    `json:"retry_seconds,omitempty"`
}

// RegisterResponse is the host as the service sees it.
type RegisterResponse struct {
	ID         string        `json:"id"`
	InfraEnvID string        `json:"infra_env_id"`
	Kind       string        `json:"kind"`
	Href       string        `json:"href"`
	Status     string        `json:"status"`
	StatusInfo string        `json:"status_info"`
	Runner     RunnerCommand `json:"next_step_runner_command"`
}

// What an agent does after a poll.
const (
	PostStepContinue = "continue"
	PostStepExit     = "exit"
)

// Steps answers a poll.
type Steps struct {
	Next         int64  `json:"next_instruction_seconds"`
	PostStep     string `json:"post_step_action"`
	Instructions []Step `json:"instructions"`
}

// Step is one piece of work.
type Step struct {
	Type string   `json:"step_type"`
	ID   string   `json:"step_id"`
	Args []string `json:"args"`
}

// StepReply is what came of it.
type StepReply struct {
	Type     string `json:"step_type"`
	ID       string `json:"step_id"`
	ExitCode int    `json:"exit_code"`
	Output   string `json:"output,omitempty"`
	Error    string `json:"error,omitempty"`
}

// ProgressRequest reports an installation stage.
type ProgressRequest struct {
	Stage string `json:"current_stage"`
	Info  string `json:"progress_info,omitempty"`
}

// LogsProgress reports what an agent does about its logs.
type LogsProgress struct {
	State string `json:"logs_state"`
}

// InstallRequest is the argument of the install step.
type InstallRequest struct {
	InfraEnvID      string   `json:"infra_env_id"`
	HostID          string   `json:"host_id"`
	ClusterID       string   `json:"cluster_id,omitempty"`
	Role            string   `json:"role"`
	BootDevice      string   `json:"boot_device"`
	InstallerImage  string   `json:"installer_image"`
	ControllerImage string   `json:"controller_image"`
	CheckCVO        bool     `json:"check_cvo"`
	DisksToFormat   []string `json:"disks_to_format"`
	NotifyReboots   bool     `json:"notify_num_reboots"`

	// The rest is for Slipway's own agent: the zstd-compressed disk image and the digests of both of its forms.
	ImageURL              string `json:"image_url,omitempty"`
	ImageSHA256           string `json:"image_sha256,omitempty"`
	ImageSize             int64  `json:"image_size,omitempty"`
	ImageCompressedSHA256 string `json:"image_compressed_sha256,omitempty"`
	ImageCompressedSize   int64  `json:"image_compressed_size,omitempty"`
}

// ReclaimRequest is the argument of reboot-for-reclaim.
type ReclaimRequest struct {
	HostFSMountDir string `json:"host_fs_mount_dir"`
	// BootDevice is the disk to wipe; Slipway's own agent knows it.
	BootDevice string `json:"boot_device,omitempty"`
}

// CleanRequest is the argument of clean-disk, which only Slipway's own agent knows. The reply's output is the disk's id.
type CleanRequest struct {
	DiskID string `json:"disk_id"`
	// Path of the device.
	Path string `json:"path"`
}

// Problem is an error's document.
type Problem struct {
	Kind   string `json:"kind"`
	ID     int    `json:"id"`
	Href   string `json:"href"`
	Code   string `json:"code"`
	Reason string `json:"reason"`
}
