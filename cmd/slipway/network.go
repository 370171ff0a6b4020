package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-io/slipway/ipxe"
	"github.com/slipway-io/slipway/services/agentapi"
	"github.com/slipway-io/slipway/services/agentapi/wire"
	"github.com/slipway-io/slipway/services/dns"
	"github.com/slipway-io/slipway/services/ignition"
	"github.com/slipway-io/slipway/services/image"
	"github.com/slipway-io/slipway/services/run"
	"github.com/slipway-io/slipway/services/web"
)

// everywhere is a port on all addresses of both families.
func everywhere(port int) []netip.AddrPort {
	return []netip.AddrPort{
		netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(port)),
		netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(port)),
	}
}

// addresses is a port on each address of the configuration, and on loopback: a resolver of the machine's own may hold the rest.
func (a *appliance) addresses(port int) []netip.AddrPort {
	list := []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port))}
	for _, name := range a.config.InterfaceNames() {
		for _, prefix := range a.config.Interfaces[name].Addresses {
			list = append(list, netip.AddrPortFrom(prefix.Addr(), uint16(port)))
		}
	}
	return list
}

func (a *appliance) listenDNS(ctx context.Context, registry *prometheus.Registry, group *run.Group) (*zones, error) {
	config := dns.Config{Addresses: a.addresses(a.config.Ports.DNS)}
	for _, upstream := range a.config.DNS.Forward {
		config.Upstreams = append(config.Upstreams, netip.AddrPortFrom(upstream, 53))
	}
	server, err := dns.Listen(ctx, config, registry, a.log)
	if err != nil {
		return nil, fmt.Errorf("dns: %w", err)
	}
	group.Add("dns", server.Run)
	names := &zones{server: server, domain: a.config.Domain, site: a.config.SiteAddresses()}
	return names, names.Set(nil)
}

// zones joins the appliance's own names with those of clusters.
type zones struct {
	server *dns.Server
	domain string
	site   []netip.Addr
}

// Set replaces the names of all clusters, by zone and then by name.
func (z *zones) Set(clusters map[string]map[string][]netip.Addr) error {
	records := dns.Records{
		Zones:      []string{z.domain},
		NameServer: "slipway." + z.domain,
		Hosts:      []dns.Host{{Name: "slipway." + z.domain, Addresses: z.site}, {Name: "registry." + z.domain, Addresses: z.site}},
	}
	for zone, names := range clusters {
		if zone != z.domain {
			records.Zones = append(records.Zones, zone)
		}
		for name, addresses := range names {
			records.Hosts = append(records.Hosts, dns.Host{Name: name, Addresses: addresses})
		}
	}
	if err := z.server.Set(records); err != nil {
		return fmt.Errorf("set DNS records: %w", err)
	}
	return nil
}

// bootPort is that of the front that machines boot from: the plain one, unless there is none.
func (a *appliance) bootPort() int {
	if a.config.HTTP.Off() {
		return a.config.Ports.HTTPS
	}
	return a.config.Ports.HTTP
}

func (a *appliance) bootURL() string {
	if a.config.HTTP.Off() {
		return a.url("https", a.config.Ports.HTTPS)
	}
	return a.url("http", a.config.Ports.HTTP)
}

// listenWeb binds the front that hosts and people talk to, and the registry.
func (a *appliance) listenWeb(ctx context.Context, metrics *prometheus.Registry, artifacts *image.Service, agents *agentapi.Server, payloads ignition.Payloads, group *run.Group) error {
	routes := []web.Route{
		{Pattern: wire.BasePath + "/", Handler: agents},
		{Pattern: "GET " + ignitionPath, Handler: ignition.NewHandler(payloads, a.log)},
	}
	for pattern, handler := range artifacts.Routes() {
		routes = append(routes, web.Route{Pattern: pattern, Handler: handler, Plain: true})
	}
	if a.config.Loaders != "" {
		root, err := os.OpenRoot(a.config.Loaders)
		if err != nil {
			return fmt.Errorf("open loaders: %w", err)
		}
		files := http.StripPrefix(path.Clean(ipxe.LoaderPath), web.NewFiles(root))
		routes = append(routes, web.Route{Pattern: "GET " + ipxe.LoaderPath, Handler: files, Plain: true})
	}
	front := web.Config{
		HTTPS: everywhere(a.config.Ports.HTTPS), TLS: a.serving.TLSConfig(), Metrics: metrics, Log: a.log,
	}
	if !a.config.HTTP.Off() {
		front.HTTP = everywhere(a.config.Ports.HTTP)
	}
	if err := addFront(ctx, "web", front, routes, group); err != nil {
		return err
	}
	group.Add("registry store", a.registry.Run)
	if a.registryServed {
		return nil
	}
	config, served := a.registryFront(everywhere(a.config.Ports.Registry))
	return addFront(ctx, "registry", config, served, group)
}

func (a *appliance) registryFront(addresses []netip.AddrPort) (web.Config, []web.Route) {
	config := web.Config{HTTPS: addresses, TLS: registryTLS(a.serving.TLSConfig()), Log: a.log.With("front", "registry")}
	return config, []web.Route{{Pattern: "/v2/", Handler: a.registry.Handler(), MaxBody: maxLayer}}
}

// maxLayer bounds what one request may push: far more than any layer, and no more than a disk.
const maxLayer = 1 << 40

// registryTLS leaves HTTP/2 out: one slow puller must not hold the window of the others.
func registryTLS(config *tls.Config) *tls.Config {
	config = config.Clone()
	config.NextProtos = []string{"http/1.1"}
	return config
}

func addFront(ctx context.Context, name string, config web.Config, routes []web.Route, group *run.Group) error {
	server, err := web.New(config, routes)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := server.Listen(ctx); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	group.Add(name, server.Run)
	return nil
}
