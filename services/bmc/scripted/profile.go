package scripted

// Profile is how one vendor's BMC answers: what it has, and what it refuses. Sources: bmc.md §2.3–2.13 of the references.
type Profile struct {
	Name, Manufacturer, Model  string
	SystemID, ManagerID        string
	ManagerFirmware            string
	ResetTypes, BootTargets    []string
	Slots                      []Slot
	MediaAtSystem              bool
	SessionLimit               int
	Sessions                   bool
	ETag                       ETag
	BIOS                       map[string]any
	ApplyTimes                 []string
	refusals                   refusals
	registryOddities, settings bool
}

// Slot of virtual media.
type Slot struct {
	ID    string
	Types []string
	// NoAction: no InsertMedia, PATCH is the way.
	NoAction bool
	// Local: an own store of the BMC, which takes no URL.
	Local bool
}

// ETag is how a BMC tags resources.
type ETag string

// The ways. DemandStrong tells weak ones and wants strong ones back.
const (
	NoETag       ETag = ""
	Weak         ETag = "weak"
	Strong       ETag = "strong"
	DemandStrong ETag = "demand strong"
)

// refusals of a vendor, each by its documented behaviour.
type refusals struct {
	bootEnabledMissing   bool // Supermicro: Enabled must always be sent
	bootEnabledUnchanged bool // story 2007355
	bootIncomplete       bool // AMI, ASRock: Mode, Enabled and Target together
	bootMode             bool // Supermicro X10: no Mode
	bootReadOnly         bool // iDRAC10: Settings only
	bootFlipsMode        bool // Supermicro: mode falls back to BIOS unless sent
	bootHTTPURI          bool // iLO: HttpBootUri
	bootDuringPOST       int  // iLO: refusals while in POST
	mediaExtras          bool // Supermicro: Inserted, WriteProtected
	mediaQuery           bool // Supermicro: URL with ? or =
	mediaProtocol        bool // Nokia: TransferProtocolType demanded
	mediaAccount         bool // DGX: UserName and Password demanded
	mediaTask            bool // insert answers 202
	mediaEjectLag        int  // Dell: 5xx on insert after an eject
	ejectEmptyBody       bool // HPE
	onAfterOff           int  // iDRAC10: 409 on On after Off
	ifMatchOnAction      bool // iDRAC10: 412
	identityRegistry     bool // HPE Gen10+: 406 for registries uncompressed
	applyTime            bool // Lenovo: the property is refused
	alreadySo            bool // 409 when the power is so already
}

var (
	allResets = []string{"On", "ForceOff", "GracefulShutdown", "GracefulRestart", "ForceRestart", "Nmi"}
	allBoots  = []string{"None", "Pxe", "Cd", "Hdd", "UefiHttp"}
	cdSlot    = []Slot{{ID: "Cd", Types: []string{"CD", "DVD"}}}
)

// Profiles of the vendors that the tests know.
func Profiles() []Profile {
	return []Profile{generic(), idrac9(), idrac10(), ilo5(), supermicroX12(), lenovoXCC(), ami()}
}

func generic() Profile {
	return Profile{
		Name: "generic", Manufacturer: "Contoso", Model: "3500", SystemID: "1", ManagerID: "BMC", ManagerFirmware: "1.2.3",
		ResetTypes: allResets, BootTargets: allBoots, Slots: cdSlot, MediaAtSystem: true, Sessions: true, SessionLimit: 8, ETag: Strong,
		BIOS: map[string]any{"BootMode": "Uefi", "ProcTurboMode": "Enabled", "NumCores": 16, "Quiet": true}, ApplyTimes: []string{"OnReset"},
	}
}

func idrac9() Profile {
	return Profile{
		Name: "iDRAC9", Manufacturer: "Dell Inc.", Model: "PowerEdge R640", SystemID: "System.Embedded.1", ManagerID: "iDRAC.Embedded.1", ManagerFirmware: "5.10.30.00",
		ResetTypes: append([]string{"PowerCycle", "PushPowerButton"}, allResets...), BootTargets: allBoots,
		Slots: []Slot{{ID: "RemovableDisk", Types: []string{"USBStick"}}, {ID: "CD", Types: []string{"CD", "DVD"}}}, Sessions: true, SessionLimit: 8, ETag: Weak,
		BIOS: map[string]any{"BootMode": "Uefi", "ProcTurboMode": "Enabled", "NumCores": 16, "Quiet": true}, ApplyTimes: []string{"OnReset", "Immediate"},
		refusals: refusals{mediaEjectLag: 2, alreadySo: true}, registryOddities: true,
	}
}

func idrac10() Profile {
	p := idrac9()
	p.Name, p.Model, p.ManagerFirmware = "iDRAC10", "PowerEdge R670", "1.20.50.50"
	p.Slots, p.MediaAtSystem, p.settings = []Slot{{ID: "1", Types: []string{"CD", "DVD"}}}, true, true
	p.ETag = Strong
	p.refusals = refusals{bootReadOnly: true, onAfterOff: 3, ifMatchOnAction: true, mediaEjectLag: 1, alreadySo: true, mediaTask: true}
	return p
}

func ilo5() Profile {
	return Profile{
		Name: "iLO5", Manufacturer: "HPE", Model: "ProLiant DL360 Gen10", SystemID: "1", ManagerID: "1", ManagerFirmware: "iLO 5 v2.78",
		ResetTypes: []string{"On", "ForceOff", "GracefulShutdown", "ForceRestart", "Nmi", "PushPowerButton"}, BootTargets: allBoots,
		Slots: []Slot{{ID: "1", Types: []string{"Floppy", "USBStick"}}, {ID: "2", Types: []string{"CD", "DVD"}}}, Sessions: true, SessionLimit: 13, ETag: DemandStrong,
		BIOS:     map[string]any{"BootMode": "Uefi", "ProcTurboMode": "Enabled", "NumCores": 16, "Quiet": true},
		refusals: refusals{bootHTTPURI: true, bootDuringPOST: 2, ejectEmptyBody: true, identityRegistry: true},
	}
}

func supermicroX12() Profile {
	return Profile{
		Name: "Supermicro X12", Manufacturer: "Supermicro", Model: "SYS-120C-TN10R", SystemID: "1", ManagerID: "1", ManagerFirmware: "01.05.07",
		ResetTypes:  []string{"On", "ForceOff", "GracefulShutdown", "GracefulRestart", "ForceRestart", "Nmi", "ForceOn"},
		BootTargets: []string{"None", "Pxe", "Floppy", "Cd", "Usb", "Hdd", "UsbCd", "UefiHttp"},
		Slots:       []Slot{{ID: "CD1", Types: []string{"CD", "DVD"}}}, Sessions: true, SessionLimit: 16, ETag: Weak,
		BIOS:     map[string]any{"BootMode": "Uefi", "ProcTurboMode": "Enabled", "NumCores": 16, "Quiet": true},
		refusals: refusals{bootEnabledMissing: true, bootFlipsMode: true, mediaExtras: true, mediaQuery: true},
	}
}

func lenovoXCC() Profile {
	return Profile{
		Name: "Lenovo XCC", Manufacturer: "Lenovo", Model: "ThinkSystem SR650", SystemID: "1", ManagerID: "1", ManagerFirmware: "CDI3A0E 8.88",
		ResetTypes: []string{"On", "Nmi", "GracefulShutdown", "GracefulRestart", "ForceOn", "ForceOff", "ForceRestart"}, BootTargets: allBoots,
		Slots:    []Slot{{ID: "RDOC1", Types: []string{"CD", "DVD"}, NoAction: true, Local: true}, {ID: "EXT1", Types: []string{"CD", "DVD"}, NoAction: true}},
		Sessions: true, SessionLimit: 16, ETag: DemandStrong,
		BIOS:     map[string]any{"BootMode": "Uefi", "ProcTurboMode": "Enabled", "NumCores": 16, "Quiet": true},
		refusals: refusals{applyTime: true, bootEnabledUnchanged: true},
	}
}

func ami() Profile {
	return Profile{
		Name: "AMI MegaRAC", Manufacturer: "ASRockRack", Model: "E3C246D4I", SystemID: "Self", ManagerID: "Self", ManagerFirmware: "1.80.00",
		BootTargets: allBoots, Slots: []Slot{{ID: "WebISO", Types: []string{"CD"}, Local: true}, {ID: "CD1", Types: []string{"CD"}}},
		ETag: NoETag, BIOS: map[string]any{"BootMode": "Uefi", "ProcTurboMode": "Enabled", "NumCores": 16, "Quiet": true},
		refusals: refusals{bootIncomplete: true, mediaProtocol: true, mediaAccount: true, alreadySo: true},
	}
}
