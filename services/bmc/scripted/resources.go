package scripted

import (
	"context"
	"net/http"
	"strings"
)

const registryID = "BiosAttributeRegistry.v1_0_0"

func (b *BMC) root() map[string]any {
	root := map[string]any{
		"@odata.id": "/redfish/v1", "@odata.type": "#ServiceRoot.v1_5_0.ServiceRoot", "Id": "RootService", "RedfishVersion": "1.8.0",
		"Vendor": b.profile.Manufacturer, "Systems": link("/redfish/v1/Systems"), "Managers": link("/redfish/v1/Managers"),
		"Registries": link("/redfish/v1/Registries"),
	}
	if b.profile.Sessions {
		root["SessionService"] = link("/redfish/v1/SessionService")
		root["Links"] = map[string]any{"Sessions": link(sessionsPath)}
	}
	return root
}

func fixed(body func() map[string]any) route {
	return route{http.MethodGet: func(context.Context, *request) response { return ok(body()) }}
}

func (b *BMC) paths() map[string]route {
	system, manager, media := b.system(), b.manager(), b.media()
	paths := map[string]route{
		"/redfish/v1/Systems":  fixed(func() map[string]any { return collection("/redfish/v1/Systems", b.profile.SystemID) }),
		"/redfish/v1/Managers": fixed(func() map[string]any { return collection("/redfish/v1/Managers", b.profile.ManagerID) }),
		system: {http.MethodGet: b.getSystem, http.MethodPatch: func(ctx context.Context, in *request) response {
			return b.patchBoot(ctx, in, b.profile.refusals.bootReadOnly)
		}},
		system + "/Actions/ComputerSystem.Reset": {http.MethodPost: b.reset},
		system + "/Bios":                         fixed(b.biosBody),
		system + "/Bios/Settings": {
			http.MethodGet:   func(context.Context, *request) response { return ok(b.pendingBody()) },
			http.MethodPatch: b.patchBIOS,
		},
		"/redfish/v1/Registries": fixed(func() map[string]any { return collection("/redfish/v1/Registries", registryID) }),
		"/redfish/v1/Registries/" + registryID: fixed(func() map[string]any {
			return map[string]any{"Location": []map[string]any{{"Language": "de", "Uri": "/redfish/v1/registrystore/de"}, {"Language": "en", "Uri": "/redfish/v1/registrystore/en"}}}
		}),
		"/redfish/v1/registrystore/en": fixed(b.registryBody),
		manager:                        fixed(b.managerBody),
		media:                          fixed(func() map[string]any { return collection(media, b.slotNames()...) }),
	}
	if b.profile.settings {
		paths[system+"/Settings"] = route{http.MethodGet: b.getSettings, http.MethodPatch: func(ctx context.Context, in *request) response { return b.patchBoot(ctx, in, false) }}
	}
	if strings.HasPrefix(b.profile.Manufacturer, "Dell") {
		paths[manager+"/Actions/Oem/EID_674_Manager.ImportSystemConfiguration"] = route{http.MethodPost: b.importConfiguration}
	}
	for index, slot := range b.profile.Slots {
		one := media + "/" + slot.ID
		paths[one] = route{http.MethodGet: func(context.Context, *request) response { return ok(b.slotBody(index)) }}
		if slot.NoAction {
			paths[one][http.MethodPatch] = func(ctx context.Context, in *request) response { return b.patchSlot(ctx, in, index) }
			continue
		}
		paths[one+"/Actions/VirtualMedia.InsertMedia"] = route{http.MethodPost: func(ctx context.Context, in *request) response { return b.insert(ctx, in, index) }}
		paths[one+"/Actions/VirtualMedia.EjectMedia"] = route{http.MethodPost: func(ctx context.Context, in *request) response { return b.eject(ctx, in, index) }}
	}
	b.inventory(paths)
	return paths
}

func (b *BMC) slotNames() []string {
	names := make([]string, len(b.profile.Slots))
	for i, slot := range b.profile.Slots {
		names[i] = slot.ID
	}
	return names
}

func (b *BMC) getSystem(context.Context, *request) response {
	b.mu.Lock()
	defer b.mu.Unlock()
	path := b.system()
	reset := map[string]any{"target": path + "/Actions/ComputerSystem.Reset"}
	if b.profile.ResetTypes != nil {
		reset["ResetType@Redfish.AllowableValues"] = b.profile.ResetTypes
	}
	body := map[string]any{
		"@odata.id": path, "@odata.type": "#ComputerSystem.v1_13_0.ComputerSystem", "Id": b.profile.SystemID,
		"Manufacturer": b.profile.Manufacturer, "Model": b.profile.Model, "SerialNumber": b.options.Serial, "AssetTag": "asset-" + b.options.Serial,
		"HostName": "host-" + strings.ToLower(b.options.Serial), "BiosVersion": "2.19.1", "UUID": "00000000-0000-0000-0000-" + strings.ReplaceAll(b.options.MACs[0], ":", ""),
		"PowerState": b.powerState(), "Boot": b.bootBody(true),
		"MemorySummary": map[string]any{"TotalSystemMemoryGiB": 64}, "ProcessorSummary": map[string]any{"Count": 2, "Model": "Scripted 6338"},
		"Processors": link(path + "/Processors"), "EthernetInterfaces": link(path + "/EthernetInterfaces"), "Storage": link(path + "/Storage"),
		"Bios": link(path + "/Bios"), "Links": map[string]any{"ManagedBy": []any{link(b.manager())}},
		"Actions": map[string]any{"#ComputerSystem.Reset": reset},
	}
	if b.profile.MediaAtSystem {
		body["VirtualMedia"] = link(b.media())
	}
	if b.profile.settings {
		body["@Redfish.Settings"] = map[string]any{"SettingsObject": link(path + "/Settings"), "SupportedApplyTimes": []string{"OnReset"}}
	}
	return ok(body)
}

func (b *BMC) getSettings(context.Context, *request) response {
	b.mu.Lock()
	defer b.mu.Unlock()
	return ok(map[string]any{"@odata.id": b.system() + "/Settings", "Id": "Settings", "Boot": b.bootBody(true)})
}

func (b *BMC) bootBody(full bool) map[string]any {
	boot := map[string]any{
		"BootSourceOverrideEnabled": b.state.enabled, "BootSourceOverrideTarget": b.state.target,
		"BootSourceOverrideTarget@Redfish.AllowableValues": b.profile.BootTargets,
	}
	if full && !b.profile.refusals.bootMode {
		boot["BootSourceOverrideMode"] = b.state.mode
	}
	if b.state.httpURI != "" {
		boot["HttpBootUri"] = b.state.httpURI
	}
	return boot
}

func (b *BMC) managerBody() map[string]any {
	body := map[string]any{"@odata.id": b.manager(), "Id": b.profile.ManagerID, "FirmwareVersion": b.profile.ManagerFirmware, "ManagerType": "BMC"}
	if !b.profile.MediaAtSystem {
		body["VirtualMedia"] = link(b.media())
	}
	if strings.HasPrefix(b.profile.Manufacturer, "Dell") {
		body["Actions"] = map[string]any{"Oem": map[string]any{"#OemManager.ImportSystemConfiguration": map[string]any{
			"target": b.manager() + "/Actions/Oem/EID_674_Manager.ImportSystemConfiguration",
		}}}
	}
	return body
}

func (b *BMC) slotBody(index int) map[string]any {
	b.mu.Lock()
	defer b.mu.Unlock()
	slot, path := b.profile.Slots[index], b.media()+"/"+b.profile.Slots[index].ID
	image := b.state.slots[index].image
	body := map[string]any{"@odata.id": path, "Id": slot.ID, "MediaTypes": slot.Types, "Inserted": image != "", "Image": nil}
	if image != "" {
		body["Image"] = image
	}
	if !slot.NoAction {
		body["Actions"] = map[string]any{
			"#VirtualMedia.InsertMedia": map[string]any{"target": path + "/Actions/VirtualMedia.InsertMedia"},
			"#VirtualMedia.EjectMedia":  map[string]any{"target": path + "/Actions/VirtualMedia.EjectMedia"},
		}
	}
	return body
}

func (b *BMC) inventory(paths map[string]route) {
	system := b.system()
	cpu := system + "/Processors"
	paths[cpu] = fixed(func() map[string]any { return collection(cpu, "CPU.1", "CPU.2") })
	for _, id := range []string{"CPU.1", "CPU.2"} {
		paths[cpu+"/"+id] = fixed(func() map[string]any {
			return map[string]any{
				"@odata.id": cpu + "/" + id, "Id": id, "ProcessorType": "CPU", "ProcessorArchitecture": "x86", "InstructionSet": "x86-64",
				"Model": "Scripted 6338", "TotalThreads": 32, "TotalCores": 16, "MaxSpeedMHz": 3200,
			}
		})
	}
	nics := system + "/EthernetInterfaces"
	ids := make([]string, len(b.options.MACs))
	for i, mac := range b.options.MACs {
		ids[i] = "NIC." + string(rune('1'+i))
		paths[nics+"/"+ids[i]] = fixed(func() map[string]any {
			return map[string]any{"@odata.id": nics + "/" + ids[i], "Id": ids[i], "Name": "Scripted NIC", "MACAddress": strings.ToUpper(mac), "LinkStatus": "LinkUp", "SpeedMbps": 10000}
		})
	}
	ids = append(ids, "NIC.empty")
	paths[nics+"/NIC.empty"] = fixed(func() map[string]any {
		return map[string]any{"@odata.id": nics + "/NIC.empty", "Id": "NIC.empty", "MACAddress": "", "LinkStatus": nil}
	})
	paths[nics] = fixed(func() map[string]any { return collection(nics, ids...) })
	storage := system + "/Storage"
	paths[storage] = fixed(func() map[string]any { return collection(storage, "AHCI.1") })
	drives := []any{link(storage + "/AHCI.1/Drives/0"), link(storage + "/AHCI.1/Drives/1")}
	paths[storage+"/AHCI.1"] = fixed(func() map[string]any {
		return map[string]any{"@odata.id": storage + "/AHCI.1", "Id": "AHCI.1", "Drives": drives}
	})
	paths[storage+"/AHCI.1/Drives/0"] = fixed(func() map[string]any {
		return map[string]any{
			"@odata.id": storage + "/AHCI.1/Drives/0", "Id": "Disk.0", "CapacityBytes": 480103981056, "MediaType": "SSD", "Protocol": "NVMe", "Model": "S4610",
			"SerialNumber": "D0-" + b.options.Serial, "Identifiers": []any{map[string]any{"DurableName": "EUI.0025", "DurableNameFormat": "EUI"}},
		}
	})
	paths[storage+"/AHCI.1/Drives/1"] = fixed(func() map[string]any {
		return map[string]any{
			"@odata.id": storage + "/AHCI.1/Drives/1", "Id": "Disk.1", "CapacityBytes": 4000787030016, "MediaType": "HDD", "Protocol": "SATA", "Model": "ST4000",
			"SerialNumber": "D1-" + b.options.Serial, "Manufacturer": "Seagate",
		}
	})
}

func (b *BMC) biosBody() map[string]any {
	b.mu.Lock()
	defer b.mu.Unlock()
	attributes := map[string]any{"SetupPassword": ""}
	for name, value := range b.state.bios {
		attributes[name] = value
	}
	settings := map[string]any{"SettingsObject": link(b.system() + "/Bios/Settings")}
	if b.profile.ApplyTimes != nil {
		settings["SupportedApplyTimes"] = b.profile.ApplyTimes
	}
	return map[string]any{
		"@odata.id": b.system() + "/Bios", "Id": "Bios", "AttributeRegistry": registryID, "Attributes": attributes, "@Redfish.Settings": settings,
	}
}

func (b *BMC) pendingBody() map[string]any {
	b.mu.Lock()
	defer b.mu.Unlock()
	pending := map[string]any{}
	for name, value := range b.state.pending {
		pending[name] = value
	}
	return map[string]any{"@odata.id": b.system() + "/Bios/Settings", "Id": "Settings", "Attributes": pending}
}

func (b *BMC) registryBody() map[string]any {
	values := func(names ...string) []any {
		var out []any
		for _, name := range names {
			out = append(out, map[string]any{"ValueName": name, "ValueDisplayName": name})
		}
		return out
	}
	lower := any(1)
	upper := any(64)
	if b.profile.registryOddities {
		lower, upper = -1, -1
	}
	return map[string]any{"Id": registryID, "Language": "en", "RegistryEntries": map[string]any{"Attributes": []any{
		map[string]any{"AttributeName": "BootMode", "Type": "Enumeration", "Value": values("Uefi", "Bios")},
		map[string]any{"AttributeName": "ProcTurboMode", "Type": "Enumeration", "Value": values("Enabled", "Disabled")},
		map[string]any{"AttributeName": "NumCores", "Type": "Integer", "LowerBound": lower, "UpperBound": upper},
		map[string]any{"AttributeName": "Quiet", "Type": "Boolean"},
		map[string]any{"AttributeName": "SetupPassword", "Type": "Password", "MinLength": 0, "MaxLength": 32},
	}}}
}
