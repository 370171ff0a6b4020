package dns

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Records are all that the server answers with authority.
type Records struct {
	// Zones are the domains that it is authoritative for; one may lie inside another.
	Zones []string
	// NameServer is the host that NS and SOA records name, one of Hosts.
	NameServer string
	Hosts      []Host
	TTL        time.Duration // 30 s when 0
}

// Host is a name with its addresses; a first label * makes it a wildcard.
type Host struct {
	Name      string
	Addresses []netip.Addr
}

const (
	defaultTTL  = 30 * time.Second
	negativeTTL = 5 // seconds: a name that is not there yet is about to be
)

// snapshot is Records made ready for questions; it never changes.
type snapshot struct {
	zones      map[string]*zone
	nameServer string
	ttl        uint32
	serial     uint32
	reverse    map[string]string // PTR name to host
}

// zone has an entry, possibly empty, for every name that exists, names between a host and the apex included.
type zone struct {
	apex  string
	names map[string][]netip.Addr
}

func compile(r Records, serial uint32) (*snapshot, error) {
	s := &snapshot{zones: map[string]*zone{}, serial: serial, reverse: map[string]string{}}
	if r.TTL == 0 {
		r.TTL = defaultTTL
	}
	s.ttl = uint32(r.TTL / time.Second)
	var faults []error
	for _, name := range r.Zones {
		apex, err := canonical(name)
		if err != nil || apex == "." {
			faults = append(faults, fmt.Errorf("zone %q: is not a domain name", name))
			continue
		}
		s.zones[apex] = &zone{apex, map[string][]netip.Addr{apex: nil}}
	}
	if r.NameServer == "" {
		faults = append(faults, errors.New("name server: is not named"))
	}
	var err error
	if s.nameServer, err = canonical(r.NameServer); err != nil {
		faults = append(faults, fmt.Errorf("name server %q: is not a domain name", r.NameServer))
	}
	for _, h := range r.Hosts {
		if err := s.add(h); err != nil {
			faults = append(faults, err)
		}
	}
	return s, errors.Join(faults...)
}

func (s *snapshot) add(h Host) error {
	name, err := canonical(h.Name)
	if err != nil || strings.Contains(name[1:], "*") || (name[0] == '*' && name[1] != '.') {
		return fmt.Errorf("host %q: is not a domain name", h.Name)
	}
	z := s.zoneOf(name)
	if z == nil {
		return fmt.Errorf("host %s: lies in none of the zones", h.Name)
	}
	for at := name; at != z.apex; at = parent(at) {
		if _, ok := z.names[at]; !ok {
			z.names[at] = nil
		}
	}
	for _, a := range h.Addresses {
		a = a.Unmap().WithZone("")
		if !a.IsValid() {
			return fmt.Errorf("host %s: has an address that is none", h.Name)
		}
		if slices.Contains(z.names[name], a) {
			continue
		}
		z.names[name] = append(z.names[name], a)
		ptr, err := dns.ReverseAddr(a.String())
		if _, taken := s.reverse[ptr]; err == nil && !taken && name[0] != '*' {
			s.reverse[ptr] = name
		}
	}
	return nil
}

// zoneOf is the innermost zone that holds a canonical name.
func (s *snapshot) zoneOf(name string) *zone {
	for at := name; at != "."; at = parent(at) {
		if z := s.zones[at]; z != nil {
			return z
		}
	}
	return nil
}

// answer fills m for a question of class IN; false means that the name is of no zone here.
func (s *snapshot) answer(m *dns.Msg, q dns.Question) bool {
	name := dns.CanonicalName(q.Name)
	if host, ok := s.reverse[name]; ok {
		m.Authoritative = true
		if q.Qtype == dns.TypePTR || q.Qtype == dns.TypeANY {
			m.Answer = append(m.Answer, &dns.PTR{Hdr: s.header(q.Name, dns.TypePTR), Ptr: host})
		}
		return true
	}
	z := s.zoneOf(name)
	if z == nil {
		return false
	}
	m.Authoritative = true
	addresses, exists := z.lookup(name)
	if !exists {
		m.Rcode = dns.RcodeNameError
	}
	m.Answer = s.addresses(q.Name, q.Qtype, addresses)
	if name == z.apex {
		if q.Qtype == dns.TypeSOA || q.Qtype == dns.TypeANY {
			m.Answer = append(m.Answer, s.soa(z))
		}
		if q.Qtype == dns.TypeNS || q.Qtype == dns.TypeANY {
			m.Answer = append(m.Answer, &dns.NS{Hdr: s.header(z.apex, dns.TypeNS), Ns: s.nameServer})
			m.Extra = append(m.Extra, s.glue()...)
		}
	}
	if len(m.Answer) == 0 {
		m.Ns = append(m.Ns, s.soa(z))
	}
	return true
}

// lookup follows RFC 4592: a wildcard stands for a name only below the closest name that exists.
func (z *zone) lookup(name string) ([]netip.Addr, bool) {
	if addresses, ok := z.names[name]; ok {
		return addresses, true
	}
	for at := parent(name); ; at = parent(at) {
		if _, ok := z.names[at]; ok {
			addresses, ok := z.names["*."+at]
			return addresses, ok
		}
	}
}

func (s *snapshot) addresses(name string, qtype uint16, list []netip.Addr) (rrs []dns.RR) {
	for _, a := range list {
		switch {
		case a.Is4() && (qtype == dns.TypeA || qtype == dns.TypeANY):
			rrs = append(rrs, &dns.A{Hdr: s.header(name, dns.TypeA), A: a.AsSlice()})
		case a.Is6() && (qtype == dns.TypeAAAA || qtype == dns.TypeANY):
			rrs = append(rrs, &dns.AAAA{Hdr: s.header(name, dns.TypeAAAA), AAAA: a.AsSlice()})
		}
	}
	return rrs
}

func (s *snapshot) glue() []dns.RR {
	z := s.zoneOf(s.nameServer)
	if z == nil {
		return nil
	}
	return s.addresses(s.nameServer, dns.TypeANY, z.names[s.nameServer])
}

func (s *snapshot) soa(z *zone) dns.RR {
	h := s.header(z.apex, dns.TypeSOA)
	h.Ttl = negativeTTL
	return &dns.SOA{
		Hdr: h, Ns: s.nameServer, Mbox: "hostmaster." + z.apex, Serial: s.serial,
		Refresh: 3600, Retry: 600, Expire: 86400, Minttl: negativeTTL,
	}
}

func (s *snapshot) header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: s.ttl}
}

// canonical is the lower-case name with its final dot.
func canonical(name string) (string, error) {
	if labels, ok := dns.IsDomainName(name); !ok || name == "" || labels == 0 || strings.ContainsAny(name, "\\ \t\n\"") {
		return ".", errors.New("not a domain name")
	}
	return dns.CanonicalName(name), nil
}

// parent of a canonical name; that of a single label is the root.
func parent(name string) string {
	next, end := dns.NextLabel(name, 0)
	if end {
		return "."
	}
	return name[next:]
}
