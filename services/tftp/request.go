package tftp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
)

// longestRequest is more than RFC 2347 allows, 512 bytes.
const longestRequest = 1024

// listen takes the requests that come to one of the addresses, until ctx ends.
func (s *Server) listen(ctx context.Context, conn *net.UDPConn) error {
	packet, control := make([]byte, longestRequest), make([]byte, 256)
	for {
		n, c, _, client, err := conn.ReadMsgUDPAddrPort(packet, control)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("tftp on %s: %w", conn.LocalAddr(), err)
		case err != nil:
			continue // an ICMP answer to one of our errors
		}
		client = netip.AddrPortFrom(client.Addr().Unmap(), client.Port())
		if to, ok := arrivalOf(control[:c]); ok {
			s.take(conn, packet[:n], client, to)
		}
	}
}

// take decides about one packet; what costs time is done beside.
func (s *Server) take(conn *net.UDPConn, packet []byte, client netip.AddrPort, to arrival) {
	r, err := parseRequest(packet)
	if errors.Is(err, errNotARead) {
		return
	}
	if !s.limit.Allow() {
		s.count("limited")
		return
	}
	refuse := func(code uint16, reason error, outcome string) {
		s.count(outcome)
		s.log.Info("request refused", "ip", client.Addr(), "file", printable(r.name), "err", reason)
		s.refuse(conn, client, to, code, reason)
	}
	name, clean := cleanName(r.name)
	switch {
	case err != nil:
		refuse(codeIllegal, err, "refused")
		return
	case r.op == opWrite:
		refuse(codeAccess, errReadOnly, "refused")
		return
	case r.mode != "octet":
		refuse(codeIllegal, errMode, "refused")
		return
	case !clean:
		refuse(codeAccess, errRefused, "refused")
		return
	}
	pass, v := s.admission.enter(client, packet)
	switch v {
	case duplicate:
		s.count("duplicate")
	case busy: // firmware asks again after silence, and gives up after an error
		s.count("busy")
		s.log.Warn("too many transfers at a time", "ip", client.Addr())
	case admitted:
		s.opening.Go(func() {
			code, err := s.open(name, r.options, client, to, pass)
			if err == nil {
				return
			}
			s.admission.leave(client, pass)
			if code == codeNotFound {
				refuse(code, err, "missing")
			} else {
				refuse(code, err, "refused")
			}
		})
	}
}

// open finds the file and starts its transfer. The error is what the client is told.
func (s *Server) open(name string, asked options, client netip.AddrPort, to arrival, pass *ticket) (uint16, error) {
	log := s.log.With("ip", client.Addr(), "file", printable(name))
	file, size, err := s.files.Open(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return codeNotFound, errNotFound
	case err != nil:
		log.Warn("file was not opened", "err", err)
		return codeAccess, errRefused
	}
	fd, err := dial(to, client)
	if err != nil {
		log.Warn("transfer cannot start", "err", errors.Join(err, file.Close()))
		return codeUndefined, errRefused
	}
	t := newTransfer(fd, agree(asked, size, fittingBlock(fd, client.Addr().Is6())), size)
	t.from, t.file, t.log = sourceOf(file), file, log
	t.moved = func() { pass.moved.Store(true) }
	t.ended = func(outcome string, sent int64) {
		s.count(outcome)
		s.metrics.bytes.Add(float64(sent))
		s.admission.leave(client, pass)
	}
	s.loops[int(s.turn.Add(1))%len(s.loops)].add(t)
	return 0, nil
}

func (s *Server) count(outcome string) { s.metrics.transfers.WithLabelValues(outcome).Inc() }

// refuse answers from the port that was asked: no socket is made for a request that leads to nothing.
func (s *Server) refuse(conn *net.UDPConn, client netip.AddrPort, to arrival, code uint16, reason error) {
	if _, _, err := conn.WriteMsgUDPAddrPort(errorPacket(code, reason.Error()), departure(to), client); err != nil {
		s.log.Debug("error was not sent", "ip", client.Addr(), "err", err)
	}
}
