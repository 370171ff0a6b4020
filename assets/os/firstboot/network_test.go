package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

// machine has ports, as "name MAC".
func machine(t *testing.T, ports ...string) string {
	t.Helper()
	sys := t.TempDir()
	for _, port := range append(ports, "bond9 52:54:00:00:00:0a") {
		name, mac, _ := strings.Cut(port, " ")
		dir := filepath.Join(sys, "class/net", name)
		if err := os.MkdirAll(filepath.Join(dir, "device"), 0o755); err != nil {
			t.Fatal(err)
		}
		if name == "bond9" { // not hardware
			if err := os.Remove(filepath.Join(dir, "device")); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "address"), []byte(mac+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return sys
}

func TestNetworkGolden(t *testing.T) {
	dirs, err := filepath.Glob("testdata/network/*")
	if err != nil || len(dirs) < 2 {
		t.Fatal(dirs, err)
	}
	for _, dir := range dirs {
		var out bytes.Buffer
		if err := network(&out, dir, machine(t, "ens3 52:54:00:00:00:0a", "ens4 52:54:00:00:00:0b")); err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join(dir, "commands")
		if *update {
			if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil || !bytes.Equal(out.Bytes(), want) {
			t.Errorf("%s: %v\n%s", dir, err, &out)
		}
	}
}

func TestNetworkWaitsForAPort(t *testing.T) {
	if err := network(&bytes.Buffer{}, "testdata/network/bond-vlan", machine(t, "ens3 52:54:00:00:00:99")); !errors.Is(err, errNoPort) {
		t.Error(err)
	}
}

// TestQuote: what stands in a keyfile never becomes a command.
func TestQuote(t *testing.T) {
	for _, word := range []string{"a", "", "a b", "'; touch x; '", "$(id)", "`id`", "a\nb"} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf %s "+quote(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q became %q (%v)", word, out, err)
		}
	}
}

// TestNetworkIsBroughtUp runs the commands in a network namespace, with what every kernel has.
func TestNetworkIsBroughtUp(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for a network namespace")
	}
	if out, err := exec.CommandContext(t.Context(), "unshare", "-n", "true").CombinedOutput(); err != nil {
		t.Skipf("no network namespace can be made: %s", out)
	}
	var commands bytes.Buffer
	sys := machine(t, "ens3 52:54:00:00:00:0a", "ens4 52:54:00:00:00:0b")
	if err := network(&commands, "testdata/network/ethernet", sys); err != nil {
		t.Fatal(err)
	}
	script := "set -e; ip link add ens3 type veth peer name peer; ip link set peer up\n" +
		"try() { \"$@\"; }; claim() { :; }; made() { :; }; dhcp() { :; }; dhcp6() { :; }; silent6() { :; }; nameserver() { echo \"nameserver $1\"; }\n" +
		commands.String() + "ip -br addr show dev ens3; ip route; ip -6 route; ip route show table 100"
	out, err := exec.CommandContext(t.Context(), "unshare", "-n", "sh", "-c", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"192.0.2.10/24", "192.0.2.11/24", "2001:db8::10/64", "default via 192.0.2.1 dev ens3", "198.51.100.0/24 via 192.0.2.2 dev ens3",
		"default via fe80::1 dev ens3 metric 50", "203.0.113.0/24 dev ens3 scope link metric 7", "nameserver 2001:db8::53",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func FuzzKeyfile(f *testing.F) {
	f.Add("[connection]\ntype=vlan\ninterface-name=a\n[vlan]\nparent=a\nid=1\n")
	f.Add("[connection]\ntype=ethernet\ninterface-name=a\n[ipv4]\naddress1=,,\nroute1=,\n")
	f.Fuzz(func(t *testing.T, text string) {
		commands, err := plan([]keyfile{parseKeyfile(text)}, nil)
		if err == nil && len(commands) == 0 {
			t.Error("no commands")
		}
	})
}
