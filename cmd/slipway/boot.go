package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-io/slipway/ipxe"
	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/controllers/infraenv"
	"github.com/slipway-io/slipway/services/image"
	"github.com/slipway-io/slipway/services/run"
	"github.com/slipway-io/slipway/services/tftp"
)

// listenBoot binds what firmware talks to: DHCP of both families, router advertisements and TFTP.
func (a *appliance) listenBoot(ctx context.Context, lookup infraenv.Lookup, artifacts *image.Service, registry *prometheus.Registry, group *run.Group) error {
	for _, name := range a.config.InterfaceNames() {
		nic := a.config.Interfaces[name]
		if nic.DHCP.Mode == api.DHCPOff {
			continue
		}
		boots := a.chain(signed{ctx, lookup, nic.DHCP.SecureBoot, a.log})
		if _, ok := nic.IPv4(); ok {
			if err := a.listenDHCP(ctx, name, nic, boots, registry, group); err != nil {
				return err
			}
		}
		if err := a.listenIPv6(ctx, name, nic, boots, registry, group); err != nil {
			return err
		}
	}
	served := bootFiles{artifacts.Files(ctx)}
	if a.config.Loaders != "" {
		directory, err := tftp.OpenDirectory(a.config.Loaders)
		if err != nil {
			return err
		}
		served = append(served, directory)
	}
	a.sayMissingLoaders()
	server, err := tftp.Listen(tftp.Config{Addresses: everywhere(a.config.Ports.TFTP)}, served, registry, a.log)
	if err != nil {
		return err
	}
	group.Add("tftp", server.Run)
	return nil
}

// sayMissingLoaders names what cannot boot. IBM Z and petitboot need no loader.
func (a *appliance) sayMissingLoaders() {
	for _, loader := range ipxe.Loaders() {
		var missing []string
		for _, file := range loader.Files {
			if _, err := os.Stat(filepath.Join(a.config.Loaders, file)); a.config.Loaders == "" || err != nil {
				missing = append(missing, file)
			}
		}
		if len(missing) > 0 {
			a.log.Warn("machines do not boot for lack of a loader", "machines", loader.Boots, "missing", strings.Join(missing, ", "),
				"directory", a.config.Loaders, "mend", "go run ./assets/loaders/build prints a directory for the configuration key loaders")
		}
	}
}

// bootFiles asks one after the other.
type bootFiles []tftp.Files

// Open implements tftp.Files.
func (b bootFiles) Open(name string) (io.ReadCloser, int64, error) {
	for _, files := range b {
		f, size, err := files.Open(name)
		if !errors.Is(err, fs.ErrNotExist) {
			return f, size, err
		}
	}
	return nil, 0, fs.ErrNotExist
}

// signed says which machines of one network have Secure Boot on.
type signed struct {
	ctx     context.Context
	lookup  infraenv.Lookup
	network bool // what the network's configuration says
	log     *slog.Logger
}

// SecureBoot implements dhcp.Signed.
func (s signed) SecureBoot(mac net.HardwareAddr) bool {
	secure, known, err := s.lookup.SecureBoot(s.ctx, mac.String())
	if err != nil {
		s.log.Warn("secure boot of machine is not known, its network's configuration counts", "mac", mac.String(), "err", err)
	}
	if !known {
		return s.network
	}
	return secure
}
