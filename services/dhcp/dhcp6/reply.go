package dhcp6

import (
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
	"github.com/insomniacslk/dhcp/rfc1035label"
)

// associations bounds how many of a message's identity associations are answered.
const associations = 8

// base is an answer with both identifiers and nothing else.
func (e *engine) base(r request, kind dhcpv6.MessageType) *dhcpv6.Message {
	m := &dhcpv6.Message{MessageType: kind, TransactionID: r.TransactionID}
	if id := r.Options.ClientID(); id != nil {
		m.AddOption(dhcpv6.OptClientID(id))
	}
	m.AddOption(dhcpv6.OptServerID(e.duid))
	return m
}

// reply is an answer with what the network and the boot are about. The site's DNS server is always in it: some firmware
// does not ask and yet resolves names.
func (e *engine) reply(r request, kind dhcpv6.MessageType) *dhcpv6.Message {
	m := e.base(r, kind)
	s := e.subnets[r.subnet]
	if kind == dhcpv6.MessageTypeAdvertise {
		// The highest preference spares the client the second in which it would collect advertisements of others.
		m.AddOption(&dhcpv6.OptionGeneric{OptionCode: dhcpv6.OptionPreference, OptionData: []byte{255}})
	}
	if len(s.DNS) > 0 {
		m.AddOption(dhcpv6.OptDNS(slices6(s.DNS)...))
	}
	if len(s.Search) > 0 && r.IsOptionRequested(dhcpv6.OptionDomainSearchList) {
		m.AddOption(dhcpv6.OptDomainSearchList(&rfc1035label.Labels{Labels: s.Search}))
	}
	if len(s.NTP) > 0 && r.IsOptionRequested(dhcpv6.OptionNTPServer) {
		var servers dhcpv6.Options
		for _, a := range s.NTP {
			server := dhcpv6.NTPSuboptionSrvAddr(a.AsSlice())
			servers = append(servers, &server)
		}
		m.AddOption(&dhcpv6.OptNTPServer{Suboptions: servers})
	}
	for i, pd := range r.Options.IAPD() {
		if i < associations && kind != dhcpv6.MessageTypeAdvertise {
			m.AddOption(&dhcpv6.OptIAPD{IaId: pd.IaId, Options: dhcpv6.PDOptions{Options: dhcpv6.Options{status(iana.StatusNoPrefixAvail)}}})
		}
	}
	e.addBoot(r, m)
	return m
}

// none is an answer that gives no address.
func (e *engine) none(r request, kind dhcpv6.MessageType, ias []*dhcpv6.OptIANA) *dhcpv6.Message {
	m := e.reply(r, kind)
	addEmpty(m, ias)
	if len(ias) == 0 {
		m.AddOption(status(iana.StatusNoAddrsAvail))
	}
	return m
}

// addAddress gives the first association its address, takes others back, and has none for further associations: a client
// has one address per network.
func (e *engine) addAddress(r request, m *dhcpv6.Message, ias []*dhcpv6.OptIANA, a netip.Addr, gone []netip.Addr) {
	valid := e.subnets[r.subnet].LeaseTime.Truncate(time.Second)
	ia := &dhcpv6.OptIANA{IaId: ias[0].IaId, T1: valid / 2, T2: valid / 5 * 4}
	ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: a.AsSlice(), PreferredLifetime: valid / 8 * 7, ValidLifetime: valid})
	for _, old := range gone {
		ia.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: old.AsSlice()})
	}
	m.AddOption(ia)
	addEmpty(m, ias[1:])
}

func addEmpty(m *dhcpv6.Message, ias []*dhcpv6.OptIANA) {
	for i, ia := range ias {
		if i < associations {
			m.AddOption(&dhcpv6.OptIANA{IaId: ia.IaId, Options: dhcpv6.IdentityOptions{Options: dhcpv6.Options{status(iana.StatusNoAddrsAvail)}}})
		}
	}
}

// addBoot adds what to boot for a client that boots; it tells whether there is something.
func (e *engine) addBoot(r request, m *dhcpv6.Message) bool {
	client, boots := bootClient(r, e.server)
	if !boots {
		return false
	}
	offer := e.boot.Boot(client)
	if offer.BootFile == "" {
		return false
	}
	m.AddOption(dhcpv6.OptBootFileURL(bootURL(offer.NextServer, offer.BootFile)))
	// UEFI HTTP boot takes no offer without its class. UEFI PXE that is given its own looks for a boot server on port 4011 in
	// place of the file; it takes a URL without a class.
	if client.HTTP && offer.VendorClass != "" {
		m.AddOption(&dhcpv6.OptVendorClass{EnterpriseNumber: vendor(r), Data: [][]byte{[]byte(offer.VendorClass)}})
	}
	return true
}

// bootURL makes a file name one of TFTP: DHCPv6 knows URLs only (RFC 5970 §3.1).
func bootURL(server netip.Addr, file string) string {
	if strings.Contains(file, "://") {
		return file
	}
	return "tftp://[" + server.String() + "]/" + strings.TrimPrefix(file, "/")
}

func status(code iana.StatusCode) *dhcpv6.OptStatusCode {
	return &dhcpv6.OptStatusCode{StatusCode: code, StatusMessage: code.String()}
}

func slices6(list []netip.Addr) []net.IP {
	ips := make([]net.IP, len(list))
	for i, a := range list {
		ips[i] = a.AsSlice()
	}
	return ips
}
