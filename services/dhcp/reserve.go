package dhcp

import (
	"net/netip"
	"slices"
	"time"
)

const (
	reserveSize = 64              // addresses of each network that are kept ready
	reserveLow  = reserveSize / 2 // when more are looked for
	probedFor   = 2 * time.Minute // after that an address that still waits is looked at again
)

// reserve is a network's addresses that nobody was found to use, so that a newcomer need not wait while its address is
// probed (RFC 2131 §2.2). Who comes when it is empty gets an address that was not probed.
type reserve struct {
	ready []tested
}

type tested struct {
	address netip.Addr
	at      time.Time
}

func (v *reserve) has(a netip.Addr) bool {
	return slices.ContainsFunc(v.ready, func(t tested) bool { return t.address == a })
}

// low tells whether a network's reserve should be filled.
func (e *engine) low() bool {
	return slices.ContainsFunc(e.reserves, func(v reserve) bool { return len(v.ready) < reserveLow })
}

// fromReserve takes the first address that the client may still have.
func (e *engine) fromReserve(r request) (netip.Addr, bool) {
	v := &e.reserves[r.subnet]
	for len(v.ready) > 0 {
		a := v.ready[0].address
		v.ready = v.ready[1:]
		if e.mayHave(r, a) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// candidates are addresses of a network to probe: those that waited long, and as many more as the reserve has room for.
func (e *engine) candidates(subnet int, now time.Time) []netip.Addr {
	v := &e.reserves[subnet]
	var list []netip.Addr
	v.ready = slices.DeleteFunc(v.ready, func(t tested) bool {
		old := now.Sub(t.at) >= probedFor
		if old && e.idle(subnet, t.address, now) {
			list = append(list, t.address)
		}
		return old
	})
	usable := func(a netip.Addr) bool { return e.idle(subnet, a, now) && !v.has(a) && !slices.Contains(list, a) }
	for len(v.ready)+len(list) < reserveSize {
		a, ok := e.leases.Free(subnet, now, usable)
		if !ok {
			break
		}
		list = append(list, a)
	}
	return list
}

// idle tells whether an address can be given to whoever comes.
func (e *engine) idle(subnet int, a netip.Addr, now time.Time) bool {
	held := e.leases.ByAddr(a)
	return e.inRanges(subnet, a) && !e.reservations.Reserved(a) && (held == nil || (!held.Active(now) && !Keeps(e.reservations, held)))
}

// probed takes what was found out: users are the MACs of those in use, "" where it is not known. An address in use is set
// aside for its user: that is how a machine keeps what it has after the lease log was lost. It returns those in use.
func (e *engine) probed(subnet int, now time.Time, list []netip.Addr, users map[netip.Addr]string) []Lease {
	var conflicts []Lease
	for _, a := range list {
		if !e.idle(subnet, a, now) {
			continue // given away meanwhile
		}
		user, used := users[a]
		if !used {
			if v := &e.reserves[subnet]; !v.has(a) {
				v.ready = append(v.ready, tested{a, now})
			}
			continue
		}
		if user != "" && e.leases.ByClient(subnet, user) != nil {
			user = ""
		}
		aside := Lease{Address: a, Client: user, Expires: now.Add(declineHold)}
		e.leases.Put(subnet, aside, true)
		conflicts = append(conflicts, aside)
	}
	return conflicts
}
