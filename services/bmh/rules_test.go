package bmh

import (
	"slices"
	"strings"
	"testing"
	"time"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/bmc"
)

func TestBackoff(t *testing.T) {
	for _, row := range []struct {
		kind     bmc.FaultKind
		failures int
		want     time.Duration
	}{
		{bmc.Unreachable, 1, 5 * time.Second}, {bmc.Unreachable, 2, 10 * time.Second}, {bmc.Busy, 4, 40 * time.Second}, {bmc.TLS, 5, time.Minute},
		{bmc.Stuck, 1000, time.Minute}, {bmc.Refused, 1, 5 * time.Minute}, {Secret, 7, 5 * time.Minute},
	} {
		if got := Backoff(row.kind, row.failures); got != row.want {
			t.Errorf("%s after %d: %s, want %s", row.kind, row.failures, got, row.want)
		}
	}
}

func TestFailAndSucceed(t *testing.T) {
	states := map[State][2]metal3v1alpha1.ErrorType{ // not registered, registered
		registering:    {metal3v1alpha1.RegistrationError, metal3v1alpha1.RegistrationError},
		inspecting:     {metal3v1alpha1.RegistrationError, metal3v1alpha1.InspectionError},
		preparing:      {metal3v1alpha1.RegistrationError, metal3v1alpha1.PreparationError},
		available:      {metal3v1alpha1.RegistrationError, metal3v1alpha1.PowerManagementError},
		provisioning:   {metal3v1alpha1.RegistrationError, metal3v1alpha1.ProvisioningError},
		provisioned:    {metal3v1alpha1.ProvisionedRegistrationError, metal3v1alpha1.PowerManagementError},
		external:       {metal3v1alpha1.ProvisionedRegistrationError, metal3v1alpha1.PowerManagementError},
		deprovisioning: {metal3v1alpha1.ProvisionedRegistrationError, metal3v1alpha1.ProvisioningError},
		poweringOff:    {metal3v1alpha1.RegistrationError, metal3v1alpha1.PowerManagementError},
	}
	for state, want := range states {
		for i, registered := range []bool{false, true} {
			status := &metal3v1alpha1.BareMetalHostStatus{}
			status.Provisioning.State = state
			if !Fail(status, registered, bmc.Unreachable, "no route") || status.ErrorType != want[i] {
				t.Errorf("%s, registered %t: %s, want %s", state, registered, status.ErrorType, want[i])
			}
		}
	}
	status := &metal3v1alpha1.BareMetalHostStatus{}
	Fail(status, true, bmc.Busy, "a")
	if Fail(status, true, bmc.Busy, "b") || status.ErrorCount != 2 || status.ErrorMessage != "Busy: b" {
		t.Errorf("the same again: %+v", status)
	}
	for range 20 {
		Fail(status, true, bmc.Busy, "port 1")
	}
	before := *status
	Fail(status, true, bmc.Busy, "port 2")
	if *status != before {
		t.Errorf("a host that stays broken is written for ever: %+v", status)
	}
	if !Fail(status, true, bmc.TLS, "c") || FailureKind(*status) != bmc.TLS {
		t.Errorf("another cause: %+v", status)
	}
	if !Succeed(status) || Succeed(status) || status.ErrorCount != 0 || status.ErrorMessage != "" || status.ErrorType != "" || FailureKind(*status) != "" {
		t.Errorf("after success: %+v", status)
	}
}

func TestPatience(t *testing.T) {
	now := time.Now()
	p := Patience{Mistake: time.Minute, Trouble: 5 * time.Minute}
	for name, row := range map[string]struct {
		deleted time.Duration
		message string
		want    bool
	}{
		"not deleted": {0, "Busy: x", false}, "no trouble": {time.Hour, "", false}, "trouble": {6 * time.Minute, "Unreachable: x", true},
		"early": {2 * time.Minute, "Unreachable: x", false}, "mistake": {2 * time.Minute, "Credentials: x", true}, "early mistake": {time.Second, "Secret: x", false},
	} {
		h := &metal3v1alpha1.BareMetalHost{}
		h.Status.ErrorMessage = row.message
		if row.deleted > 0 {
			h.DeletionTimestamp = &metav1.Time{Time: now.Add(-row.deleted)}
		}
		if got := p.Over(h, now); got != row.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestRestarts(t *testing.T) {
	for name, row := range map[string]struct {
		annotations map[string]string
		want        Restart
	}{
		"none":  {map[string]string{"reboot.metal3.iox": "", "inspect.metal3.io": ""}, Restart{}},
		"plain": {map[string]string{"reboot.metal3.io": ""}, Restart{Once: true}},
		"hard":  {map[string]string{"reboot.metal3.io": `{"mode":"hard"}`}, Restart{Once: true, Hard: true}},
		"held":  {map[string]string{"reboot.metal3.io/a": `{"mode":"soft"}`, "reboot.metal3.io/b": `{"mode":"hard"}`}, Restart{Held: true, Hard: true}},
		"bad":   {map[string]string{"reboot.metal3.io/a": "now"}, Restart{Held: true, Bad: []string{"reboot.metal3.io/a"}}},
	} {
		got := Restarts(row.annotations)
		if got.Once != row.want.Once || got.Held != row.want.Held || got.Hard != row.want.Hard || len(got.Bad) != len(row.want.Bad) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func FuzzRestarts(f *testing.F) {
	f.Add("reboot.metal3.io", `{"mode":"hard"}`)
	f.Add("reboot.metal3.io/x", `{"mode":`)
	f.Fuzz(func(t *testing.T, key, value string) {
		restart := Restarts(map[string]string{key: value})
		if restart.Hard && !restart.Wanted() {
			t.Fatal("hard, and none is wanted")
		}
	})
}

// TestPowerNext has every pair of what is and what is wanted.
func TestPowerNext(t *testing.T) {
	now := time.Now()
	just, long := now.Add(-time.Second), now.Add(-SoftPatience)
	for _, row := range []struct {
		power  bmc.Power
		online bool
		r      Restart
		asked  time.Time
		want   PowerStep
	}{
		{bmc.On, true, Restart{}, time.Time{}, Leave}, {bmc.Off, false, Restart{}, time.Time{}, Leave}, {bmc.Off, true, Restart{}, time.Time{}, TurnOn},
		{bmc.On, false, Restart{}, time.Time{}, AskOff}, {bmc.On, false, Restart{}, just, LookBy}, {bmc.On, false, Restart{}, long, TurnOff},
		{bmc.On, true, Restart{Once: true}, time.Time{}, AskOff}, {bmc.On, true, Restart{Held: true, Hard: true}, time.Time{}, TurnOff},
		{bmc.Off, true, Restart{Held: true}, time.Time{}, Leave}, {bmc.Off, false, Restart{Held: true}, time.Time{}, Leave},
		{bmc.PoweringOff, true, Restart{}, time.Time{}, LookBy}, {bmc.PoweringOn, false, Restart{}, time.Time{}, LookBy}, {bmc.Unknown, true, Restart{}, time.Time{}, LookBy},
	} {
		if got := PowerNext(row.power, row.online, row.r, row.asked, now); got != row.want {
			t.Errorf("%s, online %t, %+v: %s, want %s", row.power, row.online, row.r, got, row.want)
		}
	}
}

func TestCorrect(t *testing.T) {
	for name, row := range map[string]struct {
		count, corrected string
		want             Correction
		bad              bool
	}{
		"none": {"", "", NoCorrection, false}, "first": {"1", "", FromDisk, false}, "done": {"1", "1", NoCorrection, false}, "again": {"2", "1", ForPeople, false},
		"missed the first": {"2", "", FromDisk, false}, "zero": {"0", "", NoCorrection, false}, "no number": {"x", "", NoCorrection, true},
	} {
		annotations := map[string]string{}
		if row.count != "" {
			annotations[api.BootCorrectionAnnotation] = row.count
		}
		if row.corrected != "" {
			annotations[api.BootCorrectedAnnotation] = row.corrected
		}
		got, err := Correct(annotations)
		if got != row.want || (err != nil) != row.bad {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}

func TestWays(t *testing.T) {
	all := bmc.Capabilities{VirtualMedia: true, UEFIHTTP: true, PXE: true}
	noCD := bmc.Capabilities{UEFIHTTP: true, PXE: true}
	pxe := bmc.Capabilities{PXE: true}
	const loader = "http://192.0.2.1/loader.efi"
	plain := func(*metal3v1alpha1.BareMetalHost) {}
	for name, row := range map[string]struct {
		change func(*metal3v1alpha1.BareMetalHost)
		scheme bmc.Scheme
		can    bmc.Capabilities
		want   string
	}{
		"all":             {plain, bmc.Redfish, all, "virtual-media http pxe"},
		"no CD":           {plain, bmc.RedfishVirtualMedia, noCD, "http pxe"},
		"legacy":          {func(h *metal3v1alpha1.BareMetalHost) { h.Spec.BootMode = metal3v1alpha1.Legacy }, bmc.Redfish, noCD, "pxe"},
		"only PXE":        {plain, bmc.Redfish, pxe, "pxe"},
		"PXE, no MAC":     {func(h *metal3v1alpha1.BareMetalHost) { h.Spec.BootMACAddress = "" }, bmc.Redfish, pxe, "needs spec.bootMACAddress"},
		"nothing":         {plain, bmc.Redfish, bmc.Capabilities{}, "offers no PXE"},
		"scheme":          {plain, bmc.RedfishUEFIHTTP, all, "http virtual-media pxe"},
		"of somebody":     {func(h *metal3v1alpha1.BareMetalHost) { h.Labels = nil }, bmc.Redfish, noCD, "http"},
		"forced":          {func(h *metal3v1alpha1.BareMetalHost) { h.Annotations[api.BootMethodWantedAnnotation] = "pxe" }, bmc.Redfish, all, "pxe"},
		"forced to HTTP":  {func(h *metal3v1alpha1.BareMetalHost) { h.Annotations[api.BootMethodWantedAnnotation] = "http" }, bmc.Redfish, all, "http"},
		"forced to a CD":  {func(h *metal3v1alpha1.BareMetalHost) { h.Annotations[api.BootMethodWantedAnnotation] = "virtual-media" }, bmc.Redfish, pxe, "virtual-media"},
		"forced to a sea": {func(h *metal3v1alpha1.BareMetalHost) { h.Annotations[api.BootMethodWantedAnnotation] = "tftp" }, bmc.Redfish, pxe, "none of"},
		"disk image":      {func(h *metal3v1alpha1.BareMetalHost) { h.Spec.Image.DiskFormat = nil }, bmc.Redfish, all, "live-iso"},
		"no image":        {func(h *metal3v1alpha1.BareMetalHost) { h.Spec.Image = nil }, bmc.Redfish, all, "custom deploy"},
	} {
		live := "live-iso"
		h := host(func(h *metal3v1alpha1.BareMetalHost) {
			h.Labels, h.Annotations = map[string]string{api.InfraEnvLabel: "x"}, map[string]string{}
			h.Spec.BootMACAddress, h.Spec.Image = "52:54:00:00:00:01", &metal3v1alpha1.Image{URL: "http://192.0.2.1/a.iso", DiskFormat: &live}
		})
		row.change(h)
		ways, err := Ways(h, row.scheme, row.can, loader)
		var names []string
		for _, way := range ways {
			if way.Why == "" || (way.URL == "") != (way.Boot == bmc.BootPXE) {
				t.Errorf("%s: %+v", name, way)
			}
			names = append(names, way.Name())
		}
		if err != nil && !strings.Contains(err.Error(), row.want) || err == nil && strings.Join(names, " ") != row.want {
			t.Errorf("%s: %v, %v; want %s", name, names, err, row.want)
		}
	}
}

func TestEnter(t *testing.T) {
	h, now := host(func(*metal3v1alpha1.BareMetalHost) {}), time.Now()
	Enter(h, registering, now)
	Enter(h, inspecting, now.Add(time.Minute))
	history := h.Status.OperationHistory
	if history.Register.Duration() != time.Minute || history.Inspect.Start.IsZero() || !history.Inspect.End.IsZero() || h.Status.Provisioning.BootMode != metal3v1alpha1.UEFI {
		t.Errorf("%+v", h.Status)
	}
}

func TestDetails(t *testing.T) {
	details := Details(bmc.Hardware{
		Manufacturer: "m", Product: "p", Serial: "s", RAM: 1024, CPU: bmc.CPU{Architecture: "x86_64", MHz: 2000, Count: 4},
		NICs: []bmc.NIC{{Name: "n", MAC: "52:54:00:00:00:01", Gbps: 10}}, Storage: []bmc.Drive{{Name: "d", Bytes: 5, Type: "SSD"}, {Name: "e", Type: "TAPE"}},
	})
	if details.SystemVendor.SerialNumber != "s" || details.CPU.Count != 4 || details.NIC[0].SpeedGbps != 10 || details.Storage[0].Type != metal3v1alpha1.SSD || details.Storage[1].Type != "" {
		t.Errorf("%+v", details)
	}
}

func TestSettings(t *testing.T) {
	one := 1
	schema := Schema(bmc.AttributeSchema{
		"Mode": {Type: "Enumeration", Values: []string{"A", "B"}}, "Cores": {Type: "Integer", Lower: &one, Upper: &one}, "Quiet": {Type: "Boolean"},
		"Serial": {Type: "String", ReadOnly: true, Unique: true},
	})
	now := map[string]string{"Mode": "A", "Cores": "2", "Quiet": "true", "Serial": "x", "Bare": "y"}
	for name, row := range map[string]struct {
		wanted  metal3v1alpha1.DesiredSettingsMap
		changes int
		problem string
	}{
		"nothing":       {nil, 0, ""},
		"as it is":      {metal3v1alpha1.DesiredSettingsMap{"Mode": intstr.FromString("A"), "Cores": intstr.FromInt32(2)}, 0, ""},
		"change":        {metal3v1alpha1.DesiredSettingsMap{"Mode": intstr.FromString("B"), "Cores": intstr.FromInt32(1), "Bare": intstr.FromString("z")}, 3, ""},
		"unknown":       {metal3v1alpha1.DesiredSettingsMap{"Node": intstr.FromString("B")}, 0, "Node"},
		"wrong value":   {metal3v1alpha1.DesiredSettingsMap{"Mode": intstr.FromString("C")}, 0, "Mode"},
		"wrong type":    {metal3v1alpha1.DesiredSettingsMap{"Cores": intstr.FromString("many")}, 0, "Cores"},
		"out of bounds": {metal3v1alpha1.DesiredSettingsMap{"Cores": intstr.FromInt32(7)}, 0, "Cores"},
		"no boolean":    {metal3v1alpha1.DesiredSettingsMap{"Quiet": intstr.FromString("yes")}, 0, "Quiet"},
		"read only":     {metal3v1alpha1.DesiredSettingsMap{"Serial": intstr.FromString("z")}, 0, "Serial"},
		"password":      {metal3v1alpha1.DesiredSettingsMap{"AdminPassword": intstr.FromString("z")}, 0, "AdminPassword"},
	} {
		changes, err := Settings(row.wanted, now, schema)
		if len(changes) != row.changes || (err == nil) != (row.problem == "") || err != nil && !strings.Contains(err.Error(), row.problem) {
			t.Errorf("%s: %v, %v", name, changes, err)
		}
	}
	a, err1 := SchemaName("v", "m", schema)
	b, err2 := SchemaName("v", "n", schema)
	if err1 != nil || err2 != nil || a == b || !strings.HasPrefix(a, "schema-") {
		t.Errorf("%s, %s", a, b)
	}
	huge := bmc.Attribute{Type: "Enumeration", Values: slices.Repeat([]string{strings.Repeat("x", 100)}, 6000)}
	if one, two := Schema(bmc.AttributeSchema{"A": huge}), Schema(bmc.AttributeSchema{"A": huge, "B": huge}); len(one) != 1 || len(two) != 0 {
		t.Errorf("%d attributes of a large registry, %d of one that fits into no object", len(one), len(two))
	}
}

func TestStartWith(t *testing.T) {
	live := "live-iso"
	image := &metal3v1alpha1.Image{URL: "http://h/a.iso", DiskFormat: &live}
	ours, installed := map[string]string{api.InfraEnvLabel: "default"}, map[string]string{api.BootImageAnnotation: api.BootImageInstalled}
	for _, row := range []struct {
		name                string
		state               State
		labels, annotations map[string]string
		image               *metal3v1alpha1.Image
		want                Start
	}{
		{"image still to come", available, ours, nil, nil, StartLater},
		{"no image will come", available, nil, nil, nil, StartDisk},
		{"image", provisioned, ours, nil, image, StartImage},
		{"image of another", provisioned, nil, nil, image, StartImage},
		{"installed", provisioned, ours, installed, image, StartDisk},
		{"installed, image taken back", available, ours, installed, nil, StartDisk},
		{"external", external, ours, nil, nil, StartDisk},
	} {
		h := host(func(h *metal3v1alpha1.BareMetalHost) {
			h.Labels, h.Annotations, h.Spec.Image, h.Status.Provisioning.State = row.labels, row.annotations, row.image, row.state
		})
		if got := StartWith(h); got != row.want {
			t.Errorf("%s: %s, want %s", row.name, got, row.want)
		}
	}
}
