package tftp

import (
	"net/netip"
	"sync"
	"sync/atomic"
)

type verdict int

const (
	admitted verdict = iota
	duplicate
	busy
)

// admission bounds the transfers and knows a request that comes twice.
type admission struct {
	most, perClient int

	mu      sync.Mutex
	total   int
	clients map[netip.Addr]int
	latest  map[netip.AddrPort]*ticket
}

// ticket is a transfer's right to be.
type ticket struct {
	request string
	moved   atomic.Bool // the client has answered: the same request again is a new one
}

func newAdmission(most, perClient int) *admission {
	return &admission{most: most, perClient: perClient, clients: map[netip.Addr]int{}, latest: map[netip.AddrPort]*ticket{}}
}

// enter decides about the packet of a request. A client that uses one port for everything may ask anew while its last transfer is
// still there: both live, and the one that it does not listen to ends by its error or its silence.
func (a *admission) enter(client netip.AddrPort, packet []byte) (*ticket, verdict) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if last, ok := a.latest[client]; ok && !last.moved.Load() && last.request == string(packet) {
		return nil, duplicate
	}
	if a.total >= a.most || a.clients[client.Addr()] >= a.perClient {
		return nil, busy
	}
	a.total++
	a.clients[client.Addr()]++
	t := &ticket{request: string(packet)}
	a.latest[client] = t
	return t, admitted
}

func (a *admission) leave(client netip.AddrPort, t *ticket) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.total--
	if a.clients[client.Addr()]--; a.clients[client.Addr()] == 0 {
		delete(a.clients, client.Addr())
	}
	if a.latest[client] == t {
		delete(a.latest, client)
	}
}
