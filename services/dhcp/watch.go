package dhcp

import (
	"context"
	"net/netip"
	"time"
)

// fill probes what a network's reserve lacks. Without probes addresses are given as they come: that is said, and no reason
// to stop.
func (s *Server) fill(ctx context.Context, subnet int) {
	s.mu.Lock()
	list := s.engine.candidates(subnet, s.now())
	s.mu.Unlock()
	if len(list) == 0 || ctx.Err() != nil {
		return
	}
	probe := s.wire.probeEcho
	if subnet == 0 {
		probe = s.wire.probeARP
	}
	users, err := probe(list)
	if err != nil {
		if ctx.Err() == nil && s.said.again("probe", s.now()) {
			s.log.Warn("addresses are given without a look whether somebody uses them", "err", err)
		}
		users = nil
	}
	s.mu.Lock()
	conflicts := s.engine.probed(subnet, s.now(), list, users)
	s.mu.Unlock()
	for _, c := range conflicts {
		s.metrics.conflicts.Inc()
		if s.said.again("conflict "+c.Address.String(), s.now()) {
			s.log.Warn("address is in use by a host that has no lease: give it a reservation, or take it out of the pool",
				"ip", c.Address, "mac", users[c.Address])
		}
	}
}

const fillEvery = time.Second // at most: an exhausted pool's reserve is always low

// keepReserves fills them whenever one is low, and looks again at what waited long.
func (s *Server) keepReserves(ctx context.Context) error {
	again, pause := time.NewTicker(probedFor/2), time.NewTicker(fillEvery)
	defer again.Stop()
	defer pause.Stop()
	for {
		for subnet := range s.engine.reserves {
			if subnet > 0 || s.wire.arp != nil {
				s.fill(ctx, subnet)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.low:
		case <-again.C:
		}
	}
}

// watchOthers looks for other DHCP servers on the link: where we are one there must be none, where we are a proxy one.
func (s *Server) watchOthers(ctx context.Context) error {
	again := time.NewTicker(lookEvery)
	defer again.Stop()
	for {
		servers, err := s.wire.look()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			s.log.Debug("no look for other DHCP servers", "err", err)
		default:
			s.metrics.others.Set(float64(len(servers)))
			s.tellOthers(servers)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
		}
	}
}

func (s *Server) tellOthers(servers []netip.Addr) {
	if s.proxy == nil {
		for _, server := range servers {
			s.tellForeign(server.String())
		}
		return
	}
	if len(servers) == 0 && s.said.again("alone", s.now()) {
		s.log.Warn("no DHCP server answers on this network, so hosts get no address: set mode: server, or turn the other one on")
	}
}
