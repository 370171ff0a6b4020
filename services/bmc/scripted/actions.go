package scripted

import (
	"context"
	"net/http"
	"slices"
	"strings"
)

func (b *BMC) reset(ctx context.Context, in *request) response {
	kind, _ := in.body["ResetType"].(string)
	if b.profile.ResetTypes != nil && !slices.Contains(b.profile.ResetTypes, kind) || kind == "" {
		return refuse(http.StatusBadRequest, "ActionParameterNotSupported", "Not supported: "+kind, kind)
	}
	b.mu.Lock()
	power := b.powerState()
	already := b.profile.refusals.alreadySo
	conflict := false
	if (kind == "On" || kind == "ForceOn") && b.state.conflicts > 0 {
		b.state.conflicts--
		conflict = true
	}
	stuck := b.faults.StuckTask
	b.mu.Unlock()
	switch {
	case conflict:
		return refuse(http.StatusConflict, "ActionParameterValueConflict", "The value conflicts with the state.", kind)
	case already && (strings.HasSuffix(kind, "On") && power == "On" || strings.HasSuffix(kind, "Off") && power == "Off"):
		return refuse(http.StatusConflict, "NoOperation", "The machine is so already.")
	case stuck:
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.accepted("")
	}
	if err := b.power(ctx, kind, power); err != nil {
		b.options.Log.Error("reset machine", "type", kind, "err", err)
		return refuse(http.StatusInternalServerError, "InternalError", "The machine did not obey.")
	}
	return done()
}

// power acts on the machine, which may take its time: outside the mutex.
func (b *BMC) power(ctx context.Context, kind, power string) error {
	machine := b.options.Machine
	switch kind {
	case "On", "ForceOn", "PushPowerButton":
		if power == "On" {
			return nil
		}
		b.starts()
		if machine != nil {
			if err := machine.PowerOn(ctx); err != nil {
				return err
			}
		}
	case "ForceOff", "GracefulShutdown":
		if machine != nil {
			if err := machine.PowerOff(ctx, kind == "GracefulShutdown"); err != nil {
				return err
			}
		}
		b.mu.Lock()
		b.state.power, b.state.conflicts = "Off", b.profile.refusals.onAfterOff
		b.mu.Unlock()
	case "ForceRestart", "GracefulRestart", "PowerCycle":
		b.starts()
		if machine != nil {
			return machine.Reset(ctx)
		}
	}
	return nil
}

// powerState is the machine's where that tells; under the mutex.
func (b *BMC) powerState() string {
	if machine, tells := b.options.Machine.(Powered); tells {
		b.state.power = "Off"
		if machine.Running() {
			b.state.power = "On"
		}
	}
	return b.state.power
}

// starts the machine as far as the BMC sees: the override is used up, BIOS attributes come true.
func (b *BMC) starts() {
	b.mu.Lock()
	defer b.mu.Unlock()
	from := "Hdd"
	if b.state.enabled == "Once" {
		from = b.state.target
	}
	switch from {
	case "Cd", "UsbCd":
		image := ""
		for _, slot := range b.state.slots {
			image += slot.image
		}
		from = "Cd " + image
	case "UefiHttp":
		from += " " + b.state.httpURI
	}
	b.state.started = append(b.state.started, from)
	b.state.power, b.state.enabled, b.state.target, b.state.httpURI = "On", "Disabled", "None", ""
	b.state.post = b.profile.refusals.bootDuringPOST
	for name, value := range b.state.pending {
		b.state.bios[name] = value
	}
	b.state.pending = map[string]any{}
	b.state.version++
}

func (b *BMC) patchBoot(ctx context.Context, in *request, readOnly bool) response {
	boot, given := in.body["Boot"].(map[string]any)
	if !given {
		return refuse(http.StatusBadRequest, "PropertyMissing", "Boot is missing.", "Boot")
	}
	b.mu.Lock()
	refused := b.refuseBoot(boot, readOnly)
	if refused == nil {
		b.override(boot)
	}
	target, uri, enabled := b.state.target, b.state.httpURI, b.state.enabled
	b.mu.Unlock()
	if refused != nil {
		return *refused
	}
	if b.options.Machine != nil {
		if enabled == "Disabled" {
			target, uri = "None", ""
		}
		if err := b.options.Machine.BootOnce(ctx, strings.TrimPrefix(target, "Usb"), uri); err != nil {
			b.options.Log.Error("set boot of machine", "err", err)
			return refuse(http.StatusInternalServerError, "InternalError", "The machine did not obey.")
		}
	}
	return ok(map[string]any{})
}

// refuseBoot has the vendors' refusals, under the mutex.
func (b *BMC) refuseBoot(boot map[string]any, readOnly bool) *response {
	no := func(message, text string, args ...string) *response {
		answer := refuse(http.StatusBadRequest, message, text, args...)
		return &answer
	}
	r := b.profile.refusals
	enabled, hasEnabled := boot["BootSourceOverrideEnabled"].(string)
	_, hasMode := boot["BootSourceOverrideMode"]
	target, hasTarget := boot["BootSourceOverrideTarget"].(string)
	_, hasURI := boot["HttpBootUri"]
	switch {
	case readOnly:
		return no("PropertyNotWritable", "Boot is read only here.", "Boot")
	case hasTarget && !slices.Contains(b.profile.BootTargets, target):
		return no("PropertyValueNotInList", "No such target.", target)
	case r.bootDuringPOST > 0 && b.state.power == "On" && b.state.post > 0:
		b.state.post--
		return no("UnableToModifyDuringSystemPOST", "Not during POST.")
	case r.bootEnabledMissing && !hasEnabled:
		return no("PropertyMissing", "BootSourceOverrideEnabled is missing.", "BootSourceOverrideEnabled")
	case r.bootEnabledUnchanged && hasEnabled && enabled == b.state.enabled:
		return no("PropertyValueConflict", "It is so already.", "BootSourceOverrideEnabled")
	case r.bootIncomplete && (!hasEnabled || !hasMode || !hasTarget):
		return no("PropertyMissing", "Mode, Enabled and Target belong together.")
	case r.bootMode && hasMode:
		return no("PropertyNotWritable", "No mode.", "BootSourceOverrideMode")
	case r.bootHTTPURI && hasURI:
		return no("PropertyUnknown", "HttpBootUri is unknown.", "HttpBootUri")
	}
	return nil
}

func (b *BMC) override(boot map[string]any) {
	set := func(name string, field *string) bool {
		value, given := boot[name].(string)
		if given {
			*field = value
		}
		return given
	}
	set("BootSourceOverrideEnabled", &b.state.enabled)
	set("BootSourceOverrideTarget", &b.state.target)
	set("HttpBootUri", &b.state.httpURI)
	if !set("BootSourceOverrideMode", &b.state.mode) && b.profile.refusals.bootFlipsMode {
		b.state.mode = "Legacy"
	}
	b.state.version++
}

// importConfiguration is Dell's: the virtual CD first, once.
func (b *BMC) importConfiguration(ctx context.Context, in *request) response {
	buffer, _ := in.body["ImportBuffer"].(string)
	if !strings.Contains(buffer, "VCD-DVD") {
		return refuse(http.StatusBadRequest, "ActionParameterMissing", "ImportBuffer is missing.", "ImportBuffer")
	}
	if b.options.Machine != nil {
		if err := b.options.Machine.BootOnce(ctx, "Cd", ""); err != nil {
			b.options.Log.Error("set boot of machine", "err", err)
			return refuse(http.StatusInternalServerError, "InternalError", "The machine did not obey.")
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state.enabled, b.state.target = "Once", "Cd"
	b.state.version++
	return b.accepted("")
}

func (b *BMC) insert(ctx context.Context, in *request, index int) response {
	b.mu.Lock()
	refused := b.refuseMedia(in.body, index)
	unreachable := b.faults.MediaUnreachable
	b.mu.Unlock()
	switch {
	case refused != nil:
		return *refused
	case unreachable && b.profile.refusals.mediaTask:
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.accepted("Base.1.12.ResourceAtUriUnreachable")
	case unreachable:
		return refuse(http.StatusBadRequest, "ResourceAtUriUnreachable", "The URL of the image cannot be read.")
	}
	image, _ := in.body["Image"].(string)
	if answer := b.show(ctx, index, image); answer != nil {
		return *answer
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.profile.refusals.mediaTask || b.faults.StuckTask {
		return b.accepted("")
	}
	return done()
}

// show the image to the machine; an empty one ejects.
func (b *BMC) show(ctx context.Context, index int, image string) *response {
	if machine := b.options.Machine; machine != nil {
		err := error(nil)
		if image == "" {
			err = machine.Eject(ctx)
		} else {
			err = machine.Insert(ctx, image)
		}
		if err != nil {
			b.options.Log.Error("change medium of machine", "err", err)
			answer := refuse(http.StatusInternalServerError, "InternalError", "The machine did not obey.")
			return &answer
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state.slots[index].image = image
	b.state.version++
	return nil
}

// refuseMedia has the vendors' refusals, under the mutex.
func (b *BMC) refuseMedia(body map[string]any, index int) *response {
	no := func(status int, message, text string, args ...string) *response {
		answer := refuse(status, message, text, args...)
		return &answer
	}
	r := b.profile.refusals
	image, _ := body["Image"].(string)
	_, hasInserted := body["Inserted"]
	_, hasProtected := body["WriteProtected"]
	_, hasProtocol := body["TransferProtocolType"]
	_, hasUser := body["UserName"]
	switch {
	case b.faults.Unlicensed:
		return no(http.StatusForbidden, "LicenseKeyRequired", "A license is required for this operation.")
	case b.state.lag > 0:
		b.state.lag--
		return no(http.StatusInternalServerError, "InternalError", "The eject is not finished.")
	case image == "":
		return no(http.StatusBadRequest, "ActionParameterMissing", "Image is missing.", "Image")
	case b.profile.Slots[index].Local:
		return no(http.StatusBadRequest, "ActionNotSupported", "This slot takes no URL.")
	case b.state.slots[index].image != "":
		return no(http.StatusConflict, "ResourceInUse", "A medium is inserted.")
	case r.mediaExtras && (hasInserted || hasProtected):
		return no(http.StatusBadRequest, "ActionParameterUnknown", "Inserted and WriteProtected are unknown.", "Inserted")
	case r.mediaQuery && strings.ContainsAny(image, "?=&"):
		return no(http.StatusBadRequest, "ActionParameterValueFormatError", "The URL has characters that it may not have.", "Image")
	case r.mediaProtocol && !hasProtocol:
		return no(http.StatusBadRequest, "ActionParameterMissing", "TransferProtocolType is missing.", "TransferProtocolType")
	case r.mediaAccount && !hasUser:
		return no(http.StatusBadRequest, "ActionParameterMissing", "UserName is missing.", "UserName")
	}
	return nil
}

func (b *BMC) eject(ctx context.Context, in *request, index int) response {
	if b.profile.refusals.ejectEmptyBody && len(in.raw) == 0 {
		return refuse(http.StatusBadRequest, "MalformedJSON", "The body is empty.")
	}
	if answer := b.show(ctx, index, ""); answer != nil {
		return *answer
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state.lag = b.profile.refusals.mediaEjectLag
	return done()
}

// patchSlot is the way of slots without actions.
func (b *BMC) patchSlot(ctx context.Context, in *request, index int) response {
	image, _ := in.body["Image"].(string)
	if image != "" {
		b.mu.Lock()
		refused := b.refuseMedia(in.body, index)
		unreachable := b.faults.MediaUnreachable
		b.mu.Unlock()
		if refused != nil {
			return *refused
		}
		if unreachable {
			return refuse(http.StatusBadRequest, "ResourceAtUriUnreachable", "The URL of the image cannot be read.")
		}
	}
	if answer := b.show(ctx, index, image); answer != nil {
		return *answer
	}
	return ok(map[string]any{})
}

func (b *BMC) patchBIOS(_ context.Context, in *request) response {
	if _, given := in.body["@Redfish.SettingsApplyTime"]; given && (b.profile.refusals.applyTime || b.profile.ApplyTimes == nil) {
		return refuse(http.StatusBadRequest, "PropertyUnknown", "@Redfish.SettingsApplyTime is unknown.", "@Redfish.SettingsApplyTime")
	}
	attributes, given := in.body["Attributes"].(map[string]any)
	if !given {
		return refuse(http.StatusBadRequest, "PropertyMissing", "Attributes are missing.", "Attributes")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, value := range attributes {
		_, wantNumber := b.profile.BIOS[name].(int)
		_, isNumber := value.(float64)
		if _, known := b.state.bios[name]; !known || wantNumber != isNumber {
			return refuse(http.StatusBadRequest, "PropertyValueTypeError", "The attribute is unknown or of another type.", name)
		}
	}
	for name, value := range attributes {
		b.state.pending[name] = value
	}
	b.state.version++
	return ok(map[string]any{})
}
