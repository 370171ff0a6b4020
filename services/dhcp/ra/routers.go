package ra

import (
	"net/netip"
	"slices"
	"time"

	"github.com/mdlayher/ndp"
)

const (
	routersMost = 16
	routerGone  = time.Hour // without a word; RFC 4861 lets a router be silent for half of it
)

// routers are those of the site that advertise on the interface.
type routers map[netip.Addr]router

type router struct {
	said *ndp.RouterAdvertisement
	at   time.Time
}

// hear notes an advertisement. It tells whether its router is new; one that says nothing (any more) is none.
func (r routers) hear(from netip.Addr, said *ndp.RouterAdvertisement, now time.Time) (news bool) {
	_, known := r[from]
	if said.RouterLifetime == 0 && !said.ManagedConfiguration && !said.OtherConfiguration && !offers(said.Options) {
		delete(r, from)
		return false
	}
	if !known && len(r) >= routersMost {
		return false
	}
	r[from] = router{said, now}
	return !known
}

// offers tells whether an advertisement has a prefix or DNS servers that are not withdrawn.
func offers(options []ndp.Option) bool {
	return slices.ContainsFunc(options, func(option ndp.Option) bool {
		switch o := option.(type) {
		case *ndp.PrefixInformation:
			return o.ValidLifetime > 0
		case *ndp.RecursiveDNSServer:
			return o.Lifetime > 0
		}
		return false
	})
}

// expire forgets routers that have gone silent and gives their addresses.
func (r routers) expire(now time.Time) (gone []netip.Addr) {
	for from, one := range r {
		if now.Sub(one.at) >= routerGone {
			gone = append(gone, from)
			delete(r, from)
		}
	}
	return gone
}

func (r routers) said() []*ndp.RouterAdvertisement {
	var all []*ndp.RouterAdvertisement
	for _, one := range r {
		all = append(all, one.said)
	}
	return all
}
