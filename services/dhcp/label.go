package dhcp

import (
	"strings"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

// errNetDown is what a socket says once after its interface went down.
const errNetDown = unix.ENETDOWN

// typeLabel bounds the metric's label to the message types that there are.
func typeLabel(p *dhcpv4.DHCPv4) string {
	t := p.MessageType()
	if t < dhcpv4.MessageTypeDiscover || t > dhcpv4.MessageTypeInform {
		return "unknown"
	}
	return strings.ToLower(t.String())
}

func archLabel(p *dhcpv4.DHCPv4) string {
	c, _ := clientOf(p, addr4(nil))
	return c.Arch.String()
}

// bootFile leaves the query out: the log is for people, and what follows the ? may be long.
func bootFile(reply *dhcpv4.DHCPv4) string {
	name := reply.BootFileName
	if name == "" {
		name = reply.BootFileNameOption()
	}
	name, _, _ = strings.Cut(name, "?")
	return name
}
