// Package lease keeps who has which address: in memory by address and by client, and in an append-only log. It serves
// DHCPv4 and DHCPv6.
package lease

import (
	"container/heap"
	"net/netip"
	"slices"
	"time"
)

// Range is the addresses From to To, both included.
type Range struct{ From, To netip.Addr }

// Contains tells whether an address is in the range.
func (r Range) Contains(a netip.Addr) bool { return r.From.Compare(a) <= 0 && a.Compare(r.To) <= 0 }

func (r Range) String() string { return r.From.String() + "-" + r.To.String() }

// Lease is one address that a client has, had, or (without a client) that was found to be in foreign use.
type Lease struct {
	Address  netip.Addr
	Client   string // MAC, or "id:" and the client identifier in hex where there is no MAC
	Hostname string // as the reservation or the client says
	Expires  time.Time
}

// Active tells whether the address is in use at a time.
func (l Lease) Active(now time.Time) bool { return now.Before(l.Expires) }

// Entry is what is known about one address. An offer that nobody took yet is an entry too, but never in the log.
type Entry struct {
	Lease
	Subnet  int
	Offered bool
	at      int // place in the heap
}

type holder struct {
	subnet int
	client string
}

// Table finds leases by address and by client, and free addresses without looking at all of them.
type Table struct {
	byAddr   map[netip.Addr]*Entry
	byClient map[holder]*Entry
	expiry   []expiryHeap // per subnet
	fresh    []cursor     // per subnet: addresses that never had a lease
}

// NewTable has the ranges of each subnet.
func NewTable(subnets [][]Range) *Table {
	t := &Table{byAddr: map[netip.Addr]*Entry{}, byClient: map[holder]*Entry{}, expiry: make([]expiryHeap, len(subnets))}
	for _, ranges := range subnets {
		t.fresh = append(t.fresh, cursor{ranges: ranges})
	}
	return t
}

// ByAddr finds what is known about an address, nil when nothing is.
func (t *Table) ByAddr(a netip.Addr) *Entry { return t.byAddr[a] }

// ByClient finds the address that the client has or had last in a subnet, nil when there is none.
func (t *Table) ByClient(subnet int, client string) *Entry { return t.byClient[holder{subnet, client}] }

// Put makes the lease the client's one of its subnet. What the client had before stays known, as expired.
func (t *Table) Put(subnet int, l Lease, offered bool) {
	e, known := t.byAddr[l.Address]
	if !known {
		e = &Entry{Subnet: subnet}
		t.byAddr[l.Address] = e
	} else if key := (holder{e.Subnet, e.Client}); t.byClient[key] == e {
		delete(t.byClient, key)
	}
	e.Lease, e.Offered = l, offered
	if known {
		heap.Fix(&t.expiry[subnet], e.at)
	} else {
		heap.Push(&t.expiry[subnet], e)
	}
	if l.Client != "" {
		t.byClient[holder{subnet, l.Client}] = e
	}
}

// Expire ends a lease; the address stays the client's until another one gets it.
func (t *Table) Expire(e *Entry, now time.Time) {
	e.Expires, e.Offered = now, false
	heap.Fix(&t.expiry[e.Subnet], e.at)
}

// Free finds an address of the subnet's ranges that usable agrees with: a fresh one, else the longest expired.
func (t *Table) Free(subnet int, now time.Time, usable func(netip.Addr) bool) (netip.Addr, bool) {
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
	var passed []*Entry
	old := &t.expiry[subnet]
	for old.Len() > 0 && !(*old)[0].Active(now) && !found.IsValid() {
		if e := (*old)[0]; usable(e.Address) {
			found = e.Address
		} else {
			passed = append(passed, heap.Pop(old).(*Entry))
		}
	}
	for _, e := range passed {
		heap.Push(old, e)
	}
	return found, found.IsValid()
}

// Rewind lets Free look at addresses again that were not usable when it passed them.
func (t *Table) Rewind(subnet int) { t.fresh[subnet] = cursor{ranges: t.fresh[subnet].ranges} }

// Leases are all but the offers, by address.
func (t *Table) Leases() []Lease {
	list := make([]Lease, 0, len(t.byAddr))
	for _, e := range t.byAddr {
		if !e.Offered {
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
type expiryHeap []*Entry

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].Expires.Before(h[j].Expires) }
func (h expiryHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].at, h[j].at = i, j }

func (h *expiryHeap) Push(x any) {
	e := x.(*Entry)
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
