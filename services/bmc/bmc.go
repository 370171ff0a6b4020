// Package bmc is the BMC interface; redfish/ is the real one, and a scripted BMC for tests.
package bmc

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"log/slog"
	"time"
)

// Credentials of an account on a BMC. Printed in any way they show no password.
type Credentials struct{ Username, Password string }

// String has the user's name alone.
func (c Credentials) String() string { return c.Username + ":(hidden)" }

// GoString is what %#v prints.
func (c Credentials) GoString() string { return "bmc.Credentials{" + c.String() + "}" }

// LogValue is what slog prints.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText keeps them out of JSON.
func (c Credentials) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// digest tells credentials apart without keeping them.
func (c Credentials) digest() [sha256.Size]byte {
	return sha256.Sum256([]byte(c.Username + "\x00" + c.Password))
}

// Config is all that is needed to open a BMC.
type Config struct {
	Address     Address
	Credentials Credentials
	// TLS has RootCAs, or InsecureSkipVerify where the host asks for that. It is cloned; nil trusts the system's roots.
	TLS *tls.Config
	Log *slog.Logger
	// Wait between tries; nil waits that long. Tests wait less.
	Wait func(ctx context.Context, d time.Duration) error
	// Asked is told of every request: its method, the class of the answer's status such as 2xx or else the FaultKind, and how long it
	// took; nil: nobody is.
	Asked func(method, result string, took time.Duration)
}

// Power is a machine's state.
type Power string

// The states that Redfish has; Unknown is what a BMC says while it starts itself.
const (
	On          Power = "On"
	Off         Power = "Off"
	PoweringOn  Power = "PoweringOn"
	PoweringOff Power = "PoweringOff"
	Unknown     Power = "Unknown"
)

// Boot is what a machine starts from, once.
type Boot string

// The targets. BootNone takes an override back.
const (
	BootNone Boot = "None"
	BootPXE  Boot = "PXE"
	BootCD   Boot = "CD"
	BootHTTP Boot = "HTTP"
	BootDisk Boot = "Disk"
)

// Capabilities of one system behind a BMC, as the BMC describes them.
type Capabilities struct {
	VirtualMedia, UEFIHTTP, PXE, BIOS bool
	Vendor, Model                     string
}

// Attribute is what the BMC's registry says about one BIOS attribute.
type Attribute struct {
	// Type is Enumeration, String, Integer, Boolean or Password; empty when there is no registry.
	Type                 string
	Values               []string
	Lower, Upper         *int
	MinLength, MaxLength *int
	ReadOnly, Unique     bool
}

// AttributeSchema is by attribute name.
type AttributeSchema map[string]Attribute

// Hardware is what out-of-band inspection finds.
type Hardware struct {
	Manufacturer, Product, Serial string
	AssetTag, Hostname, UUID      string
	BIOS                          Firmware
	CPU                           CPU
	// RAM in MiB.
	RAM     int
	NICs    []NIC
	Storage []Drive
}

// Firmware is that of the machine, not of its BMC.
type Firmware struct{ Vendor, Version, Date string }

// CPU sums up the processors.
type CPU struct {
	// Architecture is x86_64, aarch64 or empty.
	Architecture, Model string
	// MHz of the fastest; Count of threads.
	MHz, Count int
	Flags      []string
}

// NIC is one port.
type NIC struct {
	Name, Model string
	// MAC in lower case with colons.
	MAC string
	// Gbps is 0 when nothing is plugged in or the BMC does not tell.
	Gbps int
	Up   bool
}

// Drive is one disk, which has no Linux name yet.
type Drive struct {
	Name, Vendor, Model, Serial, WWN string
	Bytes                            int64
	// Type is HDD, SSD or NVME, empty when the BMC does not tell.
	Type       string
	Rotational bool
}
