package ipxe

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Kind is how a host of IBM Z is started.
type Kind string

// Kinds.
const (
	LPAR Kind = "lpar" // from the HMC
	ZVM  Kind = "zvm"  // from the virtual reader of a guest
	KVM  Kind = "kvm"  // by libvirt
)

const (
	// cardColumns is the length of the records that the reader of z/VM takes. Words are never split: whether the blank after
	// a full card counts depends on how the file was punched.
	cardColumns = 80
	// parmLimit is the command line of kernels before 5.18 (arch/s390: COMMAND_LINE_SIZE 896) without its end.
	parmLimit = 895
)

// Parm is the kernel's command line of a host of IBM Z.
type Parm struct {
	Kind   Kind
	Rootfs string // URL; empty when the initrd is all there is
	// IP are addresses per interface; none leaves it to the initrd, which tries DHCP on what it finds.
	IP          []Address
	Nameservers []netip.Addr
	Channels    []Channel // network devices
	DASD        []DeviceID
	ZFCP        []FCP // more than one path to a LUN is multipath
	// LUNScan lets the kernel attach all LUNs that NPIV shows it instead of those that are named.
	LUNScan bool
	Args    []string
}

// Render gives one or more words per line. The whole has at most 895 bytes, and lines at most 80 columns; longer ones, of one
// word, are taken where no reader cuts them.
func (p Parm) Render() (string, error) {
	words, err := p.words()
	if err != nil {
		return "", err
	}
	var out strings.Builder
	column := 0
	for _, word := range words {
		if err := checkWord(word); err != nil {
			return "", fmt.Errorf("kernel argument %q: %w", word, err)
		}
		// A blank stays free at the end of a card, or the next card's first word would be read together with it.
		if len(word) >= cardColumns && p.Kind == ZVM {
			return "", fmt.Errorf("%q has %d characters; a card of z/VM's reader holds %d, and a word is not split: make it shorter", word, len(word), cardColumns-1)
		}
		switch {
		case column == 0:
		case column+1+len(word) < cardColumns:
			out.WriteByte(' ')
			column++
		default:
			out.WriteByte('\n')
			column = 0
		}
		out.WriteString(word)
		column += len(word)
	}
	out.WriteByte('\n')
	if out.Len() > parmLimit {
		return "", fmt.Errorf("the parm file has %d bytes, a kernel takes %d: name fewer devices, the installed system finds the rest", out.Len(), parmLimit)
	}
	return out.String(), nil
}

func (p Parm) words() ([]string, error) {
	var words []string
	network := len(p.IP)+len(p.Channels)+len(p.Nameservers) > 0
	if p.Rootfs != "" || network {
		words = append(words, "rd.neednet=1")
	}
	switch p.Kind {
	case LPAR, ZVM:
		words = append(words, "cio_ignore=all,!condev", "console=ttysclp0")
	case KVM:
		words = append(words, "console=ttysclp0")
	default:
		return nil, fmt.Errorf("type %q is none of lpar, zvm, kvm", p.Kind)
	}
	words = append(words, "ignition.firstboot", "ignition.platform.id=metal", "random.trust_cpu=on")
	if p.Rootfs != "" {
		if err := checkURL(p.Rootfs); err != nil {
			return nil, fmt.Errorf("rootfs URL: %w", err)
		}
		words = append(words, "coreos.live.rootfs_url="+p.Rootfs)
	}
	devices, err := p.devices()
	if err != nil {
		return nil, err
	}
	for _, address := range p.IP {
		word, err := address.word()
		if err != nil {
			return nil, err
		}
		words = append(words, word)
	}
	for _, server := range p.Nameservers {
		if !server.IsValid() || server.Zone() != "" {
			return nil, fmt.Errorf("nameserver %s is not an address that the initrd can ask", server)
		}
		words = append(words, "nameserver="+bracketed(server))
	}
	if network {
		// Assisted installers keep these addresses on the installed host instead of static network files.
		words = append(words, "ai.ip_cfg_override=1")
	}
	return append(append(words, devices...), p.Args...), nil
}

func (p Parm) devices() ([]string, error) {
	if p.Kind == KVM && len(p.Channels)+len(p.DASD)+len(p.ZFCP) > 0 {
		return nil, errors.New("a guest of KVM has virtio devices, which are not named: leave osa, hipersockets, dasd and zfcp out, or give type lpar or zvm")
	}
	var words []string
	seen := map[DeviceID]string{}
	take := func(id DeviceID, what string) error {
		if other, taken := seen[id]; taken {
			return fmt.Errorf("device %s is named twice, for %s and for %s", id, other, what)
		}
		seen[id] = what
		return nil
	}
	for _, channel := range p.Channels {
		for _, id := range channel.IDs {
			if err := take(id, "the network"); err != nil {
				return nil, err
			}
		}
		words = append(words, channel.word())
	}
	for _, id := range p.DASD {
		if err := take(id, "rd.dasd"); err != nil {
			return nil, err
		}
		words = append(words, "rd.dasd="+id.String())
	}
	paths := map[FCP]bool{}
	luns := map[uint64]int{}
	for _, fcp := range p.ZFCP {
		if what, taken := seen[fcp.Device]; taken {
			return nil, fmt.Errorf("device %s is named twice, for %s and for rd.zfcp", fcp.Device, what)
		}
		if paths[fcp] {
			return nil, fmt.Errorf("zfcp %s is named twice", fcp)
		}
		paths[fcp] = true
		luns[fcp.LUN]++
		words = append(words, "rd.zfcp="+fcp.String())
	}
	if len(p.ZFCP) > 0 {
		words = append(words, "zfcp.allow_lun_scan="+map[bool]string{false: "0", true: "1"}[p.LUNScan])
	}
	for _, count := range luns {
		if count > 1 {
			return append(words, "rd.multipath=default"), nil
		}
	}
	return words, nil
}

// Address is how an interface gets its addresses: from the network, or one that is fixed.
type Address struct {
	Interface string // as encbdf0; empty for any with Auto
	Auto      string // dhcp, dhcp6, auto6 or empty
	Prefix    netip.Prefix
	Gateway   netip.Addr // may be missing
	Hostname  string
}

// ParseAddress reads what the kernel's ip= has: ADDRESS::GATEWAY:NETMASK:HOSTNAME:INTERFACE:none, an address of IPv6 in
// brackets, or INTERFACE:dhcp, or dhcp alone; ADDRESS/BITS may stand for address and netmask.
func ParseAddress(text string) (Address, error) {
	fields := splitColons(strings.TrimPrefix(text, "ip="))
	switch len(fields) {
	case 1:
		return Address{Auto: fields[0]}.checked(text)
	case 2:
		return Address{Interface: fields[0], Auto: fields[1]}.checked(text)
	case 7:
	default:
		return Address{}, fmt.Errorf("ip %q has %d fields, not ADDRESS::GATEWAY:NETMASK:HOSTNAME:INTERFACE:none, INTERFACE:dhcp or dhcp", text, len(fields))
	}
	if fields[1] != "" || (fields[6] != "none" && fields[6] != "off") {
		return Address{}, fmt.Errorf("ip %q: the second field has to be empty and the last none", text)
	}
	a := Address{Interface: fields[5], Hostname: fields[4]}
	var err error
	if a.Prefix, err = parsePrefix(fields[0], fields[3]); err != nil {
		return Address{}, fmt.Errorf("ip %q: %w", text, err)
	}
	if fields[2] != "" {
		if a.Gateway, err = netip.ParseAddr(strings.Trim(fields[2], "[]")); err != nil {
			return Address{}, fmt.Errorf("ip %q: gateway: %w", text, err)
		}
	}
	return a.checked(text)
}

func (a Address) checked(text string) (Address, error) {
	if _, err := a.word(); err != nil {
		return Address{}, fmt.Errorf("ip %q: %w", text, err)
	}
	return a, nil
}

func (a Address) word() (string, error) {
	if a.Auto != "" {
		if a.Auto != "dhcp" && a.Auto != "dhcp6" && a.Auto != "auto6" && a.Auto != "dhcp,dhcp6" {
			return "", fmt.Errorf("%q is none of dhcp, dhcp6, auto6", a.Auto)
		}
		if a.Interface == "" {
			return "ip=" + a.Auto, nil
		}
		return "ip=" + a.Interface + ":" + a.Auto, checkInterface(a.Interface)
	}
	if err := checkInterface(a.Interface); err != nil {
		return "", err
	}
	switch {
	case !a.Prefix.IsValid() || a.Prefix.Addr().IsUnspecified() || a.Prefix.Addr().IsMulticast():
		return "", fmt.Errorf("%s is not the address of a host", a.Prefix)
	case a.Gateway.IsValid() && a.Gateway.Is4() != a.Prefix.Addr().Is4():
		return "", fmt.Errorf("gateway %s is of another family than %s", a.Gateway, a.Prefix)
	case a.Gateway.IsValid() && !a.Gateway.IsLinkLocalUnicast() && !a.Prefix.Contains(a.Gateway):
		return "", fmt.Errorf("gateway %s is not in %s", a.Gateway, a.Prefix.Masked())
	}
	if strings.Trim(a.Hostname, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") != "" || len(a.Hostname) > 253 {
		return "", fmt.Errorf("host name %q is not one", a.Hostname)
	}
	mask := strconv.Itoa(a.Prefix.Bits())
	if a.Prefix.Addr().Is4() {
		mask = netmask(a.Prefix.Bits())
	}
	gateway := ""
	if a.Gateway.IsValid() {
		gateway = bracketed(a.Gateway)
	}
	return "ip=" + strings.Join([]string{bracketed(a.Prefix.Addr()), "", gateway, mask, a.Hostname, a.Interface, "none"}, ":"), nil
}

// checkInterface wants a name that Linux takes.
func checkInterface(name string) error {
	if name == "" || len(name) > 15 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") != "" {
		return fmt.Errorf("interface %q is not a name of at most 15 letters and digits, as encbdf0", name)
	}
	return nil
}

// splitColons leaves the colons inside brackets alone.
func splitColons(text string) []string {
	var fields []string
	start, depth := 0, 0
	for i, r := range text {
		switch {
		case r == '[':
			depth++
		case r == ']':
			depth--
		case r == ':' && depth == 0:
			fields, start = append(fields, text[start:i]), i+1
		}
	}
	return append(fields, text[start:])
}

// parsePrefix reads the netmask as 255.255.255.0 or as a number of bits, or the bits behind the address.
func parsePrefix(address, mask string) (netip.Prefix, error) {
	address = strings.NewReplacer("[", "", "]", "").Replace(address)
	if prefix, err := netip.ParsePrefix(address); err == nil && mask == "" {
		return prefix, nil
	}
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return netip.Prefix{}, err
	}
	if bits, err := strconv.Atoi(mask); err == nil {
		prefix := netip.PrefixFrom(addr, bits)
		if !prefix.IsValid() {
			return netip.Prefix{}, fmt.Errorf("%s has no prefix of %d bits", addr, bits)
		}
		return prefix, nil
	}
	for bits := range 33 {
		if addr.Is4() && netmask(bits) == mask {
			return netip.PrefixFrom(addr, bits), nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("netmask %q is not one, as 255.255.255.0 or 24", mask)
}

func netmask(bits int) string {
	m := ^uint32(0)
	if bits < 32 {
		m = ^(m >> bits)
	}
	return fmt.Sprintf("%d.%d.%d.%d", byte(m>>24), byte(m>>16), byte(m>>8), byte(m))
}

func bracketed(a netip.Addr) string {
	if a.Is4() {
		return a.String()
	}
	return "[" + a.String() + "]"
}
