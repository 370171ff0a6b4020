package dhcp6

import (
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/insomniacslk/dhcp/dhcpv6"

	"github.com/slipway-io/slipway/services/dhcp"
)

const (
	classPXE  = "PXEClient"
	classHTTP = "HTTPClient"
	hopLimit  = 8 // RFC 8415 §7.6
)

// arrival is a packet as the socket gave it.
type arrival struct {
	dhcpv6.DHCPv6
	from netip.Addr // a client's link-local address, or a relay agent's
}

// request is a client's message with what open found out about it.
type request struct {
	*dhcpv6.Message
	relays []*dhcpv6.RelayMessage // the one nearest to the server first
	now    time.Time
	subnet int
	client string
	mac    net.HardwareAddr // nil when nothing tells it
}

var (
	errMalformed = errors.New("not a client's message")
	errUnknown   = errors.New("relayed from a network that is not served")
)

// open unwraps a packet and finds its client and its network.
func (e *engine) open(now time.Time, a arrival) (request, error) {
	r := request{now: now}
	packet := a.DHCPv6
	for packet != nil && packet.IsRelay() {
		relay, ok := packet.(*dhcpv6.RelayMessage)
		if !ok || relay.MessageType != dhcpv6.MessageTypeRelayForward || len(r.relays) > hopLimit {
			return r, errMalformed
		}
		r.relays = append(r.relays, relay)
		packet = relay.Options.RelayMessage()
	}
	message, ok := packet.(*dhcpv6.Message)
	if !ok || message == nil {
		return r, errMalformed
	}
	r.Message = message
	r.mac = hardware(r, a.from)
	r.client = clientKey(r.mac, message)
	if r.client == "" {
		return r, errMalformed
	}
	if r.subnet, ok = e.network(r, a.from); !ok {
		return r, errUnknown
	}
	return r, nil
}

// network is that of the relay agent nearest to the client that says where it is, else, for a client that renews through
// a router, that of its own address, else the interface's.
func (e *engine) network(r request, from netip.Addr) (int, bool) {
	for _, relay := range slices.Backward(r.relays) {
		if link := addr6(relay.LinkAddr); link.IsValid() && !link.IsLinkLocalUnicast() {
			return e.subnetOf(link)
		}
	}
	if i, ok := e.subnetOf(from); ok && len(r.relays) == 0 {
		return i, true
	}
	return 0, true
}

// hardware is the client's MAC: as the relay agent saw it (RFC 6939), as its link-local address says, as its DUID says. The
// DUID comes last, because one machine's ports may share it.
func hardware(r request, from netip.Addr) net.HardwareAddr {
	peer := from
	if n := len(r.relays); n > 0 {
		if _, mac := r.relays[n-1].Options.ClientLinkLayerAddress(); len(mac) == 6 {
			return mac
		}
		peer = addr6(r.relays[n-1].PeerAddr)
	}
	if peer = peer.WithZone(""); peer.Is6() && peer.IsLinkLocalUnicast() {
		if mac, err := dhcpv6.GetMacAddressFromEUI64(peer.AsSlice()); err == nil {
			return mac
		}
	}
	var mac net.HardwareAddr
	switch duid := r.Options.ClientID().(type) {
	case *dhcpv6.DUIDLL:
		mac = duid.LinkLayerAddr
	case *dhcpv6.DUIDLLT:
		mac = duid.LinkLayerAddr
	}
	if len(mac) != 6 {
		return nil
	}
	return mac
}

// clientKey is the MAC, or the DUID where nothing tells a MAC. Only an INFORMATION-REQUEST may come without either.
func clientKey(mac net.HardwareAddr, m *dhcpv6.Message) string {
	if mac != nil {
		return mac.String()
	}
	if duid := m.Options.ClientID(); duid != nil {
		return "duid:" + hex.EncodeToString(duid.ToBytes())
	}
	if m.MessageType == dhcpv6.MessageTypeInformationRequest {
		return "unnamed"
	}
	return ""
}

// bootClient reads what a message says about its sender. The second result is false for a client that does not boot.
func bootClient(r request, local netip.Addr) (dhcp.Client, bool) {
	c := dhcp.Client{MAC: r.mac, Local: local}
	for _, class := range r.Options.VendorClasses() {
		for _, data := range class.Data {
			c.PXE = c.PXE || strings.HasPrefix(string(data), classPXE)
			c.HTTP = c.HTTP || strings.HasPrefix(string(data), classHTTP)
		}
	}
	for _, class := range r.Options.UserClasses() {
		c.IPXE = c.IPXE || string(class) == "iPXE"
	}
	archs := r.Options.ArchTypes()
	if len(archs) > 0 {
		c.Arch = archs[0]
	}
	if duid, ok := r.Options.ClientID().(*dhcpv6.DUIDUUID); ok {
		c.UUID = uuid.UUID(duid.UUID)
		if !c.IPXE {
			// Firmware sends it as SMBIOS has it: the first three fields are little endian.
			slices.Reverse(c.UUID[0:4])
			slices.Reverse(c.UUID[4:6])
			slices.Reverse(c.UUID[6:8])
		}
	}
	return c, c.PXE || c.HTTP || c.IPXE || len(archs) > 0
}

// vendor is the enterprise number that a client's vendor class came with; Intel's, as PXE has it, when there was none.
func vendor(r request) uint32 {
	for _, class := range r.Options.VendorClasses() {
		return class.EnterpriseNumber
	}
	return 343
}

// addr6 is the zero Addr for anything that is not the address of a host.
func addr6(ip net.IP) netip.Addr {
	a, ok := netip.AddrFromSlice(ip)
	if !ok || !is6(a) || a.IsUnspecified() || a.IsMulticast() {
		return netip.Addr{}
	}
	return a
}
