package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/miekg/dns"
)

// Sources of an answer, a metric's label.
const (
	fromZones    = "zones"
	fromUpstream = "upstream"
	fromNobody   = "none"
)

func (s *Server) serve(ctx context.Context, w dns.ResponseWriter, q *dns.Msg) {
	m, source := s.reply(ctx, q)
	size := dns.MaxMsgSize
	if w.RemoteAddr().Network() == "udp" {
		size = clientSize(q)
	}
	m.Truncate(size)
	s.queries.WithLabelValues(source, rcodeLabel(m.Rcode)).Inc()
	if err := w.WriteMsg(m); err != nil {
		s.log.Debug("answer was not sent", "ip", w.RemoteAddr().String(), "err", err)
	}
}

// reply decides: what only a resolver or a nameserver with transfers would do is refused.
func (s *Server) reply(ctx context.Context, q *dns.Msg) (*dns.Msg, string) {
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = len(s.upstreams) > 0
	m.Compress = true
	if opt := q.IsEdns0(); opt != nil {
		m.SetEdns0(udpSize, opt.Do())
		if opt.Version() != 0 {
			return code(m, dns.RcodeBadVers), fromNobody
		}
	}
	if q.Opcode != dns.OpcodeQuery {
		return code(m, dns.RcodeNotImplemented), fromNobody
	}
	if len(q.Question) != 1 {
		return code(m, dns.RcodeFormatError), fromNobody
	}
	question := q.Question[0]
	switch {
	case question.Qclass != dns.ClassINET, question.Qtype == dns.TypeAXFR, question.Qtype == dns.TypeIXFR:
		return code(m, dns.RcodeRefused), fromNobody
	case s.records.Load().answer(m, question):
		return m, fromZones
	case !q.RecursionDesired || len(s.upstreams) == 0:
		return code(m, dns.RcodeRefused), fromNobody
	}
	return s.forward(ctx, q, m), fromUpstream
}

func code(m *dns.Msg, rcode int) *dns.Msg {
	m.Rcode = rcode
	return m
}

// forward asks the upstreams in turn. The question is asked anew, with an id of our own and without the client's options,
// so that nothing but the question and the DO bit is passed on.
func (s *Server) forward(ctx context.Context, q, m *dns.Msg) *dns.Msg {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		return code(m, dns.RcodeServerFailure)
	}
	ask := new(dns.Msg)
	ask.SetQuestion(q.Question[0].Name, q.Question[0].Qtype)
	ask.CheckingDisabled = q.CheckingDisabled
	ask.AuthenticatedData = q.AuthenticatedData
	opt := q.IsEdns0()
	ask.SetEdns0(udpSize, opt != nil && opt.Do())
	for _, up := range s.upstreams {
		got, err := s.exchange(ctx, ask, up)
		if err != nil {
			s.log.Debug("upstream does not answer", "upstream", up, "err", err)
			continue
		}
		if got.Rcode == dns.RcodeServerFailure || got.Rcode == dns.RcodeRefused {
			continue // another one may know
		}
		m.Rcode, m.AuthenticatedData, m.CheckingDisabled = got.Rcode, got.AuthenticatedData, got.CheckingDisabled
		m.Answer, m.Ns = got.Answer, got.Ns
		for _, rr := range got.Extra {
			if rr.Header().Rrtype != dns.TypeOPT {
				m.Extra = append(m.Extra, rr)
			}
		}
		return m
	}
	return code(m, dns.RcodeServerFailure)
}

// exchange goes over TCP when the answer does not fit UDP.
func (s *Server) exchange(ctx context.Context, ask *dns.Msg, up netip.AddrPort) (*dns.Msg, error) {
	for _, network := range []string{"udp", "tcp"} {
		client := &dns.Client{Net: network, Timeout: s.timeout, UDPSize: udpSize}
		got, _, err := client.ExchangeContext(ctx, ask.Copy(), up.String())
		if err != nil {
			return nil, fmt.Errorf("ask %s over %s: %w", up, network, err)
		}
		if len(got.Question) != 1 || dns.CanonicalName(got.Question[0].Name) != dns.CanonicalName(ask.Question[0].Name) || got.Question[0].Qtype != ask.Question[0].Qtype {
			return nil, fmt.Errorf("ask %s over %s: answered another question", up, network)
		}
		if !got.Truncated {
			return got, nil
		}
	}
	return nil, errors.New("answer is cut even over TCP")
}

// clientSize is how much a client takes over UDP.
func clientSize(q *dns.Msg) int {
	if opt := q.IsEdns0(); opt != nil {
		return min(max(int(opt.UDPSize()), dns.MinMsgSize), udpSize)
	}
	return dns.MinMsgSize
}

func rcodeLabel(rcode int) string {
	if name, ok := dns.RcodeToString[rcode]; ok {
		return name
	}
	return "other"
}
