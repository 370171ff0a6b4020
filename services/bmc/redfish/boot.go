package redfish

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/slipway-io/slipway/services/bmc"
)

// boot as a System has it; what is nil the BMC does not know.
type boot struct {
	Enabled *string  `json:"BootSourceOverrideEnabled"`
	Target  *string  `json:"BootSourceOverrideTarget"`
	Mode    *string  `json:"BootSourceOverrideMode"`
	Allowed []string `json:"BootSourceOverrideTarget@Redfish.AllowableValues"`
	HTTPURI *string  `json:"HttpBootUri"`
}

func (b boot) offers(target string) bool {
	return len(b.Allowed) == 0 || slices.Contains(b.Allowed, target)
}

func (b boot) enabled() string {
	if b.Enabled == nil {
		return ""
	}
	return *b.Enabled
}

// override is what the boot ladder knows.
type override struct {
	sys *system
	// settings is the path of the Settings object when it has a Boot, and its Boot.
	settings     string
	settingsBoot boot
	target, url  string
	want         bmc.Boot
	// mode that it is to start in, the one before the first rung; empty when the BMC tells none.
	mode string
	// scp is Dell's import action; managerFirmware its iDRAC's version.
	scp, managerFirmware string
}

// now is the Boot that a change will show in.
func (o override) now() boot {
	if o.settings != "" {
		return o.settingsBoot
	}
	return o.sys.Boot
}

func (o override) path() string {
	if o.settings != "" {
		return o.settings
	}
	return o.sys.ID
}

// imports whether Dell's action is the way: iDRAC10 counts its firmware from 1 again, and has its media at the System (ironic
// boot.py, LP 2125571).
func (o override) imports() bool {
	return o.want == bmc.BootCD && o.scp != "" && o.sys.VirtualMedia.ID == "" && firmwareBefore(o.managerFirmware, 6)
}

func (o override) clears() bool { return o.want == bmc.BootNone }

// body with the fields that a rung sends beside the target.
func (o override) body(enabled, mode, uri bool) map[string]any {
	fields := map[string]any{"BootSourceOverrideTarget": o.target}
	if o.clears() {
		fields["BootSourceOverrideEnabled"] = "Disabled"
	} else if enabled || o.now().enabled() != "Once" {
		fields["BootSourceOverrideEnabled"] = "Once"
	}
	if mode {
		fields["BootSourceOverrideMode"] = "UEFI"
		if o.mode != "" {
			fields["BootSourceOverrideMode"] = o.mode
		}
	}
	// iLO answers 400 to a URI with any other target (gofish #507).
	if uri && o.target == "UefiHttp" && o.url != "" {
		fields["HttpBootUri"] = o.url
	}
	return map[string]any{"Boot": fields}
}

func bootRung(name, source string, enabled, mode, uri bool, offers func(override) bool) rung[override] {
	return rung[override]{
		name: name, source: source, method: http.MethodPatch, ifMatch: true, path: override.path,
		body:   func(o override) map[string]any { return o.body(enabled, mode, uri) },
		offers: func(o override) bool { return offers == nil || offers(o) },
	}
}

func atSettings(o override) bool { return o.settings != "" }
func atSystem(o override) bool   { return o.settings == "" }

// bootOnce is the ladder for one-time boot, bmc.md §2.4. The Settings object comes first where it has a Boot.
var bootOnce = []rung[override]{
	{
		name: "OEM ImportSystemConfiguration, VCD-DVD first", source: "Dell iDRAC8 and 9 before 6.x: the standard Cd is a real drive (sushy oem/dell)",
		method: http.MethodPost, path: func(o override) string { return o.scp }, offers: override.imports,
		body: func(override) map[string]any { return importBody() },
	},
	bootRung("Settings: Target, Enabled", "Nokia; iDRAC10, where Boot is read-only on the System (gofish #511)", true, false, true, atSettings),
	bootRung("Settings: Target, Enabled, Mode", "the same, where a mode is demanded", true, true, true, atSettings),
	bootRung("System: Target, Enabled if it changes", "BMCs that refuse what does not change (story 2007355); Supermicro X10 refuses Mode", false, false, true, atSystem),
	bootRung("System: Target, Enabled", "Supermicro wants Enabled always (story 2008547); HP DL160 Gen10 refuses more (bmclib)", true, false, true, atSystem),
	bootRung("System: Target, Enabled, Mode", "AMI, ASRock and newer Supermicro want all three (ironic management.py)", true, true, true, atSystem),
	bootRung("System: Target, Enabled; URL from DHCP", "iLO refuses HttpBootUri (gofish #507): DHCP tells the URL", true, false, false, func(o override) bool {
		return atSystem(o) && o.want == bmc.BootHTTP && o.url != ""
	}),
}

// targets for a way of booting, the first that the BMC offers.
var targets = []struct {
	want   bmc.Boot
	target string
	offers func(*system) bool
	source string
}{
	{bmc.BootPXE, "Pxe", nil, "Redfish"},
	{bmc.BootHTTP, "UefiHttp", nil, "Redfish"},
	{bmc.BootDisk, "Hdd", nil, "Redfish"},
	{bmc.BootNone, "None", nil, "Redfish"},
	{bmc.BootCD, "UsbCd", func(s *system) bool {
		return slices.Contains(s.Boot.Allowed, "UsbCd") && !strings.HasPrefix(s.Model, "ARS-111GL-NHR")
	}, "Supermicro's virtual CD, but for the ARS-111GL-NHR (sushy system.py)"},
	{bmc.BootCD, "Cd", nil, "Redfish"},
}

// BootOnce has the next start, and only that, come from target; httpURL is for BootHTTP. Best while the machine is off:
// some refuse it during POST. BootNone takes it back.
func (c *Client) BootOnce(ctx context.Context, target bmc.Boot, httpURL string) (string, error) {
	doing := "boot " + string(target) + " once"
	known, err := c.override(ctx, target, httpURL)
	if err != nil {
		return "", fmt.Errorf("%s: %w", doing, err)
	}
	if known.clears() && known.now().enabled() == "Disabled" {
		return "none was set", nil
	}
	if mode := known.now().Mode; mode != nil {
		known.mode = *mode
		if c.mode != "" {
			known.mode = c.mode
		}
		if known.target == "UefiHttp" {
			known.mode = "UEFI"
		}
	}
	return climb(ctx, c, doing, bootOnce, func() override { return known }, func(ctx context.Context, answer *reply) (bool, error) {
		if err := c.finish(ctx, answer); err != nil {
			return false, err
		}
		again, err := c.override(ctx, target, httpURL)
		if err != nil {
			return false, err
		}
		again.mode = known.mode
		known = again
		return known.took(), nil
	})
}

// took whether the BMC now shows what was asked for, and has not turned the boot mode on the way, as Supermicro does
// (story 2008712). What it does not show at all is believed.
func (o override) took() bool {
	if o.imports() {
		return true
	}
	after := o.now()
	if after.Enabled == nil || after.Target == nil {
		return true
	}
	if o.clears() {
		return *after.Enabled == "Disabled" || *after.Target == "None"
	}
	flipped := o.mode != "" && after.Mode != nil && *after.Mode != o.mode
	return *after.Enabled != "Disabled" && *after.Target == o.target && !flipped
}

func (c *Client) override(ctx context.Context, want bmc.Boot, url string) (override, error) {
	s, err := c.system(ctx)
	if err != nil {
		return override{}, err
	}
	o := override{sys: s, want: want, url: url}
	for _, row := range targets {
		if row.want == want && o.target == "" && (row.offers == nil || row.offers(s)) {
			o.target = row.target
		}
	}
	if o.target == "" {
		return override{}, fmt.Errorf("%s is nothing to boot from", want)
	}
	if !s.Boot.offers(o.target) && !o.clears() {
		return override{}, &bmc.Fault{Kind: bmc.Unsupported, Err: fmt.Errorf("the BMC offers %s and not %s", strings.Join(s.Boot.Allowed, ", "), o.target)}
	}
	if path := s.Settings.SettingsObject.ID; path != "" {
		var settings struct{ Boot *boot }
		if _, err := c.get(ctx, path, &settings); err == nil && settings.Boot != nil {
			o.settings, o.settingsBoot = path, *settings.Boot
		}
	}
	if want == bmc.BootCD {
		err = c.dell(ctx, &o)
	}
	return o, err
}

// dell looks whether the manager has Dell's import action.
func (c *Client) dell(ctx context.Context, o *override) error {
	for _, manager := range o.sys.managers() {
		var m struct {
			FirmwareVersion string
			Actions         struct {
				Oem struct {
					Import struct {
						Target string `json:"target"`
					} `json:"#OemManager.ImportSystemConfiguration"`
				}
			}
		}
		if _, err := c.get(ctx, manager.ID, &m); err != nil {
			return err
		}
		o.managerFirmware, o.scp = m.FirmwareVersion, localPath(m.Actions.Oem.Import.Target)
	}
	return nil
}

func importBody() map[string]any {
	return map[string]any{
		"ShareParameters": map[string]any{"Target": "ALL"},
		"ImportBuffer": `<SystemConfiguration><Component FQDD="iDRAC.Embedded.1">` +
			`<Attribute Name="ServerBoot.1#BootOnce">Enabled</Attribute><Attribute Name="ServerBoot.1#FirstBootDevice">VCD-DVD</Attribute>` +
			`</Component></SystemConfiguration>`,
	}
}
