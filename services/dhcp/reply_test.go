package dhcp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// What is not asked for is not sent; a client without a list gets what fits a boot ROM.
func TestRequestedOptions(t *testing.T) {
	list := func(codes ...dhcpv4.OptionCode) dhcpv4.Modifier {
		return dhcpv4.WithOption(dhcpv4.OptParameterRequestList(codes...))
	}
	cfg := testConfig()
	cfg.MTU = 9000
	cfg.Routes = []Route{{netip.MustParsePrefix("10.9.0.0/16"), ip("10.7.0.7")}}
	all := []dhcpv4.OptionCode{
		dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionDomainName, dhcpv4.OptionBroadcastAddress,
		dhcpv4.OptionInterfaceMTU, dhcpv4.OptionNTPServers, dhcpv4.OptionDNSDomainSearchList, dhcpv4.OptionClasslessStaticRoute,
	}
	for name, c := range map[string]struct {
		mods []dhcpv4.Modifier
		want []dhcpv4.OptionCode
	}{
		"no list":    {nil, all[:5]},
		"a list":     {[]dhcpv4.Modifier{list(dhcpv4.OptionRouter, dhcpv4.OptionNTPServers)}, []dhcpv4.OptionCode{dhcpv4.OptionRouter, dhcpv4.OptionNTPServers}},
		"everything": {[]dhcpv4.Modifier{list(all...)}, all},
	} {
		t.Run(name, func(t *testing.T) {
			p := packet(t, 1, discover)
			p.Options.Del(dhcpv4.OptionParameterRequestList)
			for _, mod := range c.mods {
				mod(p)
			}
			d := newEngine(cfg, Chain{}, Fixed{}).decide(start, p)
			r, err := dhcpv4.FromBytes(d.Reply.ToBytes())
			if err != nil {
				t.Fatal(err)
			}
			for _, code := range all {
				if want := slices.Contains(c.want, code); r.Options.Has(code) != want {
					t.Errorf("%s: %t, want %t", code, !want, want)
				}
			}
			if r.SubnetMask() == nil {
				t.Error("no mask")
			}
			if name != "everything" {
				return
			}
			if got := fmt.Sprint(r.ClasslessStaticRoute()); !strings.Contains(got, "10.9.0.0/16") || !strings.Contains(got, "0.0.0.0/0") || !strings.Contains(got, "10.7.0.7") || !strings.Contains(got, "10.7.0.1") {
				t.Errorf("routes %s", got)
			}
			if got := r.Options.Get(dhcpv4.OptionInterfaceMTU); string(got) != "\x23\x28" || r.DomainSearch().Labels[0] != "site.example" {
				t.Errorf("mtu %x, search %v", got, r.DomainSearch())
			}
		})
	}
}

// A client that takes little gets the most important; one that says that it takes more gets all.
func TestAnswerFits(t *testing.T) {
	cfg := testConfig()
	for n := range 40 {
		cfg.Routes = append(cfg.Routes, Route{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, byte(n), 0}), 24), ip("10.7.0.7")})
	}
	list := dhcpv4.WithRequestedOptions(dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionDNSDomainSearchList, dhcpv4.OptionRouter)
	for size, want := range map[uint16]bool{0: false, 400: false, 1472: true} {
		p := packet(t, 1, discover, list)
		if size != 0 {
			p.UpdateOption(dhcpv4.OptMaxMessageSize(size))
		}
		r := newEngine(cfg, Chain{}, Fixed{}).decide(start, p).Reply
		if n := len(r.ToBytes()) + 28; r.Options.Has(dhcpv4.OptionClasslessStaticRoute) != want || r.Router() == nil || n > max(576, int(size)) {
			t.Errorf("taking %d bytes: %d, %s", size, n, r.Summary())
		}
	}
}

func TestDestination(t *testing.T) {
	s := newSite(t)
	for name, c := range map[string]struct {
		mods []dhcpv4.Modifier
		kind dhcpv4.MessageType
		to   string
		link bool
	}{
		"by MAC":           {nil, discover, "10.7.0.100:68", true},
		"broadcast flag":   {[]dhcpv4.Modifier{dhcpv4.WithBroadcast(true)}, discover, "255.255.255.255:68", false},
		"relay":            {[]dhcpv4.Modifier{via("10.8.0.1")}, discover, "10.8.0.1:67", false},
		"renewing":         {[]dhcpv4.Modifier{having("10.7.0.100")}, ask, "10.7.0.100:68", false},
		"nak":              {[]dhcpv4.Modifier{having("10.7.0.101"), asking("192.168.0.1")}, ask, "255.255.255.255:68", false},
		"nak over a relay": {[]dhcpv4.Modifier{via("10.8.0.1"), asking("192.168.0.1")}, ask, "10.8.0.1:67", false},
	} {
		d, _ := s.send(1, c.kind, c.mods...)
		if d.Reply == nil {
			t.Fatalf("%s: %s", name, d.Outcome)
		}
		if to, link := destination(d.Reply); to.String() != c.to || link != c.link {
			t.Errorf("%s: to %s (link %t), want %s", name, to, link, c.to)
		}
		if name == "nak over a relay" && !d.Reply.IsBroadcast() {
			t.Error("the relay is not told to broadcast a NAK")
		}
	}
}

func TestSaid(t *testing.T) {
	s := said{at: map[string]time.Time{}}
	if !s.again("a", start) || s.again("a", start.Add(time.Minute)) || !s.again("a", start.Add(sayAgain)) {
		t.Error("not once an hour")
	}
	for n := range 2 * saidMost {
		s.again(fmt.Sprint(n), start)
	}
	if len(s.at) != saidMost {
		t.Errorf("%d things on record", len(s.at))
	}
	if !s.again("b", start.Add(2*sayAgain)) {
		t.Error("old things keep new ones out")
	}
}
