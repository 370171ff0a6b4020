package site

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"sigs.k8s.io/yaml"
)

// Config of a virtual site.
type Config struct {
	// Dir takes everything that the site writes.
	Dir string
	// Slipway is the binary under rehearsal; slipway-agent lies beside it.
	Slipway string
	// Release and OS are the directories that the recipes made, OSImages further ones like OS. Without a release the appliance waits for one.
	Release, OS string
	OSImages    []string
	// Loaders is the directory of loaders; Debian's iPXE alone when empty.
	Loaders string
	// Segments of the site; the first one's IPv4 is where everything is asked. One with DHCP when there are none.
	Segments []Segment
	// Machines that stand in the site.
	Machines []*Machine
	// Settings are further keys of the appliance's configuration.
	Settings map[string]any
	Log      *slog.Logger
}

// Site is a running virtual site.
type Site struct {
	Config
	appliance *exec.Cmd
	ended     chan error
	// bmcCA signed the certificates of the BMCs, in PEM.
	bmcCA []byte
}

// Domain of every virtual site, and the addresses of its appliance.
const Domain = "site.example"

// Addresses of the appliance on the bridge.
func Addresses() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("10.77.0.2/24")}
}

// Open makes mounts, bridge, cables and disks. Call it inside the namespaces only.
func Open(config Config) (*Site, error) {
	if !Inside() {
		return nil, errors.New("open virtual site: not inside its namespaces, call Enter first")
	}
	if err := os.MkdirAll(config.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make site directory: %w", err)
	}
	if len(config.Segments) == 0 {
		config.Segments = []Segment{soleSegment()}
	}
	if err := mountPrivate(config.Dir, config.Segments[0].Addresses[0].Addr()); err != nil {
		return nil, err
	}
	if err := bringUpLoopback(); err != nil {
		return nil, err
	}
	for _, segment := range config.Segments {
		if err := segment.make(); err != nil {
			return nil, err
		}
	}
	for i, machine := range config.Machines {
		if machine.Segment == "" {
			machine.Segment = config.Segments[0].Name
		}
		if err := machine.prepare(config.Dir, i); err != nil {
			return nil, err
		}
	}
	opened := &Site{Config: config}
	return opened, opened.startBMCs()
}

// StateDir of the appliance.
func (s *Site) StateDir() string {
	return filepath.Join(s.Dir, "state")
}

// Kubeconfig of the management API.
func (s *Site) Kubeconfig() string {
	return filepath.Join(s.StateDir(), "admin.kubeconfig")
}

// ApplianceLog is what the appliance writes to stderr.
func (s *Site) ApplianceLog() string {
	return filepath.Join(s.Dir, "slipway.log")
}

// configuration of the appliance, as a site's staff would write it.
func (s *Site) configuration() ([]byte, error) {
	loaders, err := s.loaders()
	if err != nil {
		return nil, err
	}
	interfaces := map[string]any{}
	for _, segment := range s.Segments {
		dhcp := maps.Clone(segment.DHCP)
		if reservations := s.reservations(segment); dhcp["mode"] == "server" && len(reservations) > 0 {
			dhcp["reservations"] = reservations
		}
		interfaces[segment.Name] = map[string]any{"addresses": segment.Addresses, "dhcp": dhcp}
	}
	config := map[string]any{
		"domain":     Domain,
		"interfaces": interfaces,
		"osImages":   append([]string{s.OS}, s.OSImages...),
		"loaders":    loaders,
	}
	if s.Release != "" {
		config["releases"] = []string{s.Release}
	}
	maps.Copy(config, s.Settings)
	return yaml.Marshal(config)
}

// reservations give the machines of a segment its IPv4 addresses from .10 on.
func (s *Site) reservations(segment Segment) (list []map[string]any) {
	network := segment.Addresses[0].Addr()
	if !network.Is4() {
		return nil
	}
	for i, machine := range s.Machines {
		if machine.Segment != segment.Name {
			continue
		}
		address := network.As4()
		address[3] = byte(10 + i)
		list = append(list, map[string]any{"mac": machine.MAC, "address": netip.AddrFrom4(address).String(), "hostname": machine.Name})
	}
	return list
}

func (s *Site) loaders() (string, error) {
	if s.Loaders != "" {
		return s.Loaders, nil
	}
	loaders := filepath.Join(s.Dir, "loaders")
	if err := os.MkdirAll(loaders, 0o755); err != nil {
		return "", fmt.Errorf("make loader directory: %w", err)
	}
	for _, name := range []string{"undionly.kpxe", "snponly.efi"} {
		loader, err := os.ReadFile(filepath.Join("/usr/lib/ipxe", name))
		if err != nil {
			return "", fmt.Errorf("read loader (package ipxe): %w", err)
		}
		if err := os.WriteFile(filepath.Join(loaders, name), loader, 0o644); err != nil {
			return "", fmt.Errorf("write loader: %w", err)
		}
	}
	return loaders, nil
}

// StartAppliance runs `slipway up` in the site. Use it again after KillAppliance.
func (s *Site) StartAppliance() error {
	config, err := s.configuration()
	if err != nil {
		return err
	}
	path := filepath.Join(s.Dir, "slipway.yaml")
	if err := os.WriteFile(path, config, 0o600); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	log, err := os.OpenFile(s.ApplianceLog(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open appliance log: %w", err)
	}
	defer log.Close()
	s.appliance = exec.Command(s.Slipway, "up", "--state-dir", s.StateDir(), "--config", path)
	s.appliance.Stdout, s.appliance.Stderr = log, log
	s.appliance.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.appliance.Start(); err != nil {
		return fmt.Errorf("start appliance: %w", err)
	}
	s.ended = make(chan error, 1)
	go func(cmd *exec.Cmd, ended chan<- error) { ended <- cmd.Wait() }(s.appliance, s.ended)
	return nil
}

// Ended gives the appliance's end, once.
func (s *Site) Ended() <-chan error {
	return s.ended
}

// KillAppliance is kill -9: nothing is told beforehand.
func (s *Site) KillAppliance() error {
	if err := s.appliance.Process.Kill(); err != nil {
		return fmt.Errorf("kill appliance: %w", err)
	}
	<-s.ended
	return nil
}
