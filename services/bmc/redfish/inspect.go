package redfish

import (
	"context"
	"fmt"
	"net"
	"strings"

	"github.com/stmcginnis/gofish/schemas"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-io/slipway/services/bmc"
)

// Inspect reads what the BMC knows of the machine. What a BMC does not have is left empty; what it cannot tell now is an
// error, because half a machine must not be taken for the whole.
func (c *Client) Inspect(ctx context.Context) (bmc.Hardware, error) {
	s, err := c.system(ctx)
	if err != nil {
		return bmc.Hardware{}, fmt.Errorf("inspect: %w", err)
	}
	h := bmc.Hardware{
		Manufacturer: s.Manufacturer, Product: s.Model, Serial: s.SerialNumber, AssetTag: s.AssetTag, Hostname: s.HostName, UUID: s.UUID,
		BIOS: bmc.Firmware{Vendor: s.Manufacturer, Version: s.BiosVersion},
		RAM:  int(s.MemorySummary.TotalSystemMemoryGiB * 1024),
		CPU:  bmc.CPU{Model: s.ProcessorSummary.Model, Count: max(s.ProcessorSummary.LogicalProcessorCount, s.ProcessorSummary.Count)},
	}
	// Each fills fields of its own.
	group, ctx := errgroup.WithContext(ctx)
	for _, part := range []func(context.Context, *system, *bmc.Hardware) error{c.processors, c.nics, c.drives} {
		group.Go(func() error { return part(ctx, s, &h) })
	}
	if err := group.Wait(); err != nil {
		return bmc.Hardware{}, fmt.Errorf("inspect: %w", err)
	}
	return h, nil
}

// each reads the members of a collection; one that does not exist, or that is not as Redfish has it, is skipped (ZTE's
// processors, Cisco's missing interfaces).
func each[T any, P schemas.GenericSchemaObjectPointer[T]](ctx context.Context, c *Client, collection string, use func(*T)) error {
	if collection == "" {
		return nil
	}
	members, err := c.members(ctx, collection)
	if err != nil {
		return c.unlessMissing(collection, err)
	}
	return objects[T, P](ctx, c, members, use)
}

func objects[T any, P schemas.GenericSchemaObjectPointer[T]](ctx context.Context, c *Client, paths []string, use func(*T)) error {
	api := c.shared.api.WithContext(ctx)
	for _, path := range paths {
		object, err := schemas.GetObject[T, P](api, path)
		if err != nil {
			if err := c.unlessMissing(path, asFault("read "+path, err)); err != nil {
				return err
			}
			continue
		}
		use(object)
	}
	return nil
}

func (c *Client) unlessMissing(path string, err error) error {
	switch kind := bmc.Kind(err); {
	case kind == bmc.Unsupported, kind == bmc.Protocol && !strings.Contains(err.Error(), "is cut"):
		c.shared.log.Debug("left out of the inspection", "path", path, "err", err)
		return nil
	}
	return err
}

var architectures = map[schemas.InstructionSet]string{
	schemas.X8664InstructionSet: "x86_64", schemas.ARMA64InstructionSet: "aarch64",
}

func (c *Client) processors(ctx context.Context, s *system, h *bmc.Hardware) error {
	threads := 0
	err := each(ctx, c, s.Processors.ID, func(p *schemas.Processor) {
		if p.ProcessorType != "" && p.ProcessorType != schemas.CPUProcessorType {
			return
		}
		if p.TotalThreads != nil {
			threads += *p.TotalThreads
		}
		if p.MaxSpeedMHz != nil {
			h.CPU.MHz = max(h.CPU.MHz, *p.MaxSpeedMHz)
		}
		if p.Model != "" {
			h.CPU.Model = p.Model
		}
		switch {
		case architectures[p.InstructionSet] != "":
			h.CPU.Architecture = architectures[p.InstructionSet]
		case p.ProcessorArchitecture == schemas.X86ProcessorArchitecture:
			h.CPU.Architecture = "x86_64"
		case p.ProcessorArchitecture == schemas.ARMProcessorArchitecture:
			h.CPU.Architecture = "aarch64"
		}
	})
	if threads > 0 {
		h.CPU.Count = threads
	}
	return err
}

func (c *Client) nics(ctx context.Context, s *system, h *bmc.Hardware) error {
	seen := map[string]bool{}
	return each(ctx, c, s.EthernetInterfaces.ID, func(e *schemas.EthernetInterface) {
		address := e.PermanentMACAddress
		if address == "" {
			address = e.MACAddress
		}
		mac, err := net.ParseMAC(strings.TrimSpace(address))
		// Empty ports have an empty or a zero address.
		if err != nil || len(mac) != 6 || mac.String() == "00:00:00:00:00:00" || seen[mac.String()] {
			return
		}
		seen[mac.String()] = true
		nic := bmc.NIC{Name: e.ID, Model: e.Name, MAC: mac.String(), Up: e.LinkStatus == schemas.LinkUpLinkStatus}
		if e.SpeedMbps != nil {
			nic.Gbps = *e.SpeedMbps / 1000
		}
		h.NICs = append(h.NICs, nic)
	})
}

func (c *Client) drives(ctx context.Context, s *system, h *bmc.Hardware) error {
	var paths []string
	controllers, err := c.memberPaths(ctx, s.Storage.ID)
	if err != nil {
		return err
	}
	for _, controller := range controllers {
		var storage struct{ Drives []ref }
		if _, err := c.get(ctx, controller, &storage); err != nil {
			if err := c.unlessMissing(controller, err); err != nil {
				return err
			}
		}
		for _, drive := range storage.Drives {
			if len(paths) < maxMembers {
				paths = append(paths, drive.ID)
			}
		}
	}
	if err := objects(ctx, c, paths, func(d *schemas.Drive) { h.Storage = append(h.Storage, drive(d)) }); err != nil {
		return err
	}
	if len(h.Storage) > 0 {
		return nil
	}
	return each(ctx, c, s.SimpleStorage.ID, func(simple *schemas.SimpleStorage) {
		for _, device := range simple.Devices {
			if device.CapacityBytes != nil && len(h.Storage) < maxMembers {
				h.Storage = append(h.Storage, bmc.Drive{Name: device.Name, Vendor: device.Manufacturer, Model: device.Model, Bytes: int64(*device.CapacityBytes)})
			}
		}
	})
}

func (c *Client) memberPaths(ctx context.Context, collection string) ([]string, error) {
	if collection == "" {
		return nil, nil
	}
	members, err := c.members(ctx, collection)
	if err != nil {
		return nil, c.unlessMissing(collection, err)
	}
	return members, nil
}

func drive(d *schemas.Drive) bmc.Drive {
	out := bmc.Drive{Name: d.ID, Vendor: d.Manufacturer, Model: d.Model, Serial: d.SerialNumber, Type: string(d.MediaType)}
	if d.CapacityBytes != nil {
		out.Bytes = int64(*d.CapacityBytes)
	}
	for _, id := range d.Identifiers {
		if id.DurableNameFormat == schemas.NAADurableNameFormat || id.DurableNameFormat == schemas.EUIDurableNameFormat {
			out.WWN = strings.ToLower(id.DurableName)
		}
	}
	switch {
	case d.Protocol == schemas.NVMeProtocol:
		out.Type = "NVME"
	case d.MediaType == schemas.HDDMediaType || d.MediaType == schemas.SMRMediaType:
		out.Type, out.Rotational = "HDD", true
	}
	return out
}
