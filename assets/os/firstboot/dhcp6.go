package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/dhcpv6/nclient6"
	"github.com/insomniacslk/dhcp/iana"
)

// Of the wait for a link-local address, and between two rounds of asking.
const (
	linkLocalWait = 200 * time.Millisecond
	askAgain      = 5 * time.Second
)

// address asks for an IPv6 address of a port and keeps it until the system takes over. The kernel knows from router
// advertisements what else is on the link; busybox has no client for this part.
type address struct {
	port string
	log  *slog.Logger
	said string // the error that was logged last
}

func (a *address) run(ctx context.Context) error {
	for {
		wait, err := a.round(ctx)
		if err != nil {
			wait = askAgain
			if errors.Is(err, errNoLinkLocal) {
				wait = linkLocalWait
			} else if text := err.Error(); text != a.said {
				a.said = text
				a.log.Warn("no address by DHCPv6 yet", "port", a.port, "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

var errNoLinkLocal = errors.New("the port has no link-local address yet")

// round gets or renews the address and says when it has to be renewed.
func (a *address) round(ctx context.Context) (time.Duration, error) {
	link, err := net.InterfaceByName(a.port)
	if err != nil {
		return 0, fmt.Errorf("interface %s: %w", a.port, err)
	}
	// Binding to the link-local address fails until it is known to be nobody else's.
	client, err := nclient6.New(a.port, nclient6.WithTimeout(2*time.Second), nclient6.WithRetry(3))
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errNoLinkLocal, err)
	}
	defer client.Close()
	// The identifier that the system will use: the lease stays the same.
	duid := &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: link.HardwareAddr}
	reply, err := client.RapidSolicit(ctx, dhcpv6.WithClientID(duid))
	if err != nil {
		return 0, fmt.Errorf("ask for an address: %w", err)
	}
	association := reply.Options.OneIANA()
	if association == nil || association.Options.OneAddress() == nil {
		return 0, errors.New("the server has no address for this port")
	}
	given := association.Options.OneAddress()
	if err := a.apply(ctx, given.IPv6Addr, reply.Options.DNS()); err != nil {
		return 0, err
	}
	return max(askAgain, association.T1), nil
}

func (a *address) apply(ctx context.Context, ip net.IP, servers []net.IP) error {
	link, err := net.InterfaceByName(a.port)
	if err != nil {
		return fmt.Errorf("interface %s: %w", a.port, err)
	}
	have, err := link.Addrs()
	if err != nil {
		return fmt.Errorf("read addresses of %s: %w", a.port, err)
	}
	known := slices.ContainsFunc(have, func(other net.Addr) bool {
		prefix, ok := other.(*net.IPNet)
		return ok && prefix.IP.Equal(ip)
	})
	if known {
		return nil
	}
	if out, err := exec.CommandContext(ctx, "ip", "-6", "addr", "add", ip.String()+"/128", "dev", a.port).CombinedOutput(); err != nil {
		return fmt.Errorf("set address %s on %s: %w: %s", ip, a.port, err, out)
	}
	a.log.Info("address by DHCPv6", "port", a.port, "address", ip)
	return addNameServers("/etc/resolv.conf", servers)
}

// addNameServers appends those that the file does not have; the client of the other family appends to it too.
func addNameServers(path string, servers []net.IP) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("open resolver configuration: %w", err)
	}
	text, err := io.ReadAll(f)
	for _, server := range servers {
		if line := []byte("nameserver " + server.String() + "\n"); err == nil && !bytes.Contains(text, line) {
			_, err = f.Write(line)
		}
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write resolver configuration: %w", err)
	}
	return nil
}
