package ipxe

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// overTFTP is a discovery whose kernel and initrd are paths on the server.
func overTFTP() Discovery {
	d := discovery()
	d.Kernel = "/boot/os/x86_64/1/kernel"
	d.Initrd = "/boot/images/5ab6ea6e-6b1e-4c0a-9d0e-3c8d2b6a9f10/0123/x86_64/1/initrd.img"
	return d
}

func TestGRUB(t *testing.T) {
	for name, render := range map[string]func() (string, error){
		"loader":     func() (string, error) { return GRUBLoader("/boot/at") },
		"discovery":  overTFTP().GRUB,
		"local-disk": func() (string, error) { return GRUBLocalDisk(), nil },
		"wait": func() (string, error) {
			return GRUBWait("No InfraEnv takes this machine's card yet: ${boot} it || 'reboot'\nexit", 5*time.Second), nil
		},
		"no-rootfs": func() (string, error) {
			d := overTFTP()
			d.Rootfs, d.Console, d.Args = "", []string{}, []string{"rd.neednet=1", "x=$HOME;y&z"}
			return d.GRUB()
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := render()
			if err != nil {
				t.Fatal(err)
			}
			golden(t, got)
		})
	}
}

func TestPXELINUX(t *testing.T) {
	for name, render := range map[string]func() (string, error){
		"discovery":  overTFTP().PXELINUX,
		"local-disk": func() (string, error) { return PXELINUXLocalDisk(), nil },
		"wait": func() (string, error) {
			return PXELINUXWait("No InfraEnv takes this machine yet", 3*time.Second, "/pxelinux.cfg/01-52-54-00-00-00-01")
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := render()
			if err != nil {
				t.Fatal(err)
			}
			golden(t, got)
		})
	}
	long := overTFTP()
	for range 200 {
		long.Args = append(long.Args, "argument=0123456789")
	}
	if _, err := long.PXELINUX(); err == nil {
		t.Error("an APPEND line of 4000 characters is taken")
	}
}

func TestRefusedByGRUB(t *testing.T) {
	for name, change := range map[string]func(*Discovery){
		"quotation":           func(d *Discovery) { d.Args = []string{"a='b'"} },
		"double quotation":    func(d *Discovery) { d.Args = []string{`a="b"`} },
		"backslash":           func(d *Discovery) { d.Args = []string{`a=\b`} },
		"newline":             func(d *Discovery) { d.Args = []string{"a\nreboot"} },
		"URL as a path":       func(d *Discovery) { d.Kernel = "http://10.7.0.2/kernel" },
		"relative path":       func(d *Discovery) { d.Kernel = "kernel" },
		"path that climbs":    func(d *Discovery) { d.Initrd = "/boot/../x" },
		"expansion in a path": func(d *Discovery) { d.Initrd = "/boot/$x" },
		"rootfs":              func(d *Discovery) { d.Rootfs = "tftp://10.7.0.2/x" },
	} {
		t.Run(name, func(t *testing.T) {
			d := overTFTP()
			change(&d)
			if got, err := d.GRUB(); err == nil {
				t.Errorf("no error, configuration:\n%s", got)
			}
		})
	}
}

func TestIns(t *testing.T) {
	got, err := Ins{Kernel: "boot/os/s390x/1/kernel", Initrd: "initrd.img", Parm: "generic.prm", AddrSize: "initrd.addrsize"}.File()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, got)
	for _, bad := range []string{"", "a b", "a\n0x0 y", strings.Repeat("x", 256), "../x"} {
		if got, err := (Ins{Kernel: bad, Initrd: "i", Parm: "p", AddrSize: "a"}).File(); err == nil {
			t.Errorf("name %q is taken:\n%s", bad, got)
		}
	}
	if got := AddrSize(0x0123456789); !bytes.Equal(got, []byte{0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 1, 0x23, 0x45, 0x67, 0x89}) {
		t.Errorf("initrd.addrsize is % x", got)
	}
}

// parm reads the values as the command line has them.
func parm(t *testing.T, kind Kind, ip, channels, dasd, zfcp []string) Parm {
	t.Helper()
	p := Parm{Kind: kind, Rootfs: "http://10.7.0.2:8080/boot/os/s390x/12.11-0123abcd/rootfs"}
	for _, text := range ip {
		p.IP = append(p.IP, must(t, ParseAddress, text))
	}
	for _, text := range channels {
		p.Channels = append(p.Channels, must(t, ParseChannel, text))
	}
	for _, text := range dasd {
		p.DASD = append(p.DASD, must(t, ParseDeviceID, text))
	}
	for _, text := range zfcp {
		p.ZFCP = append(p.ZFCP, must(t, ParseFCP, text))
	}
	return p
}

func must[T any](t *testing.T, parse func(string) (T, error), text string) T {
	t.Helper()
	value, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func TestParm(t *testing.T) {
	for name, p := range map[string]Parm{
		"lpar-osa-dasd": parm(t, LPAR, []string{"10.7.0.20::10.7.0.1:255.255.255.0:zworker0:encbdf0:none"},
			[]string{"0.0.bdf0,0.0.bdf1,0.0.bdf2"}, []string{"0.0.5d0a"}, nil),
		"lpar-two-networks": parm(t, LPAR,
			[]string{"10.7.0.20::10.7.0.1:24::encbdf0:none", "[fd00:7::20]::[fd00:7::1]:64:zworker0:encbdf0:none", "enc8000:dhcp"},
			[]string{"0.0.bdf0,0.0.bdf1,0.0.bdf2,portno=1", "8000,8001,8002,layer2=0"}, []string{"0.0.5d0a", "0.1.5d0b"}, nil),
		"zvm-zfcp-multipath": parm(t, ZVM, []string{"dhcp"}, []string{"0.0.0600,0.0.0601,0.0.0602"}, nil,
			[]string{"0.0.1900,0x500507630a0b0c0d,0x4010400000000000", "0.0.1940,0x500507630a4b0c0d,0x4010400000000000"}),
		"kvm": parm(t, KVM, nil, nil, nil, nil),
	} {
		t.Run(name, func(t *testing.T) {
			if name == "lpar-two-networks" {
				p.Nameservers = []netip.Addr{netip.MustParseAddr("10.7.0.2"), netip.MustParseAddr("fd00:7::2")}
			}
			got, err := p.Render()
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(got) {
				if len(line) > cardColumns {
					t.Errorf("line of %d columns: %s", len(line), line)
				}
			}
			golden(t, got)
		})
	}
}

func TestParmRefused(t *testing.T) {
	osa := []string{"0.0.bdf0,0.0.bdf1,0.0.bdf2"}
	many := parm(t, LPAR, nil, osa, nil, nil)
	for i := range 60 {
		many.DASD = append(many.DASD, DeviceID{Number: uint16(0x5000 + i)})
	}
	long := parm(t, ZVM, nil, nil, nil, nil)
	long.Rootfs = "http://[2001:db8:1234:5678:9abc:def0:1234:5678]:8080/boot/os/s390x/12.11-0123456789abcdef/rootfs"
	argument := parm(t, KVM, nil, nil, nil, nil)
	argument.Args = []string{"a b"}
	twice := parm(t, LPAR, nil, osa, []string{"0.0.bdf0"}, nil)
	for name, p := range map[string]Parm{
		"more than 895 bytes": many, "a word wider than a card": long, "two words in one": argument, "a device twice": twice,
		"channel devices on KVM": parm(t, KVM, nil, osa, nil, nil), "no type": {},
		"a path twice": parm(t, ZVM, nil, nil, nil, []string{"1900,0x500507630a0b0c0d,0x4010400000000000", "0.0.1900,0x500507630a0b0c0d,0x4010400000000000"}),
	} {
		if got, err := p.Render(); err == nil {
			t.Errorf("%s is taken:\n%s", name, got)
		}
	}
	for _, text := range []string{
		"", "x", "10.7.0.20", "10.7.0.20::10.8.0.1:24::enc1:none", "10.7.0.20::[fd00::1]:24::enc1:none", "10.7.0.20:::24::enc1 x:none",
		"10.7.0.20:::255.0.255.0::enc1:none", "10.7.0.20:::33::enc1:none", "10.7.0.20::::::none", "10.7.0.20:1.2.3.4::24::enc1:none",
		"224.0.0.1:::24::enc1:none", "10.7.0.20:::24:a b:enc1:none", "enc1:static", "10.7.0.20:::24::enc1:dhcp",
	} {
		if a, err := ParseAddress(text); err == nil {
			t.Errorf("ip %q is taken as %+v", text, a)
		}
	}
	for _, text := range []string{"", "0.0.bdf0", "0.0.bdf0,0.0.bdf1", "0.0.bdf0,0.0.bdf1,0.0.xyz1", "0.0.bdf0,0.0.bdf1,0.0.bdf2,layer2=2", "0.0.bdf0,0.0.bdf1,0.0.bdf2,x=1"} {
		if c, err := ParseChannel(text); err == nil {
			t.Errorf("channel %q is taken as %+v", text, c)
		}
	}
	for _, text := range []string{"", "1.0.5d0a", "0.4.5d0a", "0.0.5d0", "0.0.5d0a0", "0.5d0a", "0.0.5d0g"} {
		if id, err := ParseDeviceID(text); err == nil {
			t.Errorf("device %q is taken as %s", text, id)
		}
	}
	for _, text := range []string{"", "0.0.1900", "0.0.1900,500507630a0b0c0d,0x4010400000000000", "0.0.1900,0x5005,0x4010400000000000", "x,0x500507630a0b0c0d,0x4010400000000000"} {
		if f, err := ParseFCP(text); err == nil {
			t.Errorf("zfcp %q is taken as %s", text, f)
		}
	}
}

func FuzzGRUB(f *testing.F) {
	f.Add("a=b", "/k", "text")
	f.Add("a'\nreboot", "/$x", "it's")
	f.Fuzz(func(t *testing.T, arg, path, message string) {
		d := overTFTP()
		want, err := d.GRUB()
		if err != nil {
			t.Fatal(err)
		}
		d.Args, d.Kernel = []string{arg}, path
		if got, err := d.GRUB(); err == nil && (strings.Count(got, "\n") != strings.Count(want, "\n") || strings.Count(got, "'") != strings.Count(want, "'")+2) {
			t.Errorf("argument %q and path %q change the configuration:\n%s", arg, path, got)
		}
		if got := GRUBWait(message, time.Second); strings.Count(got, "\n") != 2 || strings.Count(got, "'") != 2 {
			t.Errorf("message %q changes the configuration:\n%s", message, got)
		}
	})
}

func FuzzParm(f *testing.F) {
	f.Add("10.7.0.20::10.7.0.1:255.255.255.0:zworker0:encbdf0:none", "0.0.bdf0,0.0.bdf1,0.0.bdf2", "0.0.1900,0x500507630a0b0c0d,0x4010400000000000")
	f.Add("[fd00:7::20]::[fd00:7::1]:64:zworker0:encbdf0:none", "8000,8001,8002,layer2=0", "")
	f.Fuzz(func(t *testing.T, ip, channel, zfcp string) {
		p := Parm{Kind: ZVM}
		if a, err := ParseAddress(ip); err == nil {
			p.IP = append(p.IP, a)
		}
		if c, err := ParseChannel(channel); err == nil {
			p.Channels = append(p.Channels, c)
		}
		if z, err := ParseFCP(zfcp); err == nil {
			p.ZFCP = append(p.ZFCP, z)
		}
		got, err := p.Render()
		if err != nil {
			return
		}
		if want := 6 + 3*min(1, len(p.IP)+len(p.Channels)); len(strings.Fields(got)) > want+8 {
			t.Errorf("%q %q %q make more words than they are:\n%s", ip, channel, zfcp, got)
		}
		for line := range strings.Lines(got) {
			if len(line) > cardColumns {
				t.Errorf("line of %d columns: %s", len(line), line)
			}
		}
	})
}
