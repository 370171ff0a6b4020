package redfish

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/slipway-io/slipway/services/bmc"
	"github.com/slipway-io/slipway/services/bmc/scripted"
)

const image = "http://192.0.2.1:8080/live/full.iso"

// rungsOf is what each profile is expected to come to; a ladder that is put in another order shows here.
var rungsOf = map[string][]string{
	"generic":        {"On, ForceOff, GracefulShutdown, ForceRestart", "System: Target, Enabled if it changes", "System: Target, Enabled if it changes", "System: Target, Enabled if it changes", "System InsertMedia: Image", "EjectMedia: {}", "Settings: Attributes, ApplyTime OnReset"},
	"iDRAC9":         {"On, ForceOff, GracefulShutdown, ForceRestart", "System: Target, Enabled if it changes", "OEM ImportSystemConfiguration, VCD-DVD first", "System: Target, Enabled if it changes", "Manager InsertMedia: Image", "EjectMedia: {}", "Settings: Attributes, ApplyTime OnReset"},
	"iDRAC10":        {"On, ForceOff, GracefulShutdown, ForceRestart", "Settings: Target, Enabled", "Settings: Target, Enabled", "Settings: Target, Enabled", "System InsertMedia: Image", "EjectMedia: {}", "Settings: Attributes, ApplyTime OnReset"},
	"iLO5":           {"On, ForceOff, GracefulShutdown, ForceRestart", "System: Target, Enabled if it changes", "System: Target, Enabled if it changes", "System: Target, Enabled; URL from DHCP", "Manager InsertMedia: Image", "EjectMedia: {}", "Settings: Attributes"},
	"Supermicro X12": {"On, ForceOff, GracefulShutdown, ForceRestart", "System: Target, Enabled, Mode", "System: Target, Enabled, Mode", "System: Target, Enabled, Mode", "Manager InsertMedia: Image", "EjectMedia: {}", "Settings: Attributes"},
	"Lenovo XCC":     {"On, ForceOff, GracefulShutdown, ForceRestart", "System: Target, Enabled if it changes", "System: Target, Enabled if it changes", "System: Target, Enabled if it changes", "Manager PATCH: Image, Inserted, WriteProtected", "PATCH: Image null, Inserted false", "Settings: Attributes"},
	"AMI MegaRAC":    {"On, ForceOff, GracefulShutdown, ForceRestart", "System: Target, Enabled, Mode", "System: Target, Enabled, Mode", "System: Target, Enabled, Mode", "Manager InsertMedia: with UserName, Password", "EjectMedia: {}", "Settings: Attributes"},
}

// TestProfiles drives each vendor's profile through everything and prints the rung that succeeded.
func TestProfiles(t *testing.T) {
	table := &strings.Builder{}
	w := tabwriter.NewWriter(table, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "profile\tpower on, off, soft off, reset\tboot PXE\tboot CD\tboot HTTP\tinsert\teject\tinspection\tBIOS attribute")
	for _, profile := range scripted.Profiles() {
		t.Run(profile.Name, func(t *testing.T) {
			s := stand(t, profile, scripted.Options{Seed: 5, MACs: []string{"52:54:01:00:00:0a", "52:54:01:00:00:0b"}})
			c := s.open(t)
			got := s.drive(t, c)
			fmt.Fprintf(w, "%s\t%s\t%s\n", profile.Name, strings.Join(append(got[:6:6], inspected(t, c)), "\t"), got[6])
			for i, want := range rungsOf[profile.Name] {
				if got[i] != want {
					t.Errorf("rung %d is %q, want %q", i, got[i], want)
				}
			}
			counts := s.Counts()
			if counts.AtOnce > 2 || counts.Sessions > 1 || counts.WrongLogins != 0 {
				t.Errorf("%+v", counts)
			}
		})
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if testing.Verbose() {
		fmt.Fprintln(os.Stdout, table.String())
	}
}

// drive gives the rungs of power, PXE, CD, HTTP, insert, eject and BIOS.
func (s *standing) drive(t *testing.T, c *Client) []string {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	rung := func(name string, err error) string {
		t.Helper()
		must(err)
		return name
	}
	restart := func(want string) {
		t.Helper()
		must(c.SetPower(ctx, bmc.Off, false))
		must(c.SetPower(ctx, bmc.On, false))
		starts := s.Starts()
		if last := starts[len(starts)-1]; last != want {
			t.Errorf("started from %q, want %q", last, want)
		}
	}
	must(c.SetPower(ctx, bmc.On, false))
	must(c.SetPower(ctx, bmc.On, false))
	pxe := rung(c.BootOnce(ctx, bmc.BootPXE, ""))
	restart("Pxe")
	restart("Hdd")
	http := rung(c.BootOnce(ctx, bmc.BootHTTP, "http://192.0.2.1/boot.efi"))
	url := " http://192.0.2.1/boot.efi"
	if strings.Contains(http, "DHCP") {
		url = " "
	}
	restart("UefiHttp" + url)
	insert := rung(c.InsertMedia(ctx, image))
	again := rung(c.InsertMedia(ctx, image))
	if again != insert {
		t.Errorf("inserted again by %q, first by %q", again, insert)
	}
	cd := rung(c.BootOnce(ctx, bmc.BootCD, ""))
	restart("Cd " + image)
	media, err := c.Media(ctx)
	if err != nil || len(media) != 1 || media[0] != image {
		t.Errorf("media %v, %v", media, err)
	}
	must(c.EjectMedia(ctx))
	if media, err = c.Media(ctx); err != nil || len(media) != 0 {
		t.Errorf("media after eject %v, %v", media, err)
	}
	bios := s.attribute(t, c)
	rung(c.BootOnce(ctx, bmc.BootPXE, ""))
	rung(c.BootOnce(ctx, bmc.BootNone, ""))
	restart("Hdd")
	power := []string{s.rungs.of("power On"), s.rungs.of("power Off")}
	must(c.SetPower(ctx, bmc.Off, true))
	power = append(power, s.rungs.of("power Off"), s.rungs.of("reset"))
	return []string{strings.Join(power, ", "), pxe, cd, http, insert, s.rungs.of("eject media"), bios}
}

func (s *standing) attribute(t *testing.T, c *Client) string {
	t.Helper()
	values, schema, err := c.Attributes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if values["NumCores"] != "16" || values["Quiet"] != "true" || schema["ProcTurboMode"].Type != "Enumeration" || len(schema["ProcTurboMode"].Values) != 2 {
		t.Errorf("attributes %v, schema %+v", values, schema)
	}
	if _, shown := values["SetupPassword"]; shown {
		t.Error("attributes hold a password")
	}
	for name, value := range map[string]string{"ProcTurboMode": "Sometimes", "NumCores": "many", "SetupPassword": "x", "Nothing": "1"} {
		if err := c.SetAttributes(t.Context(), map[string]string{name: value}); bmc.Kind(err) != bmc.Unsupported {
			t.Errorf("%s=%s: %v", name, value, err)
		}
	}
	if err := c.SetAttributes(t.Context(), map[string]string{"ProcTurboMode": "Disabled", "NumCores": "8", "Quiet": "true"}); err != nil {
		t.Fatal(err)
	}
	if err := c.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.BIOS("ProcTurboMode") != "Disabled" || fmt.Sprint(s.BIOS("NumCores")) != "8" {
		t.Errorf("BIOS has %v, %v", s.BIOS("ProcTurboMode"), s.BIOS("NumCores"))
	}
	return s.rungs.of("set BIOS attributes")
}

func inspected(t *testing.T, c *Client) string {
	t.Helper()
	h, err := c.Inspect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	caps, err := c.Capabilities(t.Context())
	if err != nil || !caps.VirtualMedia || !caps.PXE || !caps.UEFIHTTP || !caps.BIOS || caps.Vendor != h.Manufacturer {
		t.Errorf("capabilities %+v, %v", caps, err)
	}
	if h.RAM != 65536 || h.CPU.Count != 64 || h.CPU.MHz != 3200 || h.CPU.Architecture != "x86_64" || h.Serial != "SN000005" || h.AssetTag != "asset-SN000005" {
		t.Errorf("hardware %+v", h)
	}
	if len(h.NICs) != 2 || h.NICs[0].MAC != "52:54:01:00:00:0a" || h.NICs[0].Gbps != 10 {
		t.Errorf("NICs %+v", h.NICs)
	}
	if len(h.Storage) != 2 || h.Storage[0].Type != "NVME" || h.Storage[0].Bytes != 480103981056 || h.Storage[0].WWN != "eui.0025" || !h.Storage[1].Rotational {
		t.Errorf("storage %+v", h.Storage)
	}
	return fmt.Sprintf("%d CPUs, %d GiB, %d NICs, %d drives", h.CPU.Count, h.RAM/1024, len(h.NICs), len(h.Storage))
}
