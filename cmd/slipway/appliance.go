package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/slipway-io/slipway/mirror/registry"
	"github.com/slipway-io/slipway/mirror/release"
	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/atomicfile"
	"github.com/slipway-io/slipway/services/controlplane"
	"github.com/slipway-io/slipway/services/controlplane/driver/process"
	"github.com/slipway-io/slipway/services/controlplane/management"
	"github.com/slipway-io/slipway/services/controlplane/pki"
	"github.com/slipway-io/slipway/services/run"
	"github.com/slipway-io/slipway/services/web"
)

// appliance is what every part of `slipway up` is wired from.
type appliance struct {
	config   *api.Config
	stateDir string
	log      *slog.Logger

	siteCA   *pki.SiteCA
	serving  *pki.ServingCert
	tokens   web.Tokens
	registry *registry.Registry
	ownUsers []registry.User
	// registryServed says that the network is answered already, by an appliance that had to wait for its first release.
	registryServed bool
	releases       *release.Store
	imported       []release.Release
	// releaseImage is repository:tag of the newest release that there is at start.
	releaseImage string
	driver       *process.Driver
	changed      chan string
	rest         *rest.Config
	// inventory tells DHCP which hosts there are.
	inventory inventory
}

// open reads or makes what lies in the state directory and imports the releases.
func open(ctx context.Context, config *api.Config, stateDir string, log *slog.Logger) (*appliance, error) {
	a := &appliance{config: config, stateDir: stateDir, log: log, changed: make(chan string, 256)}
	if err := a.openPKI(); err != nil {
		return nil, err
	}
	if err := a.openRegistry(ctx); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("find own executable: %w", err), a.registry.Close())
	}
	a.driver = process.New(process.Config{
		StateDir: stateDir,
		Images:   a.releases,
		Shim:     []string{self, "shim"},
		OnChange: a.controlPlaneChanged,
		Log:      log,
	})
	return a, nil
}

func (a *appliance) openPKI() (err error) {
	dir := a.path("pki")
	if a.siteCA, err = pki.OpenSiteCA(dir, time.Now); err != nil {
		return err
	}
	names := []string{"slipway." + a.config.Domain, "registry." + a.config.Domain, "localhost"}
	addresses := append(a.config.Addresses(), netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback())
	if a.serving, err = a.siteCA.ServingCert(names, addresses); err != nil {
		return err
	}
	key, err := pki.OpenSiteKey(dir)
	if err != nil {
		return err
	}
	a.tokens = web.NewTokens(key)
	return nil
}

// controlPlaneChanged must not block the driver: a change that finds no room is found by the controller's next look.
func (a *appliance) controlPlaneChanged(name string) {
	select {
	case a.changed <- name:
	default:
	}
}

func (a *appliance) close() {
	if err := a.registry.Close(); err != nil {
		a.log.Error("registry close", "err", err)
	}
}

func (a *appliance) path(name string) string {
	return filepath.Join(a.stateDir, name)
}

func (a *appliance) kubeconfigPath() string {
	return a.path("admin.kubeconfig")
}

// startAPI runs the management control plane, or uses the given cluster.
func (a *appliance) startAPI(ctx context.Context, kubeconfig string, group *run.Group) error {
	group.Add("driver", a.driver.Run)
	if kubeconfig != "" {
		config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			return fmt.Errorf("read kubeconfig %s: %w", kubeconfig, err)
		}
		a.rest = config
		if err := a.findRelease(ctx); !errors.Is(err, release.ErrNotFound) {
			return err
		}
		return nil
	}
	if err := a.awaitRelease(ctx, group); err != nil {
		return err
	}
	site := a.config.SiteAddresses()
	plane := management.New(management.Config{
		StateDir: a.stateDir,
		Spec: controlplane.Spec{
			APIHost:          site[0].String(),
			APIPort:          a.config.Ports.API,
			AdvertiseAddress: site[0],
			ServiceCIDRs:     []netip.Prefix{managementServices(site[0])},
			ExtraSANs:        append([]string{"slipway." + a.config.Domain}, texts(a.config.Addresses())...),
		},
		Images:  a.imported[len(a.imported)-1].Components,
		Driver:  a.driver,
		Renewed: a.writeKubeconfig,
		Now:     time.Now,
		Log:     a.log,
	})
	if err := plane.Start(ctx); err != nil {
		return err
	}
	group.Add("management", plane.Run)
	if err := a.writeKubeconfig(plane.AdminKubeconfig()); err != nil {
		return err
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(plane.LocalKubeconfig())
	if err != nil {
		return fmt.Errorf("read own kubeconfig: %w", err)
	}
	a.rest = config
	return nil
}

// managementServices is a network that nobody routes: nothing runs in the management cluster.
func managementServices(site netip.Addr) netip.Prefix {
	if site.Is4() {
		return netip.MustParsePrefix("172.29.0.0/16")
	}
	return netip.MustParsePrefix("fd29::/112")
}

func (a *appliance) writeKubeconfig(text []byte) error {
	return atomicfile.Write(a.kubeconfigPath(), text)
}

func texts(addresses []netip.Addr) []string {
	var out []string
	for _, address := range addresses {
		out = append(out, address.String())
	}
	return out
}

// url of the appliance by its first address.
func (a *appliance) url(scheme string, port int) string {
	return urlAt(scheme, a.config.SiteAddresses()[0], port)
}

// urlAt has an address, because a host in its initramfs has no resolver yet.
func urlAt(scheme string, address netip.Addr, port int) string {
	return scheme + "://" + net.JoinHostPort(address.String(), strconv.Itoa(port))
}

// servicesAt is what a host is told that reaches the appliance at the address.
func (a *appliance) servicesAt(address netip.Addr) string {
	return urlAt("https", address, a.config.Ports.HTTPS)
}

// ignitionPath is where nodes fetch their configuration.
const ignitionPath = "/ignition"

func (a *appliance) registryHost() string {
	return net.JoinHostPort("registry."+a.config.Domain, strconv.Itoa(a.config.Ports.Registry))
}
