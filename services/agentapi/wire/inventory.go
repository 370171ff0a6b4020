package wire

// Inventory is what a machine consists of.
type Inventory struct {
	Hostname     string       `json:"hostname"`
	BMCAddress   string       `json:"bmc_address"`
	BMCV6Address string       `json:"bmc_v6address"`
	SystemVendor SystemVendor `json:"system_vendor"`
	CPU          CPU          `json:"cpu"`
	Memory       Memory       `json:"memory"`
	Boot         Boot         `json:"boot"`
	Interfaces   []Interface  `json:"interfaces"`
	Disks        []Disk       `json:"disks"`
	GPUs         []GPU        `json:"gpus"`
	Routes       []Route      `json:"routes"`
	TPMVersion   string       `json:"tpm_version,omitempty"`
	Timestamp    int64        `json:"timestamp,omitempty"`
}

// SystemVendor is what the firmware says of the machine.
type SystemVendor struct {
	Manufacturer string `json:"manufacturer,omitempty"`
	ProductName  string `json:"product_name,omitempty"`
	SerialNumber string `json:"serial_number,omitempty"`
	Virtual      bool   `json:"virtual,omitempty"`
}

// CPU is of all sockets together.
type CPU struct {
	Count        int64    `json:"count"`
	Frequency    float64  `json:"frequency,omitempty"`
	Flags        []string `json:"flags"`
	ModelName    string   `json:"model_name,omitempty"`
	Architecture string   `json:"architecture"`
}

// Memory in bytes.
type Memory struct {
	PhysicalBytes  int64  `json:"physical_bytes"`
	UsableBytes    int64  `json:"usable_bytes"`
	PhysicalMethod string `json:"physical_bytes_method,omitempty"`
}

// Boot is how the running system was started.
type Boot struct {
	CurrentBootMode string `json:"current_boot_mode"`
	PXEInterface    string `json:"pxe_interface,omitempty"`
	CommandLine     string `json:"command_line,omitempty"`
	SecureBootState string `json:"secure_boot_state,omitempty"`
	DeviceType      string `json:"device_type,omitempty"`
}

// Interface is a network interface.
type Interface struct {
	Name          string   `json:"name"`
	MACAddress    string   `json:"mac_address"`
	IPv4Addresses []string `json:"ipv4_addresses"`
	IPv6Addresses []string `json:"ipv6_addresses"`
	HasCarrier    bool     `json:"has_carrier"`
	MTU           int64    `json:"mtu"`
	SpeedMbps     int64    `json:"speed_mbps"`
	Vendor        string   `json:"vendor,omitempty"`
	Product       string   `json:"product,omitempty"`
	Biosdevname   string   `json:"biosdevname,omitempty"`
	ClientID      string   `json:"client_id,omitempty"`
	Flags         []string `json:"flags"`
	Type          string   `json:"type,omitempty"`
}

// Disk is a block device that could hold a system.
type Disk struct {
	ID          string      `json:"id"`
	Name        string      `json:"name"`
	Path        string      `json:"path"`
	ByPath      string      `json:"by_path,omitempty"`
	ByID        string      `json:"by_id,omitempty"`
	DriveType   string      `json:"drive_type"`
	SizeBytes   int64       `json:"size_bytes"`
	Model       string      `json:"model,omitempty"`
	Serial      string      `json:"serial,omitempty"`
	Vendor      string      `json:"vendor,omitempty"`
	WWN         string      `json:"wwn,omitempty"`
	HCTL        string      `json:"hctl,omitempty"`
	Bootable    bool        `json:"bootable,omitempty"`
	Removable   bool        `json:"removable,omitempty"`
	IsMedia     bool        `json:"is_installation_media,omitempty"`
	HasUUID     bool        `json:"has_uuid,omitempty"`
	Holders     string      `json:"holders,omitempty"`
	SMART       string      `json:"smart,omitempty"`
	IOPerf      IOPerf      `json:"io_perf,omitzero"`
	Eligibility Eligibility `json:"installation_eligibility"`
}

// IOPerf is how fast a disk answers.
type IOPerf struct {
	SyncDuration int64 `json:"sync_duration,omitempty"`
}

// Eligibility says whether the agent would install to a disk.
type Eligibility struct {
	Eligible           bool     `json:"eligible,omitempty"`
	NotEligibleReasons []string `json:"not_eligible_reasons"`
}

// GPU is a display or compute device.
type GPU struct {
	Name     string `json:"name,omitempty"`
	Vendor   string `json:"vendor,omitempty"`
	VendorID string `json:"vendor_id,omitempty"`
	DeviceID string `json:"device_id,omitempty"`
	Address  string `json:"address,omitempty"`
}

// Route is one entry of the main table; the default route's destination is 0.0.0.0 or ::.
type Route struct {
	Interface   string `json:"interface"`
	Gateway     string `json:"gateway,omitempty"`
	Destination string `json:"destination"`
	Family      int32  `json:"family"`
	Metric      int32  `json:"metric,omitempty"`
}
