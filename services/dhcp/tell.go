package dhcp

import (
	"strconv"
	"sync"
	"time"
)

// said is when something was last logged, by what it is about.
type said struct {
	mu sync.Mutex
	at map[string]time.Time
}

const (
	sayAgain = time.Hour
	saidMost = 64 // things on record: what a packet says can be anything
)

// again tells whether a thing may be logged once more.
func (s *said) again(key string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, known := s.at[key]
	if known && now.Sub(last) < sayAgain {
		return false
	}
	if !known && len(s.at) >= saidMost {
		for k, at := range s.at {
			if now.Sub(at) >= sayAgain {
				delete(s.at, k)
			}
		}
		if len(s.at) >= saidMost {
			return false
		}
	}
	s.at[key] = now
	return true
}

// tell logs what an operator wants to know; what repeats with each packet, once an hour.
func (s *Server) tell(p arrival, d Decision) {
	mac := p.ClientHWAddr.String()
	switch d.Outcome {
	case Acked:
		s.tellAck(p, d)
	case Offered:
		if s.proxy != nil {
			s.log.Info("boot file offered", "mac", mac, "arch", archLabel(p.DHCPv4), "file", bootFile(d.Reply))
		}
	case NoBoot:
		if client, boots := clientOf(p.DHCPv4, s.cfg.Address.Addr()); boots && s.said.again("boot "+strconv.Itoa(int(client.Arch)), s.now()) {
			s.log.Warn("nothing to boot for this architecture", "mac", mac, "arch", client.Arch.String())
		}
	case Naked:
		s.log.Info("request refused", "mac", mac, "ip", p.RequestedIPAddress().String(), "ciaddr", p.ClientIPAddr.String())
	case Declined:
		s.log.Warn("address is in use by another host", "mac", mac, "ip", p.RequestedIPAddress().String())
	case Exhausted:
		if s.said.again("full "+d.Subnet.String(), s.now()) {
			s.log.Warn("no address is left: widen the pool, or shorten leaseTime", "mac", mac, "subnet", d.Subnet)
		}
	case Unknown:
		if link := relayLink(p.DHCPv4); s.said.again("relay "+link.String(), s.now()) {
			s.log.Warn("relayed from a network that is not configured: add it to dhcp.relayed", "relay", p.GatewayIPAddr.String(), "network", link)
		}
	case Foreign:
		if d.Other.IsValid() {
			s.tellForeign(d.Other.String())
		}
	}
}

func (s *Server) tellForeign(server string) {
	if s.said.again("server "+server, s.now()) {
		s.log.Warn("another DHCP server answers on this network: turn one of the two off, or set mode: proxy here", "server", server)
	}
}

func (s *Server) tellAck(p arrival, d Decision) {
	mac := p.ClientHWAddr.String()
	if s.proxy != nil {
		s.log.Info("boot file given", "mac", mac, "ip", p.from.Addr(), "arch", archLabel(p.DHCPv4), "file", bootFile(d.Reply))
		return
	}
	if file := bootFile(d.Reply); file != "" {
		s.log.Info("lease with boot file", "mac", mac, "ip", d.Reply.YourIPAddr.String(), "arch", archLabel(p.DHCPv4), "file", file)
		return
	}
	s.log.Info("lease", "mac", mac, "ip", d.Reply.YourIPAddr.String())
	if client, boots := clientOf(p.DHCPv4, s.cfg.Address.Addr()); boots && s.said.again("boot "+strconv.Itoa(int(client.Arch)), s.now()) {
		s.log.Warn("nothing to boot for this architecture", "mac", mac, "arch", client.Arch.String())
	}
}
