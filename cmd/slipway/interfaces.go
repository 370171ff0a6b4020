package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/slipway-io/slipway/services/api"
)

// Duplicate address detection takes a second or two with the kernel's defaults (RFC 4862 §5.4).
const detectionTime = 10 * time.Second

// checkInterfaces finds what the configuration names on this machine before anything is started, and waits until the
// kernel lets its IPv6 addresses be listened on.
func checkInterfaces(ctx context.Context, config *api.Config) error {
	ctx, cancel := context.WithTimeout(ctx, detectionTime)
	defer cancel()
	var faults []error
	for _, name := range config.InterfaceNames() {
		link, err := netlink.LinkByName(name)
		if err != nil {
			faults = append(faults, fmt.Errorf("interfaces.%s: no such interface on this machine: %s", name, interfaceNames()))
			continue
		}
		for _, want := range config.Interfaces[name].Addresses {
			if err := usable(ctx, link, want.Addr()); err != nil {
				faults = append(faults, fmt.Errorf("interfaces.%s: %w", name, err))
			}
		}
	}
	return errors.Join(faults...)
}

// usable waits for the end of duplicate address detection; listening on a tentative address fails.
func usable(ctx context.Context, link netlink.Link, want netip.Addr) error {
	for {
		addresses, err := netlink.AddrList(link, netlink.FAMILY_ALL)
		if err != nil {
			return fmt.Errorf("read addresses: %w", err)
		}
		flags, err := flagsOf(addresses, want)
		switch {
		case err != nil:
			return err
		case flags&unix.IFA_F_DADFAILED != 0:
			return fmt.Errorf("another machine on this network has address %s already: take it from one of the two", want)
		case flags&unix.IFA_F_TENTATIVE == 0 || flags&unix.IFA_F_OPTIMISTIC != 0:
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("address %s is tentative, still being looked for on the network after %s: is the cable plugged in?", want, detectionTime)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// flagsOf the address among an interface's, which has to be one of them.
func flagsOf(addresses []netlink.Addr, want netip.Addr) (flags int, err error) {
	var has []string
	for _, address := range addresses {
		if found, ok := netip.AddrFromSlice(address.IP); ok && found.Unmap() == want {
			return address.Flags, nil
		}
		has = append(has, address.IPNet.String())
	}
	return 0, fmt.Errorf("address %s is not on the interface, which has %v", want, has)
}

func interfaceNames() string {
	nics, err := net.Interfaces()
	if err != nil {
		return "reading the list: " + err.Error()
	}
	text := "there are"
	for _, nic := range nics {
		text += " " + nic.Name
	}
	return text
}
