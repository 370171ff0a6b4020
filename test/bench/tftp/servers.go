package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/slipway-io/slipway/services/tftp/tftptest"
	"github.com/slipway-io/slipway/test/bench/peers"
)

// server is one of those that are compared; the first is ours.
type server struct {
	name    string
	address netip.AddrPort
	process *peers.Process
}

// start starts all servers over the directory. Those that have started are given also with an error.
func start(ctx context.Context, dir string) ([]*server, error) {
	root, err := peers.Unpack(ctx, "tftpd-hpa", "atftpd", "dnsmasq-base", "libwrap0")
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	program := func(name string) string { return filepath.Join(root, "usr/sbin", name) }
	var servers []*server
	for i, s := range []struct {
		name    string
		command func(netip.AddrPort) []string
	}{
		{"slipway", func(a netip.AddrPort) []string { return []string{self, "serve", dir, a.String()} }},
		{"dnsmasq", func(a netip.AddrPort) []string {
			return []string{program("dnsmasq"), "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root", "--port=0", "--no-resolv", "--no-hosts",
				"--bind-interfaces", "--listen-address=" + a.Addr().String(), "--enable-tftp", "--tftp-root=" + dir, "--quiet-tftp"}
		}},
		{"tftpd-hpa", func(a netip.AddrPort) []string {
			return []string{program("in.tftpd"), "-L", "-4", "-u", "nobody", "-a", a.String(), "-s", dir}
		}},
		{"atftpd", func(a netip.AddrPort) []string {
			return []string{program("atftpd"), "--daemon", "--no-fork", "--user", "root", "--group", "root", "--logfile", "/dev/null",
				"--bind-address", a.Addr().String(), "--port", fmt.Sprint(a.Port()), dir}
		}},
	} {
		// dnsmasq knows only TFTP's own port, so each has an address of its own and all have that port.
		address := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 78, 0, byte(i + 1)}), 69)
		process, err := peers.Start(s.command(address), peers.Libraries(root))
		if err != nil {
			return servers, err
		}
		servers = append(servers, &server{s.name, address, process})
	}
	for _, s := range servers {
		if err := s.ready(ctx); err != nil {
			return servers, err
		}
	}
	return servers, nil
}

// ready waits until the server gives the file.
func (s *server) ready(ctx context.Context) error {
	var err error
	for range 100 {
		if ended := s.process.Ended(); ended != nil {
			return ended
		}
		if _, err = tftptest.Get(s.address, fileName, tftptest.Options{Block: 1468, Window: 16, Patience: 200 * time.Millisecond}, io.Discard); err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return fmt.Errorf("%s on %s does not serve: %w", s.name, s.address, err)
}
