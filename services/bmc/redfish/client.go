// Package redfish is the BMC interface's real one: Redfish on gofish, with ladders of requests for what vendors do each in
// their own way.
package redfish

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/stmcginnis/gofish"

	"github.com/slipway-io/slipway/services/bmc"
)

// Client is a view of one BMC's connection that means one of its systems. Every call needs a context with a deadline.
type Client struct {
	shared *shared
	// path of the system, empty for the only one.
	path string
	// mode of booting that is wanted, UEFI or Legacy; empty keeps the machine's.
	mode string
}

// shared by all views.
type shared struct {
	endpoint string
	link     *link
	http     *http.Client
	api      *gofish.APIClient
	root     root
	log      *slog.Logger
	wait     func(context.Context, time.Duration) error

	mu   sync.Mutex
	only string
}

type ref struct {
	ID string `json:"@odata.id"`
}

type root struct {
	Systems, Registries, SessionService ref
	Links                               struct{ Sessions ref }
}

const rootPath = "/redfish/v1/"

// Open logs in. The connection has at most one session, which Close deletes.
func Open(ctx context.Context, config bmc.Config) (*Client, error) {
	s := &shared{endpoint: config.Address.Endpoint(), link: newLink(config), log: config.Log, wait: config.Wait}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.log = s.log.With("bmc", config.Address.HostPort())
	if s.wait == nil {
		s.wait = pause
	}
	s.http = s.link.client()
	c := &Client{shared: s, path: config.Address.SystemPath}
	if err := c.connect(ctx); err != nil {
		_ = c.Close(ctx) // the first error is the one to tell
		return nil, fmt.Errorf("open BMC %s: %w", config.Address.HostPort(), err)
	}
	return c, nil
}

func (c *Client) connect(ctx context.Context) error {
	s := c.shared
	if _, err := c.get(ctx, rootPath, &s.root); err != nil {
		return err
	}
	if s.root.Systems.ID == "" {
		return &bmc.Fault{Kind: bmc.Protocol, Err: errors.New("what answers there is no Redfish service with systems: check the address and its port")}
	}
	collection := localPath(s.root.Links.Sessions.ID)
	if collection == "" && s.root.SessionService.ID != "" {
		collection = strings.TrimSuffix(localPath(s.root.SessionService.ID), "/") + "/Sessions"
	}
	if err := s.link.session.open(ctx, s.link, collection); err != nil {
		return err
	}
	// gofish brings neither TLS settings nor a login of its own: the link has them.
	api, err := gofish.ConnectContext(ctx, gofish.ClientConfig{
		Endpoint: s.endpoint, HTTPClient: s.http, NoModifyTransport: true, ReuseConnections: true, MaxConcurrentRequests: atOnce,
	})
	if err != nil {
		return asFault("read service root", err)
	}
	s.api = api
	if !s.link.session.basic() {
		return nil
	}
	// The first request with the account tells whether it is right where there are no sessions.
	_, err = c.system(ctx)
	return err
}

// For is the same connection for another of the BMC's systems.
func (c *Client) For(systemPath string) *Client { return &Client{shared: c.shared, path: systemPath} }

// InMode is the same view whose BootOnce has the machine start in another mode, UEFI or Legacy.
func (c *Client) InMode(mode string) *Client {
	return &Client{shared: c.shared, path: c.path, mode: mode}
}

// Trust other certificates from the next request on, in the same session.
func (c *Client) Trust(trust *tls.Config) {
	c.shared.link.transport.Swap(newTransport(trust)).CloseIdleConnections()
}

// Close deletes the session. All views are closed with it.
func (c *Client) Close(ctx context.Context) error {
	if err := c.shared.link.session.close(ctx, c.shared.link, c.shared.wait); err != nil {
		return fmt.Errorf("close BMC: %w", err)
	}
	return nil
}

// system is what is needed of a ComputerSystem to steer it, read leniently.
type system struct {
	ID                                             string `json:"@odata.id"`
	Manufacturer, Model, SerialNumber, SKU         string
	AssetTag, HostName, UUID, BiosVersion          string
	PowerState                                     string
	Boot                                           boot
	Bios, EthernetInterfaces, Processors           ref
	Storage, SimpleStorage, VirtualMedia, Registry ref
	MemorySummary                                  struct{ TotalSystemMemoryGiB float64 }
	ProcessorSummary                               struct {
		Count, LogicalProcessorCount int
		Model                        string
	}
	Links    struct{ ManagedBy, Managers []ref }
	Settings struct{ SettingsObject ref } `json:"@Redfish.Settings"`
	Actions  struct {
		Reset struct {
			Target  string   `json:"target"`
			Allowed []string `json:"ResetType@Redfish.AllowableValues"`
			Info    string   `json:"@Redfish.ActionInfo"`
		} `json:"#ComputerSystem.Reset"`
	}
	etag string
}

func (s *system) managers() []ref {
	if len(s.Links.ManagedBy) > 0 {
		return s.Links.ManagedBy
	}
	return s.Links.Managers
}

func (c *Client) system(ctx context.Context) (*system, error) {
	path, err := c.systemPath(ctx)
	if err != nil {
		return nil, err
	}
	var s system
	s.etag, err = c.get(ctx, path, &s)
	if err != nil {
		return nil, err
	}
	if s.ID == "" {
		s.ID = path
	}
	return &s, nil
}

func (c *Client) systemPath(ctx context.Context) (string, error) {
	c.shared.mu.Lock()
	only := c.shared.only
	c.shared.mu.Unlock()
	if only != "" || c.path != "" {
		if c.path != "" {
			return c.path, nil
		}
		return only, nil
	}
	members, err := c.members(ctx, c.shared.root.Systems.ID)
	if err != nil {
		return "", err
	}
	if len(members) != 1 {
		return "", &bmc.Fault{Kind: bmc.Unsupported, Err: fmt.Errorf("the BMC has %d systems: name one in the address, such as %s", len(members), strings.Join(members[:min(len(members), 8)], ", "))}
	}
	c.shared.mu.Lock()
	c.shared.only = members[0]
	c.shared.mu.Unlock()
	return members[0], nil
}

// maxMembers of one collection; more than a machine has of anything.
const maxMembers = 512

// members of a collection, over its pages.
func (c *Client) members(ctx context.Context, path string) ([]string, error) {
	var all []string
	for path != "" && len(all) < maxMembers {
		var page struct {
			Members []ref
			Next    string `json:"Members@odata.nextLink"`
		}
		if _, err := c.get(ctx, path, &page); err != nil {
			return nil, err
		}
		for _, member := range page.Members {
			if member.ID != "" {
				all = append(all, member.ID)
			}
		}
		if page.Next == path || len(page.Members) == 0 {
			break
		}
		path = page.Next
	}
	return all[:min(len(all), maxMembers)], nil
}

// Capabilities as the BMC describes them; where it lists no boot targets, all are worth trying.
func (c *Client) Capabilities(ctx context.Context) (bmc.Capabilities, error) {
	s, err := c.system(ctx)
	if err != nil {
		return bmc.Capabilities{}, err
	}
	slots, err := c.slots(ctx, s)
	if err != nil {
		return bmc.Capabilities{}, err
	}
	return bmc.Capabilities{
		VirtualMedia: len(slots) > 0, UEFIHTTP: s.Boot.offers("UefiHttp"), PXE: s.Boot.offers("Pxe"), BIOS: s.Bios.ID != "",
		Vendor: s.Manufacturer, Model: s.Model,
	}, nil
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return &bmc.Fault{Kind: bmc.Stuck, Err: fmt.Errorf("wait for the BMC: %w", ctx.Err())}
	}
}

// firmwareBefore compares the first number of a manager's firmware version; unknown is not before.
func firmwareBefore(version string, major int) bool {
	first, _, _ := strings.Cut(version, ".")
	number, err := strconv.Atoi(first)
	return err == nil && number < major
}
