package dhcp

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

const (
	lookWait  = 3 * time.Second  // for the offers of others
	lookEvery = 10 * time.Minute // whether somebody turned a DHCP server on, or off
)

// look asks for an address itself and returns the DHCP servers that offer one. Nothing is taken. What a packet socket sends
// does not come back to our own server.
func (w *wire) look() ([]netip.Addr, error) {
	if err := filter(w.offers, toClients()); err != nil {
		return nil, fmt.Errorf("look for DHCP servers: %w", err)
	}
	defer filter(w.offers, nothingAtAll())
	ask, err := dhcpv4.NewDiscovery(w.mac, dhcpv4.WithBroadcast(true))
	if err != nil {
		return nil, fmt.Errorf("look for DHCP servers: %w", err)
	}
	from := netip.AddrPortFrom(netip.IPv4Unspecified(), clientPort)
	to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), serverPort)
	if err := w.broadcast(w.offers, unix.ETH_P_IP, datagram(from, to, ask.ToBytes())); err != nil {
		return nil, fmt.Errorf("look for DHCP servers: %w", err)
	}
	if err := w.offers.SetReadDeadline(time.Now().Add(lookWait)); err != nil {
		return nil, err
	}
	var servers []netip.Addr
	buf := make([]byte, 1<<16)
	for {
		n, err := w.offers.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return servers, nil
		}
		if err != nil {
			return nil, fmt.Errorf("look for DHCP servers: %w", err)
		}
		if server := offerer(buf[:n], ask.TransactionID); server.IsValid() && !slices.Contains(servers, server) {
			servers = append(servers, server)
		}
	}
}

// offerer is the server of an offer with an address, in an IPv4 packet; the zero Addr for anything else.
func offerer(b []byte, id dhcpv4.TransactionID) netip.Addr {
	const least, udpLen = 20, 8
	if len(b) < least {
		return netip.Addr{}
	}
	header := int(b[0]&15) * 4
	if header < least || len(b) < header+udpLen {
		return netip.Addr{}
	}
	p, err := dhcpv4.FromBytes(b[header+udpLen:])
	if err != nil || p.TransactionID != id || p.MessageType() != dhcpv4.MessageTypeOffer || !addr4(p.YourIPAddr).IsValid() {
		return netip.Addr{}
	}
	return addr4(p.ServerIdentifier())
}
