package dhcp

import (
	"slices"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// queue holds packets between the socket and the decisions. When it is full the oldest DISCOVER goes first: its client
// asks again, while a lost REQUEST costs a machine its address.
type queue struct {
	packets []arrival
	limit   int
}

func newQueue(limit int) *queue { return &queue{limit: limit} }

// push tells whether a packet had to go.
func (q *queue) push(p arrival) (dropped bool) {
	if len(q.packets) >= q.limit {
		dropped = true
		at := max(0, slices.IndexFunc(q.packets, func(p arrival) bool {
			return p.MessageType() == dhcpv4.MessageTypeDiscover
		}))
		q.packets = slices.Delete(q.packets, at, at+1)
	}
	q.packets = append(q.packets, p)
	return dropped
}

func (q *queue) take() []arrival {
	batch := q.packets
	q.packets = nil
	return batch
}
