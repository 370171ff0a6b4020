package site

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/slipway-io/slipway/services/bmc/scripted"
)

// BMC owns a machine: a scripted one, which listens with HTTPS on addresses of its own in both families.
type BMC struct {
	// Profile of the vendor, by its name in the scripted BMC's profiles; generic when empty.
	Profile string
	// NoMedia takes the virtual CD away, NoHTTP the HTTP boot.
	NoMedia, NoHTTP bool
	// Scheme of the BareMetalHost's address; redfish-virtualmedia when empty.
	Scheme string
	// IPv6 has the BareMetalHost name that address.
	IPv6 bool
	// InfraEnv whose discovery image the machine boots; the appliance's own when empty.
	InfraEnv string

	// Scripted is set by Open.
	Scripted  *scripted.BMC
	addresses [2]netip.Addr
	password  string
	system    string
}

// BMCUser is the account of every BMC.
const BMCUser = "root"

// The networks of BMCs, one address each.
func bmcAddresses(index int) [2]netip.Addr {
	return [2]netip.Addr{netip.AddrFrom4([4]byte{10, 78, 0, byte(10 + index)}), netip.MustParseAddr(fmt.Sprintf("fd07:78::%x", 0x10+index))}
}

// IsBMC says whether an address is a BMC's.
func IsBMC(address netip.Addr) bool {
	return netip.MustParsePrefix("10.78.0.0/24").Contains(address) || netip.MustParsePrefix("fd07:78::/64").Contains(address)
}

// Address as a BareMetalHost has it.
func (b *BMC) Address() string {
	address, scheme := b.addresses[0].String(), b.Scheme
	if b.IPv6 {
		address = "[" + b.addresses[1].String() + "]"
	}
	if scheme == "" {
		scheme = "redfish-virtualmedia"
	}
	return scheme + "://" + address + "/redfish/v1/Systems/" + b.system
}

// BMCRoots trust the certificates of the site's BMCs.
func (s *Site) BMCRoots() *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.bmcCA)
	return roots
}

// startBMCs gives every machine that has a BMC its own, which lives as long as the site. The certificates are one, signed by itself.
func (s *Site) startBMCs() error {
	var names []string
	for i, machine := range s.Machines {
		if machine.BMC != nil {
			machine.BMC.addresses = bmcAddresses(i)
			for _, address := range machine.BMC.addresses {
				names = append(names, address.String())
			}
		}
	}
	if len(names) == 0 {
		return nil
	}
	certificate, err := scripted.SelfSigned(names...)
	if err != nil {
		return fmt.Errorf("certify BMCs: %w", err)
	}
	s.bmcCA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find loopback: %w", err)
	}
	for _, machine := range s.Machines {
		if machine.BMC == nil {
			continue
		}
		if err := machine.BMC.start(machine, loopback, certificate, s.Log); err != nil {
			return fmt.Errorf("start BMC of %s: %w", machine.Name, err)
		}
	}
	return nil
}

func (b *BMC) start(machine *Machine, loopback netlink.Link, certificate *tls.Certificate, log *slog.Logger) error {
	name := b.Profile
	if name == "" {
		name = "generic"
	}
	profiles := scripted.Profiles()
	at := slices.IndexFunc(profiles, func(p scripted.Profile) bool { return p.Name == name })
	if at < 0 {
		return fmt.Errorf("no profile %q", name)
	}
	profile := profiles[at]
	if b.NoMedia {
		profile.Slots = nil
	}
	if b.NoHTTP {
		profile.BootTargets = slices.DeleteFunc(slices.Clone(profile.BootTargets), func(target string) bool { return target == "UefiHttp" })
	}
	b.system, b.password = profile.SystemID, "site-"+machine.Name+"-"+machine.UUID[len(machine.UUID)-4:]
	b.Scripted = scripted.New(profile, scripted.Options{
		Username: BMCUser, Password: b.password, Serial: "SITE-" + machine.Name, MACs: machine.MACs(), Machine: owned{machine}, Certificate: certificate, Log: log,
	})
	for _, address := range b.addresses {
		// Without IFA_F_NODAD an IPv6 address is tentative for a moment, on loopback too, and listening on it fails.
		if err := netlink.AddrAdd(loopback, &netlink.Addr{IPNet: netlink.NewIPNet(address.AsSlice()), Flags: unix.IFA_F_NODAD}); err != nil {
			return fmt.Errorf("add address %s: %w", address, err)
		}
		listener, err := net.Listen("tcp", netip.AddrPortFrom(address, 443).String())
		if err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		go func() {
			if err := b.Scripted.Serve(context.Background(), listener, true); err != nil && log != nil {
				log.Error("BMC ended", "host", machine.Name, "err", err)
			}
		}()
	}
	return nil
}

// owned is a machine as its BMC has it.
type owned struct{ machine *Machine }

// Running as scripted.Powered.
func (o owned) Running() bool { return o.machine.Running() }

// PowerOn from what was chosen for this start.
func (o owned) PowerOn(context.Context) error { return o.machine.PowerOn() }

// PowerOff asks the operating system when graceful, and leaves it time.
func (o owned) PowerOff(ctx context.Context, graceful bool) error {
	if !graceful {
		return o.machine.PowerOff()
	}
	o.machine.mu.Lock()
	defer o.machine.mu.Unlock()
	return o.machine.command(ctx, "system_powerdown", nil)
}

// Reset of a machine for which a source was chosen starts it anew.
func (o owned) Reset(ctx context.Context) error {
	m := o.machine
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.once == "" && m.running() {
		return m.command(ctx, "system_reset", nil)
	}
	return errors.Join(m.powerOff(), m.powerOn())
}

// BootOnce counts for the next start by the BMC; a restart by the operating system does not use it up.
func (o owned) BootOnce(_ context.Context, target, _ string) error {
	o.machine.mu.Lock()
	defer o.machine.mu.Unlock()
	once, known := map[string]source{"None": "", "Pxe": fromNetwork, "Cd": fromCD, "Hdd": fromDisk, "UefiHttp": fromHTTP}[target]
	if !known {
		return fmt.Errorf("boot target %s is unknown", target)
	}
	o.machine.once = once
	return nil
}

// Insert the medium at a URL, while the machine runs or not.
func (o owned) Insert(ctx context.Context, url string) error {
	m := o.machine
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Media = url
	if !m.running() {
		return nil
	}
	return m.command(ctx, "blockdev-change-medium", map[string]any{
		"id": "cd", "force": true, "filename": fmt.Sprintf(`json:{"driver": "raw", "file": {"driver": "http", "readahead": 1048576, "url": %q}}`, url),
	})
}

// Eject whatever the operating system says to it.
func (o owned) Eject(ctx context.Context) error {
	m := o.machine
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Media = ""
	if !m.running() {
		return nil
	}
	return m.command(ctx, "eject", map[string]any{"id": "cd", "force": true})
}

// Password of its account.
func (b *BMC) Password() string { return b.password }
