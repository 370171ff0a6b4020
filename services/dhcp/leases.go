package dhcp

import (
	"container/heap"
	"net/netip"
	"slices"
	"time"
)

// Lease is one address that a client has, had, or (without a client) that was found to be in foreign use.
type Lease struct {
	Address  netip.Addr
	Client   string // MAC, or "id:" and the client identifier in hex where there is no MAC
	Hostname string // as the reservation or the client says
	Expires  time.Time
}

// Active tells whether the address is in use at a time.
func (l Lease) Active(now time.Time) bool { return now.Before(l.Expires) }

// entry is what is known about one address. An offer that nobody took yet is an entry too, but never in the log.
type entry struct {
	Lease
	subnet  int
	offered bool
	at      int // place in the heap
}

type holder struct {
	subnet int
	client string
}

// table finds leases by address and by client, and free addresses without looking at all of them.
type table struct {
	byAddr   map[netip.Addr]*entry
	byClient map[holder]*entry
	expiry   []expiryHeap // per subnet
	fresh    []cursor     // per subnet: addresses that never had a lease
}

func newTable(subnets []Subnet) *table {
	t := &table{byAddr: map[netip.Addr]*entry{}, byClient: map[holder]*entry{}, expiry: make([]expiryHeap, len(subnets))}
	for _, s := range subnets {
		t.fresh = append(t.fresh, cursor{ranges: s.Ranges})
	}
	return t
}

// put makes the lease the client's one of its subnet. What the client had before stays known, as expired.
func (t *table) put(subnet int, l Lease, offered bool) {
	e, known := t.byAddr[l.Address]
	if !known {
		e = &entry{subnet: subnet}
		t.byAddr[l.Address] = e
	} else if key := (holder{e.subnet, e.Client}); t.byClient[key] == e {
		delete(t.byClient, key)
	}
	e.Lease, e.offered = l, offered
	if known {
		heap.Fix(&t.expiry[subnet], e.at)
	} else {
		heap.Push(&t.expiry[subnet], e)
	}
	if l.Client != "" {
		t.byClient[holder{subnet, l.Client}] = e
	}
}

func (t *table) expire(e *entry, now time.Time) {
	e.Expires, e.offered = now, false
	heap.Fix(&t.expiry[e.subnet], e.at)
}

// free finds an address of the subnet's ranges that usable agrees with: a fresh one, else the longest expired.
func (t *table) free(subnet int, now time.Time, usable func(netip.Addr) bool) (netip.Addr, bool) {
	for {
		a, ok := t.fresh[subnet].next()
		if !ok {
			break
		}
		if t.byAddr[a] == nil && usable(a) {
			return a, true
		}
	}
	var found netip.Addr
	var passed []*entry
	old := &t.expiry[subnet]
	for old.Len() > 0 && !(*old)[0].Active(now) && !found.IsValid() {
		if e := (*old)[0]; usable(e.Address) {
			found = e.Address
		} else {
			passed = append(passed, heap.Pop(old).(*entry))
		}
	}
	for _, e := range passed {
		heap.Push(old, e)
	}
	return found, found.IsValid()
}

// rewind lets free look at addresses again that were not usable when it passed them.
func (t *table) rewind(subnet int) { t.fresh[subnet] = cursor{ranges: t.fresh[subnet].ranges} }

// leases are all but the offers, by address.
func (t *table) leases() []Lease {
	list := make([]Lease, 0, len(t.byAddr))
	for _, e := range t.byAddr {
		if !e.offered {
			list = append(list, e.Lease)
		}
	}
	slices.SortFunc(list, func(a, b Lease) int { return a.Address.Compare(b.Address) })
	return list
}

// cursor walks ranges once.
type cursor struct {
	ranges []Range
	index  int
	last   netip.Addr
}

func (c *cursor) next() (netip.Addr, bool) {
	for c.index < len(c.ranges) {
		r := c.ranges[c.index]
		switch {
		case !c.last.IsValid():
			c.last = r.From
		case c.last == r.To:
			c.index, c.last = c.index+1, netip.Addr{}
			continue
		default:
			c.last = c.last.Next()
		}
		return c.last, true
	}
	return netip.Addr{}, false
}

// expiryHeap has the entry that expires first on top.
type expiryHeap []*entry

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].Expires.Before(h[j].Expires) }
func (h expiryHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].at, h[j].at = i, j }

func (h *expiryHeap) Push(x any) {
	e := x.(*entry)
	e.at = len(*h)
	*h = append(*h, e)
}

func (h *expiryHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}
