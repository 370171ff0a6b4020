package ipxe

import (
	"fmt"
	"strconv"
	"strings"
)

// DeviceID is a device of the channel subsystem, as 0.0.bdf0.
type DeviceID struct {
	SubchannelSet uint8 // 0 to 3
	Number        uint16
}

// ParseDeviceID takes 0.0.bdf0, or bdf0 alone as z/VM writes it.
func ParseDeviceID(text string) (DeviceID, error) {
	parts := strings.Split(strings.ToLower(text), ".")
	number := parts[len(parts)-1]
	n, err := strconv.ParseUint(number, 16, 16)
	set := uint64(0)
	if err == nil && len(parts) == 3 {
		set, err = strconv.ParseUint(parts[1], 10, 2)
	}
	if err != nil || (len(parts) != 1 && (len(parts) != 3 || parts[0] != "0")) || len(number) != 4 {
		return DeviceID{}, fmt.Errorf("device %q is not a device number, as 0.0.bdf0 (0, subchannel set, four hexadecimal digits)", text)
	}
	return DeviceID{uint8(set), uint16(n)}, nil
}

func (d DeviceID) String() string { return fmt.Sprintf("0.%d.%04x", d.SubchannelSet, d.Number) }

// Channel is a network device: an OSA port or HiperSockets.
type Channel struct {
	Driver string // qeth
	IDs    []DeviceID
	Layer2 bool
	Port   int // of an OSA card with two: 0 or 1
}

// ParseChannel takes READ,WRITE,DATA and options, as 0.0.bdf0,0.0.bdf1,0.0.bdf2[,layer2=0|1][,portno=0|1]. Layer 2 is what
// DHCP and IPv6 need, and the default.
func ParseChannel(text string) (Channel, error) {
	c := Channel{Driver: "qeth", Layer2: true}
	for _, part := range strings.Split(text, ",") {
		key, value, option := strings.Cut(part, "=")
		if !option {
			id, err := ParseDeviceID(part)
			if err != nil {
				return Channel{}, err
			}
			c.IDs = append(c.IDs, id)
			continue
		}
		switch {
		case key == "layer2" && (value == "0" || value == "1"):
			c.Layer2 = value == "1"
		case key == "portno" && (value == "0" || value == "1"):
			c.Port = int(value[0] - '0')
		default:
			return Channel{}, fmt.Errorf("network device %q: option %q is none of layer2=0, layer2=1, portno=0, portno=1", text, part)
		}
	}
	if len(c.IDs) != 3 {
		return Channel{}, fmt.Errorf("network device %q names %d devices, not three: read, write and data", text, len(c.IDs))
	}
	return c, nil
}

func (c Channel) word() string {
	words := []string{"rd.znet=" + c.Driver}
	for _, id := range c.IDs {
		words = append(words, id.String())
	}
	layer := "layer2=0"
	if c.Layer2 {
		layer = "layer2=1"
	}
	words = append(words, layer)
	if c.Port > 0 {
		words = append(words, "portno="+strconv.Itoa(c.Port))
	}
	return strings.Join(words, ",")
}

// FCP is one path to a LUN.
type FCP struct {
	Device    DeviceID
	WWPN, LUN uint64
}

// ParseFCP takes DEVICE,WWPN,LUN, as 0.0.1900,0x500507630a0b0c0d,0x4010400000000000.
func ParseFCP(text string) (FCP, error) {
	parts := strings.Split(text, ",")
	if len(parts) != 3 {
		return FCP{}, fmt.Errorf("zfcp %q is not DEVICE,WWPN,LUN", text)
	}
	device, err := ParseDeviceID(parts[0])
	if err != nil {
		return FCP{}, fmt.Errorf("zfcp: %w", err)
	}
	f := FCP{Device: device}
	for _, number := range []struct {
		what, text string
		to         *uint64
	}{{"WWPN", parts[1], &f.WWPN}, {"LUN", parts[2], &f.LUN}} {
		digits, prefixed := strings.CutPrefix(strings.ToLower(number.text), "0x")
		value, err := strconv.ParseUint(digits, 16, 64)
		if err != nil || !prefixed || len(digits) != 16 {
			return FCP{}, fmt.Errorf("zfcp %q: %s %q is not 0x and sixteen hexadecimal digits", text, number.what, number.text)
		}
		*number.to = value
	}
	return f, nil
}

func (f FCP) String() string { return fmt.Sprintf("%s,0x%016x,0x%016x", f.Device, f.WWPN, f.LUN) }
