package dhcp

import (
	"bytes"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

func TestProxy(t *testing.T) {
	ipxeROM := append(pxe(iana.EFI_X86_64), dhcpv4.WithGeneric(dhcpv4.OptionUserClassInformation, []byte("iPXE")))
	menu := dhcpv4.WithGeneric(optionPXEVendor, []byte{0, 70, 1, 0, 71, 4, 0, 3, 0, 0, 255})
	take, item := []byte{6, 1, 8, 255}, []byte{71, 4, 0, 3, 0, 0, 255}
	const script = "http://10.7.0.2:8080/boot.ipxe?arch=x86_64&mac=52-54-00-00-00-01&uuid=00112233-4455-6677-8899-aabbccddeeff"
	for name, c := range map[string]struct {
		kind    dhcpv4.MessageType
		mods    []dhcpv4.Modifier
		boot    bool // on port 4011
		outcome Outcome
		file    string
		class   string
		vendor  []byte
	}{
		"BIOS":                   {discover, pxe(iana.INTEL_X86PC), false, Offered, "undionly.kpxe", classPXE, take},
		"UEFI":                   {discover, pxe(iana.EFI_X86_64), false, Offered, "snponly.efi", classPXE, nil},
		"UEFI on 4011":           {ask, pxe(iana.EFI_X86_64), true, Acked, "snponly.efi", classPXE, nil},
		"BIOS on 4011":           {ask, pxe(iana.INTEL_X86PC), true, Acked, "undionly.kpxe", classPXE, nil},
		"BIOS chose from a menu": {ask, append(pxe(iana.INTEL_X86PC), menu), true, Acked, "undionly.kpxe", classPXE, item},
		"INFORM on 4011":         {dhcpv4.MessageTypeInform, pxe(iana.EFI_X86_64), true, Acked, "snponly.efi", classPXE, nil},
		"UEFI HTTP":              {discover, pxe(iana.EFI_X86_64_HTTP), false, Offered, "http://10.7.0.2:8080/loaders/snponly.efi", classHTTP, nil},
		"iPXE":                   {discover, ipxeROM, false, Offered, script, classPXE, take},
		"iPXE without a class":   {discover, append(ipxeROM, dhcpv4.WithoutOption(dhcpv4.OptionClassIdentifier)), false, Offered, script, classPXE, nil},
		"relayed":                {discover, append(pxe(iana.EFI_X86_64), via("10.8.0.1")), false, Offered, "snponly.efi", classPXE, nil},
		"relayed from elsewhere": {discover, append(pxe(iana.EFI_X86_64), via("10.99.0.1")), false, Unknown, "", "", nil},
		"the other's request":    {ask, append(pxe(iana.EFI_X86_64), server("10.7.0.9")), false, Foreign, "", "", nil},
		"does not boot":          {discover, nil, false, NoBoot, "", "", nil},
		"nothing to boot":        {discover, pxe(iana.EFI_IA32), false, NoBoot, "", "", nil},
		"released":               {dhcpv4.MessageTypeRelease, nil, false, Foreign, "", "", nil},
		"no type":                {dhcpv4.MessageTypeNone, pxe(iana.EFI_X86_64), false, Malformed, "", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			d := newProxy(testConfig(), Chain{}).decide(arrival{DHCPv4: packet(t, 1, c.kind, c.mods...), boot: c.boot})
			if d.Outcome != c.outcome || (d.Reply == nil) != (c.file == "") {
				t.Fatalf("%s, want %s: %v", d.Outcome, c.outcome, d.Reply)
			}
			if d.Reply == nil {
				return
			}
			r, err := dhcpv4.FromBytes(d.Reply.ToBytes())
			if err != nil {
				t.Fatal(err)
			}
			file := r.BootFileName
			if file == "" {
				file = r.BootFileNameOption()
			}
			if file != c.file || r.ClassIdentifier() != c.class || !bytes.Equal(r.Options.Get(optionPXEVendor), c.vendor) {
				t.Errorf("file %q class %q option 43 %v\n%s", file, r.ClassIdentifier(), r.Options.Get(optionPXEVendor), r.Summary())
			}
			checkProxyReply(t, r)
		})
	}
}

func checkProxyReply(t *testing.T, r *dhcpv4.DHCPv4) {
	t.Helper()
	for what, ok := range map[string]bool{
		"no address":  !addr4(r.YourIPAddr).IsValid() && !r.Options.Has(dhcpv4.OptionIPAddressLeaseTime),
		"server":      r.ServerIdentifier().String() == "10.7.0.2" && r.ServerIPAddr.String() == "10.7.0.2",
		"identifier":  string(r.Options.Get(dhcpv4.OptionClientMachineIdentifier)) == smbios,
		"no network":  r.SubnetMask() == nil && r.Router() == nil && r.DNS() == nil,
		"not for us":  !r.Options.Has(optionIPXE),
		"destination": goesOut(r),
	} {
		if !ok {
			t.Errorf("%s:\n%s", what, r.Summary())
		}
	}
}

// goesOut checks that an offer without an address is broadcast, or goes to the relay.
func goesOut(r *dhcpv4.DHCPv4) bool {
	to, link := destination(r)
	want := "255.255.255.255:68"
	if relay := addr4(r.GatewayIPAddr); relay.IsValid() {
		want = relay.String() + ":67"
	}
	return to.String() == want && !link
}
