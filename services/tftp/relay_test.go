package tftp

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
)

// lossy relays one client's transfers and drops, of both directions, one packet in so many; another is sent twice.
// As the real thing it does not touch the data.
func lossy(t *testing.T, server netip.AddrPort, oneIn int) netip.AddrPort {
	t.Helper()
	network, local := "udp4", netip.MustParseAddrPort("127.0.0.1:0")
	if server.Addr().Is6() {
		network, local = "udp6", netip.MustParseAddrPort("[::1]:0")
	}
	var conns [2]*net.UDPConn
	for i := range conns {
		conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(local))
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = conn
	}
	r := &relay{server: server, front: conns[0], back: conns[1], oneIn: oneIn}
	var group sync.WaitGroup
	group.Go(func() { r.pump(r.front, r.back, rand.New(rand.NewPCG(1, 2)), true) })
	group.Go(func() { r.pump(r.back, r.front, rand.New(rand.NewPCG(3, 4)), false) })
	t.Cleanup(func() {
		if err := errors.Join(r.front.Close(), r.back.Close()); err != nil {
			t.Error(err)
		}
		group.Wait()
	})
	return r.front.LocalAddr().(*net.UDPAddr).AddrPort()
}

type relay struct {
	server      netip.AddrPort
	front, back *net.UDPConn
	oneIn       int

	mu               sync.Mutex
	client, transfer netip.AddrPort
}

func (r *relay) pump(in, out *net.UDPConn, random *rand.Rand, fromClient bool) {
	packet := make([]byte, 65536)
	for {
		n, from, err := in.ReadFromUDPAddrPort(packet)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		r.mu.Lock()
		to := r.client
		switch {
		case !fromClient:
			r.transfer = from
		case packet[1] == byte(opRead):
			r.client, to = from, r.server
		default:
			r.client, to = from, r.transfer
		}
		r.mu.Unlock()
		if !to.IsValid() {
			continue
		}
		copies := 1
		switch random.IntN(r.oneIn) {
		case 0:
			copies = 0
		case 1:
			copies = 2
		}
		for range copies {
			_, _ = out.WriteToUDPAddrPort(packet[:n], to) // a relay that loses may lose this, too
		}
	}
}
