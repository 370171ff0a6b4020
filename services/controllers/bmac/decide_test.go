package bmac

import (
	"maps"
	"slices"
	"testing"
	"time"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	"github.com/openshift/assisted-service/models"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/host"
)

const (
	image    = "http://[fd00::2]:8080/byapikey/u.t/12.7/x86_64/minimal.iso"
	oldImage = "http://[fd00::2]:8080/byapikey/u.t/12.6/x86_64/minimal.iso"
)

var now = time.Date(2026, 11, 27, 2, 0, 0, 0, time.UTC)

func at(d time.Duration) string { return now.Add(d).Format(time.RFC3339) }

func bareMetal(url string, annotations map[string]string) *metal3v1alpha1.BareMetalHost {
	h := &metal3v1alpha1.BareMetalHost{ObjectMeta: metav1.ObjectMeta{
		Namespace: "hosts", Name: "w0", Labels: map[string]string{api.InfraEnvLabel: "env"}, Annotations: annotations,
	}}
	h.Spec.BMC = metal3v1alpha1.BMCDetails{Address: "redfish-virtualmedia://10.7.9.1/redfish/v1/Systems/1", CredentialsName: "w0"}
	h.Spec.BootMACAddress = "52:54:00:00:00:0A"
	if url != "" {
		h.Spec.Online = true
		h.Spec.Image = &metal3v1alpha1.Image{URL: url, DiskFormat: ptr.To(liveISO)}
	}
	h.Status.PoweredOn = true
	return h
}

func agentIn(state string, stage models.HostStage) *agentv1beta1.Agent {
	a := &agentv1beta1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: "hosts", Name: "a0", Labels: map[string]string{api.InfraEnvLabel: "env"}}}
	a.Status.DebugInfo.State, a.Status.Progress.CurrentStage = state, stage
	a.Status.Inventory.Interfaces = []agentv1beta1.HostInterface{{MacAddress: "52:54:00:00:00:09"}, {MacAddress: "52:54:00:00:00:0a"}}
	return a
}

type notes = map[string]string

const boot, correction, reboot = api.BootImageAnnotation, api.BootCorrectionAnnotation, api.RebootAnnotationBMAC

var installed = notes{boot: api.BootImageInstalled}

// decision of one look at a host.
type decision struct {
	name   string
	has    string
	before notes
	agent  *agentv1beta1.Agent
	change func(*metal3v1alpha1.BareMetalHost)
	// want are annotations, wantImage the URL; "" for none.
	want      notes
	wantImage string
	again     time.Duration
}

var onTheWay = []decision{
	{name: "new host", wantImage: image},
	{name: "new host without a BMC", change: func(h *metal3v1alpha1.BareMetalHost) { h.Spec.BMC = metal3v1alpha1.BMCDetails{} },
		want: notes{api.InstructionAnnotation: "boot host w0 (MAC 52:54:00:00:00:0a) from " + image + ", or from the network"}, wantImage: image},
	{name: "host without a BMC is there", before: notes{api.InstructionAnnotation: "boot host w0"}, agent: agentIn(api.StateDiscoveringUnbound, ""),
		change: func(h *metal3v1alpha1.BareMetalHost) { h.Spec.BMC = metal3v1alpha1.BMCDetails{} }, wantImage: image},
	{name: "another image for a host in the pool", has: oldImage, agent: agentIn(api.StateKnownUnbound, ""), wantImage: image},
	{name: "another image while it is installed to disk", has: oldImage, agent: agentIn(api.StateInstallingInProgress, models.HostStageWritingImageToDisk), wantImage: oldImage},
	{name: "another image for an installed host", has: oldImage, before: installed, agent: agentIn(api.StateAddedToExistingCluster, models.HostStageDone),
		want: installed, wantImage: oldImage},
	{name: "disk written", has: image, agent: agentIn(api.StateInstallingInProgress, models.HostStageRebooting), want: installed, wantImage: image},
	{name: "failed early", has: image, agent: agentIn(api.StateError, models.HostStageInstalling), wantImage: image},
	{name: "failed on its disk", has: image, before: installed, agent: agentIn(api.StateError, models.HostStageJoined), want: installed, wantImage: image},
}

var back = []decision{
	{name: "unbound", has: oldImage, before: installed, agent: agentIn(api.StateReclaiming, ""),
		want: notes{reboot: hardReboot, askedAnnotation: at(0)}, wantImage: image, again: patience},
	{name: "unbound, was still powered", has: image, before: notes{reboot: hardReboot, askedAnnotation: at(-time.Minute)}, agent: agentIn(api.StateReclaiming, ""),
		want: notes{reboot: hardReboot, askedAnnotation: at(-time.Minute)}, wantImage: image, again: patience - time.Minute},
	{name: "unbound, is off", has: image, before: notes{reboot: hardReboot, askedAnnotation: at(-time.Minute)}, agent: agentIn(api.StateReclaiming, ""),
		change: func(h *metal3v1alpha1.BareMetalHost) { h.Status.PoweredOn = false },
		want:   notes{askedAnnotation: at(-time.Minute)}, wantImage: image, again: patience - time.Minute},
	{name: "unbound, nothing came of it", has: image, before: notes{askedAnnotation: at(-patience)}, agent: agentIn(api.StateUnbindingPendingUserAction, ""),
		want: notes{reboot: hardReboot, askedAnnotation: at(0)}, wantImage: image, again: patience},
	{name: "unbound, without a BMC", has: image, before: installed, agent: agentIn(api.StateReclaiming, ""),
		change: func(h *metal3v1alpha1.BareMetalHost) { h.Spec.BMC = metal3v1alpha1.BMCDetails{} }, wantImage: image},
	{name: "back in the pool", has: image, before: notes{reboot: hardReboot, askedAnnotation: at(-time.Minute)}, agent: agentIn(api.StateDiscoveringUnbound, ""), wantImage: image},
	{name: "agent deleted by hand while its host restarts", has: image, before: notes{reboot: hardReboot, askedAnnotation: at(-time.Minute)},
		want: notes{reboot: hardReboot, askedAnnotation: at(-time.Minute)}, wantImage: image},
	{name: "agent deleted by hand", has: image, before: installed, wantImage: image},
	{name: "back in discovery", has: image, before: installed, agent: agentIn(api.StateInstallingPendingUser, ""),
		want: notes{boot: api.BootImageInstalled, correction: "1", askedAnnotation: at(0)}, wantImage: image, again: patience},
	{name: "back in discovery, being corrected", has: image, before: notes{boot: api.BootImageInstalled, correction: "1", askedAnnotation: at(-time.Minute)},
		agent: agentIn(api.StateInstallingPendingUser, ""),
		want:  notes{boot: api.BootImageInstalled, correction: "1", askedAnnotation: at(-time.Minute)}, wantImage: image, again: patience - time.Minute},
	{name: "corrected", has: image, before: notes{boot: api.BootImageInstalled, correction: "1", askedAnnotation: at(-time.Minute)},
		agent: agentIn(api.StateInstallingInProgress, models.HostStageConfiguring), want: notes{boot: api.BootImageInstalled, correction: "1"}, wantImage: image},
	{name: "back in discovery after a correction", has: image, before: notes{boot: api.BootImageInstalled, correction: "1"},
		agent: agentIn(api.StateInstallingPendingUser, ""), want: notes{boot: api.BootImageInstalled, correction: "2"}, wantImage: image},
	{name: "the correction was in vain", has: image, before: notes{boot: api.BootImageInstalled, correction: "1", askedAnnotation: at(-patience)},
		agent: agentIn(api.StateInstallingPendingUser, ""),
		want:  notes{boot: api.BootImageInstalled, correction: "2", askedAnnotation: at(-patience)}, wantImage: image},
	{name: "for people", has: image, before: notes{boot: api.BootImageInstalled, correction: "2"}, agent: agentIn(api.StateInstallingPendingUser, ""),
		want: notes{boot: api.BootImageInstalled, correction: "2"}, wantImage: image},
	{name: "switched off by its owner", has: image, before: installed, agent: agentIn(api.StateInstallingPendingUser, ""),
		change: func(h *metal3v1alpha1.BareMetalHost) { h.Spec.Online = false }, want: installed, wantImage: image},
}

func TestDecide(t *testing.T) {
	for _, c := range slices.Concat(onTheWay, back) {
		h := bareMetal(c.has, maps.Clone(c.before))
		if c.change != nil {
			c.change(h)
		}
		online := h.Spec.Online
		again := Decide(h, c.agent, image, now)
		if got := h.Spec.Image; got == nil || got.URL != c.wantImage || !got.IsLiveISO() {
			t.Errorf("%s: image %+v", c.name, got)
		}
		if !maps.Equal(h.Annotations, c.want) || again != c.again {
			t.Errorf("%s: again in %s, annotations %v, want %v", c.name, again, h.Annotations, c.want)
		}
		if c.has != "" && h.Spec.Online != online || c.has == "" && !h.Spec.Online {
			t.Errorf("%s: online %t", c.name, h.Spec.Online)
		}
		settled := h.DeepCopy()
		if Decide(settled, c.agent, image, now); !maps.Equal(h.Annotations, settled.Annotations) {
			t.Errorf("%s: a second look changes %v to %v", c.name, h.Annotations, settled.Annotations)
		}
	}
}

func TestNoImageYet(t *testing.T) {
	h := bareMetal("", nil)
	if Decide(h, nil, "", now); h.Spec.Image != nil || h.Spec.Online {
		t.Errorf("%+v", h.Spec)
	}
}

func TestFits(t *testing.T) {
	shown := func(macs ...string) func(*metal3v1alpha1.BareMetalHost, *agentv1beta1.Agent) {
		return func(h *metal3v1alpha1.BareMetalHost, _ *agentv1beta1.Agent) {
			h.Spec.BootMACAddress = ""
			h.Status.HardwareDetails = &metal3v1alpha1.HardwareDetails{}
			for _, mac := range macs {
				h.Status.HardwareDetails.NIC = append(h.Status.HardwareDetails.NIC, metal3v1alpha1.NIC{MAC: mac})
			}
		}
	}
	bmc := func(host, v4, v6 string) func(*metal3v1alpha1.BareMetalHost, *agentv1beta1.Agent) {
		return func(h *metal3v1alpha1.BareMetalHost, a *agentv1beta1.Agent) {
			h.Spec.BootMACAddress, h.Spec.BMC.Address = "", host
			a.Status.Inventory.BmcAddress, a.Status.Inventory.BmcV6address = v4, v6
		}
	}
	for name, c := range map[string]struct {
		change func(*metal3v1alpha1.BareMetalHost, *agentv1beta1.Agent)
		want   bool
	}{
		"boot MAC in other letters": {want: true},
		"another boot MAC": {func(h *metal3v1alpha1.BareMetalHost, _ *agentv1beta1.Agent) {
			h.Spec.BootMACAddress = "52:54:00:00:00:ff"
		}, false},
		"another InfraEnv":          {func(_ *metal3v1alpha1.BareMetalHost, a *agentv1beta1.Agent) { a.Labels[api.InfraEnvLabel] = "other" }, false},
		"no InfraEnv":               {func(h *metal3v1alpha1.BareMetalHost, a *agentv1beta1.Agent) { h.Labels, a.Labels = nil, nil }, false},
		"another namespace":         {func(_ *metal3v1alpha1.BareMetalHost, a *agentv1beta1.Agent) { a.Namespace = "other" }, false},
		"a port that the BMC shows": {shown("52:54:00:00:00:FE", "52:54:00:00:00:09"), true},
		"ports of another machine":  {shown("52:54:00:00:00:FE"), false},
		"BMC's IPv4 address":        {bmc("redfish://10.7.9.1:8443/x", "10.7.9.1", "::/0"), true},
		"BMC's IPv6 address":        {bmc("redfish://[fd00::91]/x", "0.0.0.0", "fd00:0::91"), true},
		"another BMC":               {bmc("redfish://10.7.9.1/x", "10.7.9.2", "::/0"), false},
		"a BMC without addresses":   {bmc("redfish://0.0.0.0/x", "0.0.0.0", ""), false},
		"no BMC, no MAC":            {bmc("", "0.0.0.0", ""), false},
	} {
		h, a := bareMetal("", nil), agentIn(api.StateKnownUnbound, "")
		if c.change != nil {
			c.change(h, a)
		}
		if got := Fits(h, a); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestNewest(t *testing.T) {
	older, newer, deleted := agentIn("", ""), agentIn("", ""), agentIn("", "")
	newer.Name, newer.CreationTimestamp = "a1", metav1.NewTime(now)
	deleted.CreationTimestamp, deleted.DeletionTimestamp = metav1.NewTime(now.Add(time.Hour)), &metav1.Time{Time: now}
	if found := newest(bareMetal("", nil), []agentv1beta1.Agent{*older, *newer, *deleted}); found == nil || found.Name != "a1" {
		t.Errorf("%+v", found)
	}
	if found := newest(bareMetal("", nil), nil); found != nil {
		t.Errorf("%+v", found)
	}
}

func TestDeclare(t *testing.T) {
	h := bareMetal(image, notes{
		hostnameAnnotation: "rack1-w0", roleAnnotation: "worker", overridesAnnotation: `{"ignition":{"version":"3.2.0"}}`, argsAnnotation: "[]",
		agentLabelPrefix + "size": "large", nodeLabelPrefix + "rack": "1",
	})
	h.Spec.RootDeviceHints = &metal3v1alpha1.RootDeviceHints{DeviceName: "/dev/sdb"}
	a := agentIn(api.StateKnownUnbound, "")
	a.Spec.IgnitionEndpointHTTPHeaders = map[string]string{"others": "stay"}
	a.Status.Inventory.Disks = []agentv1beta1.HostDisk{{ID: "by-id-a", Path: "/dev/sda"}, {ID: "by-id-b", Path: "/dev/sdb"}}
	Declare(a, h)
	if s := a.Spec; !s.Approved || s.Hostname != "rack1-w0" || s.Role != "worker" || s.IgnitionConfigOverrides == "" || s.InstallerArgs != "[]" ||
		s.NodeLabels["rack"] != "1" || s.InstallationDiskID != "by-id-b" || s.IgnitionEndpointHTTPHeaders["others"] != "stay" {
		t.Errorf("%+v", s)
	}
	if a.Labels[api.BMHLabel] != "w0" || a.Labels["size"] != "large" || a.Labels[api.InfraEnvLabel] != "env" {
		t.Errorf("%v", a.Labels)
	}
	// What nobody says stays with who said it.
	mine := agentIn(api.StateKnownUnbound, "")
	mine.Spec.Hostname, mine.Spec.Role, mine.Spec.InstallationDiskID = "mine", "worker", "x"
	Declare(mine, bareMetal(image, nil))
	if s := mine.Spec; !s.Approved || s.Hostname != "mine" || s.InstallationDiskID != "x" || s.Role != "worker" {
		t.Errorf("%+v", s)
	}
	// Its disk is wiped when the host says so, and not when it says so no more.
	h.Spec.AutomatedCleaningMode = metal3v1alpha1.CleaningModeMetadata
	if Declare(mine, h); mine.Annotations[api.CleaningAnnotation] != "metadata" {
		t.Errorf("%v", mine.Annotations)
	}
	h.Spec.AutomatedCleaningMode = metal3v1alpha1.CleaningModeDisabled
	if Declare(mine, h); mine.Annotations[api.CleaningAnnotation] != "" {
		t.Errorf("%v", mine.Annotations)
	}
	// A host that is being installed keeps its name.
	late := agentIn(api.StateInstalling, "")
	Declare(late, h)
	if late.Spec.Hostname != "" || late.Labels["size"] != "large" {
		t.Errorf("%+v %v", late.Spec, late.Labels)
	}
}

func TestDiskFor(t *testing.T) {
	yes := agentv1beta1.HostInstallationEligibility{Eligible: true}
	disks := []agentv1beta1.HostDisk{
		{ID: "cd", Path: "/dev/sr0", Name: "sr0", SizeBytes: 1},
		{ID: "big", Path: "/dev/sda", Name: "sda", SizeBytes: 4_000_000_000_000, DriveType: "HDD", Hctl: "0:0:1:0", Model: "ST4000NM", Vendor: "SEAGATE", Serial: "Z1", Wwn: "0x5000c500a1b2c3d4", InstallationEligibility: yes},
		{ID: "raid", Path: "/dev/sdb", Name: "sdb", SizeBytes: 480_000_000_000, DriveType: "SSD", Hctl: "0:2:0:0", Model: "PERC H755", Vendor: "DELL", Serial: "S2", Wwn: "0x6f4ee080215be7002b1a7f0e0a1b2c3d", InstallationEligibility: yes},
		{ID: "nvme", Path: "/dev/nvme0n1", Name: "nvme0n1", ByPath: "/dev/disk/by-path/pci-0000:65:00.0-nvme-1", SizeBytes: 960_000_000_000, DriveType: "SSD", Model: "MZ1L2960", Serial: "N3"},
	}
	for _, c := range []struct {
		hints metal3v1alpha1.RootDeviceHints
		want  string
	}{
		{metal3v1alpha1.RootDeviceHints{DeviceName: "/dev/sda"}, "big"},
		{metal3v1alpha1.RootDeviceHints{DeviceName: "/dev/disk/by-path/pci-0000:65:00.0-nvme-1"}, "nvme"},
		{metal3v1alpha1.RootDeviceHints{DeviceName: "/dev/sdx"}, host.NoDisk},
		{metal3v1alpha1.RootDeviceHints{HCTL: "0:2:0:0"}, "raid"},
		{metal3v1alpha1.RootDeviceHints{Model: "perc"}, "raid"},
		{metal3v1alpha1.RootDeviceHints{Vendor: "Seagate", SerialNumber: "z1"}, "big"},
		{metal3v1alpha1.RootDeviceHints{Vendor: "Seagate", SerialNumber: "S2"}, host.NoDisk},
		{metal3v1alpha1.RootDeviceHints{MinSizeGigabytes: 500}, "big"},  // nvme cannot be installed to
		{metal3v1alpha1.RootDeviceHints{MinSizeGigabytes: 480}, "raid"}, // the smallest that can
		{metal3v1alpha1.RootDeviceHints{MinSizeGigabytes: 5000}, host.NoDisk},
		{metal3v1alpha1.RootDeviceHints{WWN: "0x5000C500A1B2C3D4"}, "big"},
		{metal3v1alpha1.RootDeviceHints{WWN: "0x6f4ee080215be700"}, "raid"},
		{metal3v1alpha1.RootDeviceHints{WWNWithExtension: "6f4ee080215be7002b1a7f0e0a1b2c3d"}, "raid"},
		{metal3v1alpha1.RootDeviceHints{WWNVendorExtension: "0x2b1a7f0e0a1b2c3d"}, "raid"},
		{metal3v1alpha1.RootDeviceHints{WWN: "0x5000"}, host.NoDisk},
		{metal3v1alpha1.RootDeviceHints{Rotational: ptr.To(true)}, "big"},
		{metal3v1alpha1.RootDeviceHints{Rotational: ptr.To(false)}, "raid"},
		{metal3v1alpha1.RootDeviceHints{Model: "MZ1L"}, "nvme"}, // fits alone: its Agent says why it will not do
	} {
		if got := diskFor(&c.hints, disks); got != c.want {
			t.Errorf("%+v: %s, want %s", c.hints, got, c.want)
		}
	}
}
