package machine

import "strings"

// System is what a machine says of itself where there is no SMBIOS: IBM Z in /proc/sysinfo, Power in its device tree.
type System struct {
	Manufacturer, Product, Serial, UUID string
	Virtual                             bool
}

// System reads the firmware's words; what it does not say stays empty.
func (r Root) System() System {
	if text := r.Line("proc/sysinfo"); text != "" {
		return sysinfo(text)
	}
	return System{
		Manufacturer: vendorOf(r.tree("model")),
		Product:      r.tree("model"),
		Serial:       r.tree("system-id"),
		UUID:         r.treeUUID(),
		Virtual:      r.tree("vm,uuid") != "" || r.Exists("proc/device-tree/hypervisor"),
	}
}

// sysinfo reads "key: value" lines; the innermost level that runs this system is the virtual machine's, then the LPAR's.
func sysinfo(text string) System {
	words := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			words[strings.Join(strings.Fields(key), " ")] = strings.TrimSpace(value)
		}
	}
	s := System{Manufacturer: words["Manufacturer"], Product: words["Type"], Serial: words["Sequence Code"]}
	if model := words["Model"]; model != "" {
		s.Product += " " + strings.Join(strings.Fields(model), " ")
	}
	switch {
	case words["VM00 Control Program"] != "":
		s.Virtual = true
		s.UUID = words["VM00 UUID"]
		// Machines of one LPAR or one z/VM share the serial number of the hardware.
		s.Serial += "-" + words["VM00 Name"]
	case words["LPAR Name"] != "":
		s.UUID = words["LPAR UUID"]
		s.Serial += "-" + words["LPAR Number"]
	}
	s.UUID = usableUUID(s.UUID)
	return s
}

// tree is a property of the device tree's root; they end with a NUL.
func (r Root) tree(property string) string {
	return strings.TrimSpace(strings.TrimRight(r.Line("proc/device-tree", property), "\x00"))
}

func (r Root) treeUUID() string {
	for _, property := range []string{"vm,uuid", "ibm,partition-uuid"} {
		if uuid := usableUUID(r.tree(property)); uuid != "" {
			return uuid
		}
	}
	return ""
}

func vendorOf(model string) string {
	if strings.HasPrefix(model, "IBM") {
		return "IBM"
	}
	return ""
}

// usableUUID is empty for what is none, or one that every machine has.
func usableUUID(text string) string {
	text = strings.ToLower(strings.TrimSpace(text))
	if !isUUID(text) || strings.Trim(text, "0-") == "" || text == "03000200-0400-0500-0006-000700080009" {
		return ""
	}
	return text
}
