package ipxe

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, got string) {
	t.Helper()
	file := filepath.Join("testdata", filepath.FromSlash(t.Name())+".ipxe")
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func discovery() Discovery {
	return Discovery{
		Kernel: "http://10.7.0.2:8080/boot-artifacts/kernel?arch=x86_64&version=1",
		Initrd: "http://10.7.0.2:8080/images/5f0c/pxe-initrd?arch=x86_64&version=1&api_key=c2VjcmV0",
		Rootfs: "http://10.7.0.2:8080/boot-artifacts/rootfs?arch=x86_64&version=1",
	}
}

func TestScript(t *testing.T) {
	t.Run("discovery", func(t *testing.T) {
		got, err := discovery().Script()
		if err != nil {
			t.Fatal(err)
		}
		golden(t, got)
	})
	t.Run("discovery-ipv6", func(t *testing.T) {
		d := discovery()
		for _, u := range []*string{&d.Kernel, &d.Initrd, &d.Rootfs} {
			*u = strings.Replace(*u, "10.7.0.2", "[fd00:7::2]", 1)
		}
		d.Console = []string{"ttyS1,115200n8"}
		d.Args = []string{"rd.neednet=1", "ip=[fd00:7::10]::[fd00:7::1]:64:node:eth0:off", "x=$HOME"}
		got, err := d.Script()
		if err != nil {
			t.Fatal(err)
		}
		golden(t, got)
	})
	t.Run("discovery-retry", func(t *testing.T) {
		d := discovery()
		d.Retry = "http://10.7.0.2:8080/boot.ipxe?mac=52-54-00-00-00-01"
		got, err := d.Script()
		if err != nil {
			t.Fatal(err)
		}
		golden(t, got)
	})
	t.Run("local-disk", func(t *testing.T) { golden(t, LocalDisk()) })
	t.Run("wait", func(t *testing.T) {
		got, err := Wait("No InfraEnv takes this machine yet: create one, then ${boot} it || reboot\nexit", 5*time.Second, "http://10.7.0.2:8080/boot.ipxe?mac=52-54-00-00-00-01")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, got)
	})
}

func TestRefused(t *testing.T) {
	for name, change := range map[string]func(*Discovery){
		"newline in an argument":   func(d *Discovery) { d.Args = []string{"a=b\nshell"} },
		"space in an argument":     func(d *Discovery) { d.Args = []string{"a=b init=/bin/sh"} },
		"expansion in an argument": func(d *Discovery) { d.Args = []string{"a=${net0/mac}"} },
		"separator":                func(d *Discovery) { d.Args = []string{"||"} },
		"comment":                  func(d *Discovery) { d.Args = []string{"#x"} },
		"empty argument":           func(d *Discovery) { d.Args = []string{""} },
		"not ASCII":                func(d *Discovery) { d.Args = []string{"a=ü"} },
		"console":                  func(d *Discovery) { d.Console = []string{"ttyS0 init=/bin/sh"} },
		"newline in a URL":         func(d *Discovery) { d.Kernel += "\nshell" },
		"space in a URL":           func(d *Discovery) { d.Initrd += " x" },
		"expansion in a URL":       func(d *Discovery) { d.Rootfs += "${uuid}" },
		"relative URL":             func(d *Discovery) { d.Kernel = "/boot-artifacts/kernel" },
		"scheme":                   func(d *Discovery) { d.Kernel = "file:///vmlinuz" },
		"no URL":                   func(d *Discovery) { d.Initrd = "" },
	} {
		t.Run(name, func(t *testing.T) {
			d := discovery()
			change(&d)
			if got, err := d.Script(); err == nil {
				t.Errorf("no error, script:\n%s", got)
			}
		})
	}
	if _, err := Wait("x", time.Second, "tftp://10.7.0.2/x"); err == nil {
		t.Error("a wait script takes a TFTP URL")
	}
}

func FuzzScript(f *testing.F) {
	f.Add("a=b", "http://h/k")
	f.Add("a\nshell", "http://h/${x}")
	f.Fuzz(func(t *testing.T, arg, u string) {
		d := discovery()
		want, err := d.Script()
		if err != nil {
			t.Fatal(err)
		}
		d.Args, d.Kernel = []string{arg}, u
		if got, err := d.Script(); err == nil && (strings.Count(got, "\n") != strings.Count(want, "\n") || strings.Contains(got, "${")) {
			t.Errorf("argument %q and URL %q change the script:\n%s", arg, u, got)
		}
		if got, err := Wait(arg, time.Second, "http://h/k"); err != nil || strings.Count(got, "\n") != 5 || strings.Contains(got, "$") {
			t.Errorf("message %q: %v\n%s", arg, err, got)
		}
	})
}
