package dhcp6

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/slipway-io/slipway/services/dhcp"
	"github.com/slipway-io/slipway/services/dhcp/lease"
)

var start = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

var serverDUID = &dhcpv6.DUIDUUID{UUID: [16]byte{15: 1}}

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func span(from, to string) lease.Range { return lease.Range{From: ip(from), To: ip(to)} }

func testConfig() Config {
	return Config{
		Interface: "br0", Address: netip.MustParsePrefix("fd07::2/64"), Ranges: []lease.Range{span("fd07::100", "fd07::102")},
		DNS: []netip.Addr{ip("fd07::2")}, NTP: []netip.Addr{ip("fd07::2")}, Search: []string{"site.example"},
		Relayed: []Subnet{{Prefix: netip.MustParsePrefix("fd08::/64"), Ranges: []lease.Range{span("fd08::10", "fd08::11")}}},
	}
}

func mac(n byte) net.HardwareAddr { return net.HardwareAddr{0x52, 0x54, 0, 0, 0, n} }

// linkLocal is what a kernel makes of mac(n).
func linkLocal(n byte) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: 0x50, 9: 0x54, 11: 0xff, 12: 0xfe, 15: n})
}

// packet is a client's message with an identity association that names addresses.
func packet(kind dhcpv6.MessageType, n byte, addresses ...string) *dhcpv6.Message {
	m := &dhcpv6.Message{MessageType: kind, TransactionID: dhcpv6.TransactionID{1, 2, n}}
	m.AddOption(dhcpv6.OptClientID(&dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: mac(n)}))
	switch kind {
	case dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline:
		m.AddOption(dhcpv6.OptServerID(serverDUID))
	case dhcpv6.MessageTypeInformationRequest:
		return m
	}
	ia := &dhcpv6.OptIANA{IaId: [4]byte{n}}
	for _, a := range addresses {
		ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: ip(a).AsSlice()})
	}
	m.AddOption(ia)
	return m
}

type site struct {
	*testing.T
	*engine
	now time.Time
}

func newSite(t *testing.T, change ...func(*Config)) *site {
	t.Helper()
	cfg := testConfig()
	for _, c := range change {
		c(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	fixed, err := dhcp.NewFixed(dhcp.Reservation{MAC: mac(9), Address: ip("fd07::9"), Hostname: "nine"}, dhcp.Reservation{MAC: mac(8), Address: ip("fd07::102")})
	if err != nil {
		t.Fatal(err)
	}
	return &site{t, newEngine(cfg, serverDUID, dhcp.Chain{}, fixed), start}
}

// send gives the outcome and the first address that has a lifetime.
func (s *site) send(m dhcpv6.DHCPv6, from netip.Addr) (Decision, string) {
	s.Helper()
	d := s.decide(s.now, arrival{m, from})
	if d.Reply == nil {
		return d, ""
	}
	parsed, err := dhcpv6.FromBytes(d.Reply.ToBytes())
	if err != nil {
		s.Fatal(err)
	}
	inner, err := parsed.GetInnerMessage()
	if err != nil {
		s.Fatal(err)
	}
	for _, ia := range inner.Options.IANA() {
		for _, a := range ia.Options.Addresses() {
			if a.ValidLifetime > 0 {
				return d, a.IPv6Addr.String()
			}
		}
	}
	return d, ""
}

func (s *site) want(outcome Outcome, address string, m dhcpv6.DHCPv6, from netip.Addr) Decision {
	s.Helper()
	d, got := s.send(m, from)
	if d.Outcome != outcome || got != address {
		s.Fatalf("%s %q, want %s %q", d.Outcome, got, outcome, address)
	}
	return d
}

func TestFourMessages(t *testing.T) {
	s := newSite(t)
	d := s.want(Advertised, "fd07::100", packet(dhcpv6.MessageTypeSolicit, 1), linkLocal(1))
	if len(d.Records) > 0 {
		t.Error("an offer is in the log")
	}
	s.want(Advertised, "fd07::101", packet(dhcpv6.MessageTypeSolicit, 2), linkLocal(2))
	d = s.want(Leased, "fd07::100", packet(dhcpv6.MessageTypeRequest, 1, "fd07::100"), linkLocal(1))
	if len(d.Records) != 1 || d.Records[0].Expires != start.Add(time.Hour) || d.Records[0].Client != mac(1).String() {
		t.Errorf("records %+v", d.Records)
	}
	s.want(Leased, "fd07::100", packet(dhcpv6.MessageTypeRenew, 1, "fd07::100"), linkLocal(1))
	s.want(Leased, "fd07::100", packet(dhcpv6.MessageTypeRebind, 1, "fd07::100"), linkLocal(1))
	s.want(Confirmed, "", packet(dhcpv6.MessageTypeConfirm, 1, "fd07::100"), linkLocal(1))
	s.want(Refused, "", packet(dhcpv6.MessageTypeConfirm, 1, "fd09::100"), linkLocal(1))
	// fd07::102 is reserved: the range is exhausted for others.
	s.want(Exhausted, "", packet(dhcpv6.MessageTypeSolicit, 3), linkLocal(3))
	s.want(Released, "", packet(dhcpv6.MessageTypeRelease, 1, "fd07::100"), linkLocal(1))
	s.want(Refused, "", packet(dhcpv6.MessageTypeRelease, 3, "fd07::100"), linkLocal(3))
	s.want(Advertised, "fd07::100", packet(dhcpv6.MessageTypeSolicit, 3), linkLocal(3))
	s.want(Leased, "fd07::100", packet(dhcpv6.MessageTypeRequest, 3, "fd07::100"), linkLocal(3))
	s.want(Declined, "", packet(dhcpv6.MessageTypeDecline, 3, "fd07::100"), linkLocal(3))
	s.now = s.now.Add(2 * time.Minute)
	s.want(Advertised, "fd07::101", packet(dhcpv6.MessageTypeSolicit, 3), linkLocal(3))
}

func TestRapidCommit(t *testing.T) {
	s := newSite(t)
	m := packet(dhcpv6.MessageTypeSolicit, 1)
	m.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionRapidCommit})
	d := s.want(Leased, "fd07::100", m, linkLocal(1))
	reply := d.Reply.(*dhcpv6.Message)
	if reply.MessageType != dhcpv6.MessageTypeReply || reply.GetOneOption(dhcpv6.OptionRapidCommit) == nil || len(d.Records) != 1 {
		t.Errorf("%s, records %v", reply.Summary(), d.Records)
	}
}

// Whatever a machine calls itself on its way from firmware to its system, its port has one address.
func TestOneAddressFromFirmwareToSystem(t *testing.T) {
	s := newSite(t)
	m := packet(dhcpv6.MessageTypeRequest, 1)
	m.UpdateOption(dhcpv6.OptClientID(&dhcpv6.DUIDUUID{UUID: [16]byte{1}})) // firmware and iPXE
	s.want(Leased, "fd07::100", m, linkLocal(1))
	m.UpdateOption(dhcpv6.OptClientID(&dhcpv6.DUIDEN{EnterpriseNumber: 43793, EnterpriseIdentifier: []byte{1, 2}})) // systemd
	s.want(Leased, "fd07::100", m, linkLocal(1))
	m.UpdateOption(dhcpv6.OptClientID(&dhcpv6.DUIDLLT{HWType: iana.HWTypeEthernet, LinkLayerAddr: mac(1)})) // dhclient, another link-local address
	s.want(Leased, "fd07::100", m, ip("fe80::1234"))
	m.UpdateOption(dhcpv6.OptClientID(&dhcpv6.DUIDUUID{UUID: [16]byte{1}})) // the machine's other port
	s.want(Leased, "fd07::101", m, linkLocal(2))
}

func TestReservations(t *testing.T) {
	s := newSite(t)
	s.want(Advertised, "fd07::9", packet(dhcpv6.MessageTypeSolicit, 9), linkLocal(9))
	s.want(Leased, "fd07::102", packet(dhcpv6.MessageTypeRequest, 8, "fd07::100"), linkLocal(8))
	// What a client held before its reservation is taken back.
	d := s.want(Leased, "fd07::9", packet(dhcpv6.MessageTypeRenew, 9, "fd07::100"), linkLocal(9))
	old := d.Reply.(*dhcpv6.Message).Options.OneIANA().Options.Addresses()
	if len(old) != 2 || old[1].ValidLifetime != 0 || old[1].IPv6Addr.String() != "fd07::100" {
		t.Errorf("%v", old)
	}
}

// A restart with the log keeps what machines have; without it they keep it too.
func TestRestart(t *testing.T) {
	s := newSite(t)
	d := s.want(Leased, "fd07::101", packet(dhcpv6.MessageTypeRequest, 1, "fd07::101"), linkLocal(1))
	again := newSite(t)
	if n := again.load(append(d.Records, lease.Lease{Address: ip("fd99::1"), Client: "x", Expires: start})); n != 1 {
		t.Fatalf("%d leases taken", n)
	}
	again.want(Advertised, "fd07::101", packet(dhcpv6.MessageTypeSolicit, 1), linkLocal(1))
	again.want(Leased, "fd07::100", packet(dhcpv6.MessageTypeRequest, 2, "fd07::101"), linkLocal(2))
	lost := newSite(t)
	lost.want(Leased, "fd07::101", packet(dhcpv6.MessageTypeRenew, 1, "fd07::101"), linkLocal(1))
	lost.want(Foreign, "", packet(dhcpv6.MessageTypeRebind, 2, "fd07::200"), linkLocal(2))
}

func TestWhoIsMeant(t *testing.T) {
	other := packet(dhcpv6.MessageTypeRequest, 1, "fd07::100")
	other.UpdateOption(dhcpv6.OptServerID(&dhcpv6.DUIDUUID{}))
	nobody := packet(dhcpv6.MessageTypeRequest, 1, "fd07::100")
	nobody.Options.Del(dhcpv6.OptionServerID)
	named := packet(dhcpv6.MessageTypeSolicit, 1)
	named.AddOption(dhcpv6.OptServerID(serverDUID))
	unnamed := packet(dhcpv6.MessageTypeSolicit, 1)
	unnamed.Options.Del(dhcpv6.OptionClientID)
	for name, c := range map[string]struct {
		m    dhcpv6.DHCPv6
		want Outcome
	}{
		"another server's":      {other, Foreign},
		"request to nobody":     {nobody, Malformed},
		"solicit to a server":   {named, Malformed},
		"no client id":          {unnamed, Malformed},
		"an answer":             {packet(dhcpv6.MessageTypeReply, 1), Malformed},
		"a relay's answer":      {&dhcpv6.RelayMessage{MessageType: dhcpv6.MessageTypeRelayReply}, Malformed},
		"an empty relay packet": {&dhcpv6.RelayMessage{MessageType: dhcpv6.MessageTypeRelayForward}, Malformed},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			if d, _ := s.send(c.m, linkLocal(1)); d.Outcome != c.want || d.Reply != nil {
				t.Errorf("%s %v", d.Outcome, d.Reply)
			}
		})
	}
}

func relayed(m dhcpv6.DHCPv6, link, peer string, options ...dhcpv6.Option) *dhcpv6.RelayMessage {
	r := &dhcpv6.RelayMessage{MessageType: dhcpv6.MessageTypeRelayForward, LinkAddr: ip(link).AsSlice(), PeerAddr: ip(peer).AsSlice()}
	r.AddOption(dhcpv6.OptRelayMessage(m))
	for _, o := range options {
		r.AddOption(o)
	}
	return r
}

func TestRelay(t *testing.T) {
	s := newSite(t)
	port := dhcpv6.OptInterfaceID([]byte("eth7"))
	m := packet(dhcpv6.MessageTypeSolicit, 1)
	// A lightweight relay in the switch, then a router: the network is that of the router's link.
	inner := relayed(m, "::", linkLocal(1).String(), port)
	outer := relayed(inner, "fd08::1", "fe80::99")
	d := s.want(Advertised, "fd08::10", outer, ip("fd08::1"))
	reply := d.Reply.(*dhcpv6.RelayMessage)
	within, ok := reply.Options.RelayMessage().(*dhcpv6.RelayMessage)
	if !ok || string(within.Options.InterfaceID()) != "eth7" || reply.PeerAddr.String() != "fe80::99" {
		t.Errorf("%s", reply.Summary())
	}
	s.want(Unknown, "", relayed(m, "fd09::1", linkLocal(1).String()), ip("fd09::1"))
	// What the relay saw on the wire counts more than what the client says.
	seen := dhcpv6.OptClientLinkLayerAddress(iana.HWTypeEthernet, mac(5))
	if d := s.want(Advertised, "fd08::11", relayed(m, "fd08::1", linkLocal(1).String(), seen), ip("fd08::1")); d.Client != mac(5).String() {
		t.Errorf("client %s", d.Client)
	}
	deep := dhcpv6.DHCPv6(m)
	for range hopLimit + 2 {
		deep = relayed(deep, "fd08::1", "fe80::99")
	}
	s.want(Malformed, "", deep, ip("fd08::1"))
}

func vendorClass(text string) dhcpv6.Option {
	return &dhcpv6.OptVendorClass{EnterpriseNumber: 343, Data: [][]byte{[]byte(text)}}
}

func TestBootFile(t *testing.T) {
	smbios := &dhcpv6.DUIDUUID{UUID: [16]byte{0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}}
	plain := &dhcpv6.DUIDUUID{UUID: [16]byte{0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}}
	for name, c := range map[string]struct {
		arch       iana.Arch
		class      string
		user       string
		duid       dhcpv6.DUID
		url, reply string
	}{
		"no boot":   {0, "", "", smbios, "", ""},
		"UEFI PXE":  {iana.EFI_X86_64, "PXEClient:Arch:00007:UNDI:003001", "", smbios, "tftp://[fd07::2]/snponly.efi", ""},
		"UEFI HTTP": {iana.EFI_X86_64_HTTP, "HTTPClient:Arch:00016:UNDI:003001", "", smbios, "http://[fd07::2]:8080/loaders/snponly.efi", "HTTPClient"},
		"iPXE": {
			iana.EFI_X86_64, "PXEClient:Arch:00007:UNDI:003010", "iPXE", plain,
			"http://[fd07::2]:8080/boot.ipxe?arch=x86_64&mac=52-54-00-00-00-01&uuid=00112233-4455-6677-8899-aabbccddeeff", "",
		},
	} {
		for _, kind := range []dhcpv6.MessageType{dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeInformationRequest} {
			for _, mode := range []string{"server", "proxy"} {
				t.Run(name+" "+kind.String()+" "+mode, func(t *testing.T) {
					s := newSite(t, func(c *Config) { c.Proxy = mode == "proxy" })
					m := packet(kind, 1)
					m.UpdateOption(dhcpv6.OptClientID(c.duid))
					if c.class != "" {
						m.AddOption(vendorClass(c.class))
						m.AddOption(dhcpv6.OptClientArchType(c.arch))
					}
					if c.user != "" {
						m.AddOption(&dhcpv6.OptUserClass{UserClasses: [][]byte{[]byte(c.user)}})
					}
					d, address := s.send(m, linkLocal(1))
					if mode == "proxy" && (address != "" || len(d.Records) > 0 || (c.url == "") != (d.Reply == nil)) {
						t.Fatalf("the proxy gives %s, %v", address, d.Reply)
					}
					if d.Reply == nil {
						return
					}
					got := d.Reply.(*dhcpv6.Message)
					if got.Options.BootFileURL() != c.url {
						t.Errorf("boot file %s", got.Options.BootFileURL())
					}
					if classes := got.Options.VendorClasses(); c.reply == "" && len(classes) > 0 ||
						c.reply != "" && (len(classes) != 1 || string(classes[0].Data[0]) != c.reply || classes[0].EnterpriseNumber != 343) {
						t.Errorf("vendor class %v", classes)
					}
				})
			}
		}
	}
}

func TestNetworkOptions(t *testing.T) {
	s := newSite(t)
	m := packet(dhcpv6.MessageTypeInformationRequest, 1)
	m.AddOption(dhcpv6.OptRequestedOption(dhcpv6.OptionDNSRecursiveNameServer, dhcpv6.OptionDomainSearchList, dhcpv6.OptionNTPServer))
	d := s.want(Informed, "", m, linkLocal(1))
	reply := d.Reply.(*dhcpv6.Message)
	if dns := reply.Options.DNS(); len(dns) != 1 || dns[0].String() != "fd07::2" {
		t.Errorf("DNS %v", dns)
	}
	if search := reply.Options.DomainSearchList(); search == nil || search.Labels[0] != "site.example" {
		t.Errorf("search %v", search)
	}
	if ntp := reply.Options.NTPServers(); len(ntp) != 1 || ntp[0].String() != "fd07::2" {
		t.Errorf("NTP %v", ntp)
	}
	// A second association and a delegation are answered, with nothing.
	m = packet(dhcpv6.MessageTypeRequest, 1)
	m.AddOption(&dhcpv6.OptIANA{IaId: [4]byte{7}})
	m.AddOption(&dhcpv6.OptIAPD{IaId: [4]byte{8}})
	d = s.want(Leased, "fd07::100", m, linkLocal(1))
	reply = d.Reply.(*dhcpv6.Message)
	if ias := reply.Options.IANA(); len(ias) != 2 || ias[1].Options.Status().StatusCode != iana.StatusNoAddrsAvail {
		t.Errorf("%v", ias)
	}
	if pds := reply.Options.IAPD(); len(pds) != 1 || pds[0].Options.Status().StatusCode != iana.StatusNoPrefixAvail {
		t.Errorf("%v", pds)
	}
}

func TestValidate(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"is not an IPv6 address":                   func(c *Config) { c.Address = netip.MustParsePrefix("10.7.0.2/24") },
		"lies outside the subnet":                  func(c *Config) { c.Ranges = []lease.Range{span("fd07:1::1", "fd07:1::2")} },
		"first address must not be after the last": func(c *Config) { c.Ranges = []lease.Range{span("fd07::9", "fd07::8")} },
		"contains the server's address fd07::2":    func(c *Config) { c.Ranges = []lease.Range{span("fd07::1", "fd07::8")} },
		"routers' anycast address fd07::":          func(c *Config) { c.Ranges = []lease.Range{span("fd07::", "fd07::1")} },
		"overlaps range fd07::100-fd07::102":       func(c *Config) { c.Ranges = append(c.Ranges, span("fd07::102", "fd07::110")) },
		"overlaps subnet fd07::/64":                func(c *Config) { c.Relayed[0].Prefix = netip.MustParsePrefix("fd07::/48") },
		"carries IPv6 addresses only":              func(c *Config) { c.DNS = []netip.Addr{ip("10.7.0.2")} },
		"between a minute and a year":              func(c *Config) { c.LeaseTime = time.Second },
	} {
		cfg := testConfig()
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestDUIDStays(t *testing.T) {
	dir := t.TempDir() + "/leases"
	first, err := openDUID(dir)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := openDUID(dir); err != nil || string(second.ToBytes()) != string(first.ToBytes()) {
		t.Errorf("%v, then %v, %v", first, second, err)
	}
}
