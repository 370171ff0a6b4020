package dhcp

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

var start = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func mac(n byte) net.HardwareAddr { return net.HardwareAddr{0x52, 0x54, 0, 0, 0, n} }

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func testConfig() Config {
	return Config{
		Interface: "br0", Address: netip.MustParsePrefix("10.7.0.2/24"),
		Ranges:  []Range{{From: ip("10.7.0.100"), To: ip("10.7.0.102")}},
		Gateway: ip("10.7.0.1"), DNS: []netip.Addr{ip("10.7.0.2")}, NTP: []netip.Addr{ip("10.7.0.2")},
		Domain: "site.example", Search: []string{"site.example"},
		Relayed: []Subnet{{Prefix: netip.MustParsePrefix("10.8.0.0/24"), Ranges: []Range{{From: ip("10.8.0.10"), To: ip("10.8.0.11")}}, Gateway: ip("10.8.0.1")}},
	}
}

// site is an engine with a clock and clients.
type site struct {
	t *testing.T
	*engine
	now time.Time
}

func newSite(t *testing.T, reserved ...Reservation) *site {
	t.Helper()
	cfg := testConfig()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	fixed, err := NewFixed(reserved...)
	if err != nil {
		t.Fatal(err)
	}
	return &site{t, newEngine(cfg, Chain{}, fixed), start}
}

func packet(t testing.TB, client byte, kind dhcpv4.MessageType, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	p, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(mac(client)), dhcpv4.WithMessageType(kind)}, mods...)...)
	if err != nil {
		t.Fatal(err)
	}
	p, err = dhcpv4.FromBytes(p.ToBytes())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func asking(a string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(a)))
}

func server(a string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(a)))
}

func having(a string) dhcpv4.Modifier { return dhcpv4.WithClientIP(net.ParseIP(a)) }

func via(a string) dhcpv4.Modifier { return dhcpv4.WithGatewayIP(net.ParseIP(a)) }

// send returns the outcome and the address given.
func (s *site) send(client byte, kind dhcpv4.MessageType, mods ...dhcpv4.Modifier) (Decision, string) {
	s.t.Helper()
	d := s.decide(s.now, packet(s.t, client, kind, mods...))
	if d.Reply == nil {
		return d, ""
	}
	if _, err := dhcpv4.FromBytes(d.Reply.ToBytes()); err != nil {
		s.t.Fatalf("reply does not parse: %v", err)
	}
	return d, d.Reply.YourIPAddr.String()
}

func (s *site) want(outcome Outcome, address string) func(Decision, string) {
	return func(d Decision, got string) {
		s.t.Helper()
		if d.Outcome != outcome || (address != "" && got != address) {
			s.t.Fatalf("got %s %s, want %s %s", d.Outcome, got, outcome, address)
		}
	}
}

const (
	discover = dhcpv4.MessageTypeDiscover
	ask      = dhcpv4.MessageTypeRequest
)

func TestFourWay(t *testing.T) {
	s := newSite(t)
	s.want(Offered, "10.7.0.100")(s.send(1, discover))
	s.want(Offered, "10.7.0.100")(s.send(1, discover)) // the same again
	s.want(Offered, "10.7.0.101")(s.send(2, discover))
	d, a := s.send(1, ask, asking("10.7.0.100"), server("10.7.0.2"))
	s.want(Acked, "10.7.0.100")(d, a)
	if len(d.Records) != 1 || d.Records[0].Expires != start.Add(time.Hour) {
		t.Errorf("records %v", d.Records)
	}
	for name, ok := range map[string]bool{
		"mask":      d.Reply.SubnetMask().String() == "ffffff00",
		"router":    d.Reply.Router()[0].String() == "10.7.0.1",
		"dns":       d.Reply.DNS()[0].String() == "10.7.0.2",
		"domain":    d.Reply.DomainName() == "site.example",
		"broadcast": d.Reply.BroadcastAddress().String() == "10.7.0.255",
		"server":    d.Reply.ServerIdentifier().String() == "10.7.0.2",
		"lease":     d.Reply.IPAddressLeaseTime(0) == time.Hour,
		"t1":        d.Reply.IPAddressRenewalTime(0) == 30*time.Minute,
		"t2":        d.Reply.IPAddressRebindingTime(0) == 52*time.Minute+30*time.Second,
		"no boot":   d.Reply.BootFileName == "" && d.Reply.ClassIdentifier() == "",
	} {
		if !ok {
			t.Errorf("%s is not as configured:\n%s", name, d.Reply.Summary())
		}
	}
}

// Firmware, loader and system send different client identifiers and get one address.
func TestOneAddressPerMachine(t *testing.T) {
	s := newSite(t)
	for _, id := range []string{"", "\x01firmware", "\xffduid"} {
		mod := dhcpv4.WithOption(dhcpv4.OptClientIdentifier([]byte(id)))
		s.want(Offered, "10.7.0.100")(s.send(1, discover, mod))
		s.want(Acked, "10.7.0.100")(s.send(1, ask, asking("10.7.0.100"), server("10.7.0.2"), mod))
	}
}

func TestRequests(t *testing.T) {
	for name, c := range map[string]struct {
		mods    []dhcpv4.Modifier
		client  byte
		outcome Outcome
		address string
	}{
		"selecting":                        {[]dhcpv4.Modifier{asking("10.7.0.100"), server("10.7.0.2")}, 1, Acked, "10.7.0.100"},
		"selecting, another's":             {[]dhcpv4.Modifier{asking("10.7.0.100"), server("10.7.0.2")}, 2, Naked, "0.0.0.0"},
		"selecting, another server":        {[]dhcpv4.Modifier{asking("10.7.0.100"), server("10.7.0.9")}, 1, Foreign, ""},
		"selecting, outside the ranges":    {[]dhcpv4.Modifier{asking("10.7.0.50"), server("10.7.0.2")}, 1, Naked, ""},
		"init-reboot":                      {[]dhcpv4.Modifier{asking("10.7.0.100")}, 1, Acked, "10.7.0.100"},
		"init-reboot, free address":        {[]dhcpv4.Modifier{asking("10.7.0.102")}, 3, Acked, "10.7.0.102"},
		"init-reboot, another's":           {[]dhcpv4.Modifier{asking("10.7.0.100")}, 2, Naked, ""},
		"init-reboot, another network":     {[]dhcpv4.Modifier{asking("192.168.1.5")}, 1, Naked, ""},
		"init-reboot, not of our ranges":   {[]dhcpv4.Modifier{asking("10.7.0.50")}, 1, Foreign, ""},
		"renewing":                         {[]dhcpv4.Modifier{having("10.7.0.100")}, 1, Acked, "10.7.0.100"},
		"renewing, another's":              {[]dhcpv4.Modifier{having("10.7.0.100")}, 2, Naked, ""},
		"rebinding in another network":     {[]dhcpv4.Modifier{having("172.16.0.5")}, 1, Naked, ""},
		"renewing, not of our ranges":      {[]dhcpv4.Modifier{having("10.7.0.50")}, 1, Foreign, ""},
		"no address":                       {nil, 1, Malformed, ""},
		"the server's address":             {[]dhcpv4.Modifier{asking("10.7.0.2"), server("10.7.0.2")}, 1, Naked, ""},
		"a reserved address":               {[]dhcpv4.Modifier{asking("10.7.0.101"), server("10.7.0.2")}, 1, Naked, ""},
		"its reserved address":             {[]dhcpv4.Modifier{asking("10.7.0.101"), server("10.7.0.2")}, 9, Acked, "10.7.0.101"},
		"renewing against its reservation": {[]dhcpv4.Modifier{having("10.7.0.102")}, 9, Naked, ""},
		"relay without a network":          {[]dhcpv4.Modifier{via("10.99.0.1"), asking("10.7.0.100")}, 1, Unknown, ""},
		"relayed":                          {[]dhcpv4.Modifier{via("10.8.0.1"), asking("10.8.0.10")}, 1, Acked, "10.8.0.10"},
		"renewing through a router":        {[]dhcpv4.Modifier{having("10.8.0.10")}, 1, Acked, "10.8.0.10"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, Reservation{mac(9), ip("10.7.0.101"), "nine"})
			s.want(Offered, "10.7.0.100")(s.send(1, discover))
			d, a := s.send(c.client, ask, c.mods...)
			s.want(c.outcome, c.address)(d, a)
			if d.Outcome == Naked && (d.Reply.Options.Has(dhcpv4.OptionIPAddressLeaseTime) || len(d.Records) > 0) {
				t.Errorf("a NAK gives something: %s", d.Reply.Summary())
			}
			if d.Outcome == Acked && d.Reply.GatewayIPAddr.String() == "10.8.0.1" && d.Reply.Router()[0].String() != "10.8.0.1" {
				t.Errorf("the relayed client gets another network's router: %s", d.Reply.Summary())
			}
		})
	}
}

func TestExhaustedAndReuse(t *testing.T) {
	s := newSite(t)
	for n := byte(1); n <= 3; n++ {
		d, a := s.send(n, discover)
		s.want(Offered, "")(d, a)
		s.want(Acked, a)(s.send(n, ask, asking(a), server("10.7.0.2")))
		s.now = s.now.Add(time.Second)
	}
	s.want(Exhausted, "")(s.send(4, discover))
	s.want(Released, "")(s.send(3, dhcpv4.MessageTypeRelease, having("10.7.0.102"), server("10.7.0.2")))
	s.want(Offered, "10.7.0.102")(s.send(3, discover)) // its own again, as long as nobody needs it
	s.now = s.now.Add(2 * time.Minute)
	s.want(Offered, "10.7.0.102")(s.send(4, discover))
	s.want(Exhausted, "")(s.send(3, discover))
	s.now = s.now.Add(time.Hour)
	s.want(Offered, "10.7.0.101")(s.send(2, discover)) // expired, still the client's first choice
	s.want(Offered, "10.7.0.102")(s.send(5, discover)) // the offer that nobody took expired first
	s.want(Offered, "10.7.0.100")(s.send(6, discover))
	s.want(Exhausted, "")(s.send(7, discover))
}

func TestDeclined(t *testing.T) {
	s := newSite(t)
	s.want(Offered, "10.7.0.100")(s.send(1, discover))
	s.want(Acked, "10.7.0.100")(s.send(1, ask, asking("10.7.0.100"), server("10.7.0.2")))
	s.want(Foreign, "")(s.send(2, dhcpv4.MessageTypeDecline, asking("10.7.0.100"), server("10.7.0.2")))
	s.want(Declined, "")(s.send(1, dhcpv4.MessageTypeDecline, asking("10.7.0.100"), server("10.7.0.2")))
	s.want(Offered, "10.7.0.101")(s.send(1, discover))
	s.want(Naked, "")(s.send(2, ask, asking("10.7.0.100"), server("10.7.0.2")))
	s.now = s.now.Add(declineHold)
	s.want(Acked, "10.7.0.100")(s.send(2, ask, asking("10.7.0.100"), server("10.7.0.2")))
}

func TestInform(t *testing.T) {
	s := newSite(t)
	d, _ := s.send(1, dhcpv4.MessageTypeInform, having("10.7.0.50"))
	s.want(Acked, "0.0.0.0")(d, d.Reply.YourIPAddr.String())
	if d.Reply.Options.Has(dhcpv4.OptionIPAddressLeaseTime) || d.Reply.DomainName() != "site.example" || len(d.Records) > 0 {
		t.Errorf("inform: %s", d.Reply.Summary())
	}
	if to, link := destination(d.Reply); to.String() != "10.7.0.50:68" || link {
		t.Errorf("inform goes to %s", to)
	}
}

func TestRelayInformationIsEchoed(t *testing.T) {
	s := newSite(t)
	info := dhcpv4.OptRelayAgentInfo(dhcpv4.OptGeneric(dhcpv4.LinkSelectionSubOption, net.IP{10, 8, 0, 0}.To4()), dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(1), []byte("eth0")))
	d, a := s.send(1, discover, via("10.200.0.1"), dhcpv4.WithOption(info))
	s.want(Offered, "10.8.0.10")(d, a)
	if got := d.Reply.RelayAgentInfo(); got == nil || string(got.Get(dhcpv4.GenericOptionCode(1))) != "eth0" {
		t.Errorf("relay information: %v", got)
	}
}

// A relay that wants to see renewals takes our place as the server (RFC 5107).
func TestServerIdentifierOverride(t *testing.T) {
	s := newSite(t)
	info := dhcpv4.WithOption(dhcpv4.OptRelayAgentInfo(dhcpv4.OptGeneric(dhcpv4.ServerIdentifierOverrideSubOption, net.IP{10, 8, 0, 1})))
	d, a := s.send(1, discover, via("10.8.0.1"), info)
	s.want(Offered, "10.8.0.10")(d, a)
	if got := d.Reply.ServerIdentifier().String(); got != "10.8.0.1" {
		t.Errorf("server identifier %s", got)
	}
	s.want(Acked, "10.8.0.10")(s.send(1, ask, via("10.8.0.1"), info, asking("10.8.0.10"), server("10.8.0.1")))
	s.want(Foreign, "")(s.send(1, ask, via("10.8.0.1"), asking("10.8.0.10"), server("10.8.0.1")))
}

func TestClientOfAnotherServer(t *testing.T) {
	s := newSite(t)
	s.want(Offered, "10.7.0.100")(s.send(1, discover))
	if d, _ := s.send(1, ask, asking("10.7.0.55"), server("10.7.0.9")); d.Outcome != Foreign || d.Other != ip("10.7.0.9") {
		t.Errorf("%+v", d)
	}
	if d, _ := s.send(2, ask, via("10.8.0.1"), asking("10.8.0.55"), server("10.8.0.9")); d.Outcome != Foreign || d.Other.IsValid() {
		t.Errorf("the server of another network is one of this link: %+v", d)
	}
	s.want(Offered, "10.7.0.100")(s.send(1, discover)) // the offer was given back, and is still its first choice
}

func TestValidate(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"range 10.7.0.100-10.7.0.110: overlaps range 10.7.0.100-10.7.0.102": func(c *Config) { c.Ranges = append(c.Ranges, Range{From: ip("10.7.0.100"), To: ip("10.7.0.110")}) },
		"lies outside the subnet":                     func(c *Config) { c.Ranges = []Range{{From: ip("10.7.0.200"), To: ip("10.7.1.5")}} },
		"first address must not be after the last":    func(c *Config) { c.Ranges = []Range{{From: ip("10.7.0.20"), To: ip("10.7.0.10")}} },
		"contains the server's address 10.7.0.2":      func(c *Config) { c.Ranges = []Range{{From: ip("10.7.0.2"), To: ip("10.7.0.10")}} },
		"contains the gateway 10.7.0.1":               func(c *Config) { c.Ranges = []Range{{From: ip("10.7.0.1"), To: ip("10.7.0.1")}} },
		"contains the network's address 10.7.0.0":     func(c *Config) { c.Ranges = []Range{{From: ip("10.7.0.0"), To: ip("10.7.0.0")}} },
		"contains the broadcast address 10.7.0.255":   func(c *Config) { c.Ranges = []Range{{From: ip("10.7.0.250"), To: ip("10.7.0.255")}} },
		"gateway 10.6.0.1: lies outside the subnet":   func(c *Config) { c.Gateway = ip("10.6.0.1") },
		"DHCPv4 carries IPv4 addresses only":          func(c *Config) { c.DNS = []netip.Addr{ip("fd00::1")} },
		"interface: is not named":                     func(c *Config) { c.Interface = "" },
		"is not an IPv4 address with a prefix length": func(c *Config) { c.Address = netip.MustParsePrefix("fd00::2/64") },
		"subnet 10.7.0.0/25: overlaps subnet 10.7.0.0/24": func(c *Config) {
			c.Relayed = []Subnet{{Prefix: netip.MustParsePrefix("10.7.0.0/25")}}
		},
		"mtu 68: must be":                          func(c *Config) { c.MTU = 68 },
		"route to 10.9.0.0/16 via 10.8.0.1: needs": func(c *Config) { c.Routes = []Route{{netip.MustParsePrefix("10.9.0.0/16"), ip("10.8.0.1")}} },
		"must be between a minute and a year":      func(c *Config) { c.LeaseTime = time.Second },
	} {
		c := testConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}
