package nmstate

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

var ports = []Interface{{"eth0", "52:54:00:00:00:0a"}, {"eth1", "52-54-00-00-00-0B"}}

func text(files map[string][]byte) []byte {
	var all bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&all, "=== %s\n%s\n", name, files[name])
	}
	return all.Bytes()
}

func examples(t testing.TB) map[string][]byte {
	found, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(found) < 4 {
		t.Fatalf("%v %v", found, err)
	}
	all := map[string][]byte{}
	for _, path := range found {
		config, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(path, ".yaml")] = config
	}
	return all
}

func TestKeyfiles(t *testing.T) {
	for name, config := range examples(t) {
		files, err := Keyfiles(Host{"", config, ports})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := text(files)
		if *update {
			if err := os.WriteFile(name+".txt", got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(name + ".txt")
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v\n%s", name, err, got)
		}
	}
}

// TestNetworkManagerTakesThem asks the parser of NetworkManager, which needs no daemon.
func TestNetworkManagerTakesThem(t *testing.T) {
	nmcli, err := exec.LookPath("nmcli")
	if err != nil {
		t.Skip("there is no nmcli (package network-manager)")
	}
	for name, config := range examples(t) {
		files, err := Keyfiles(Host{"", config, ports})
		if err != nil {
			t.Fatal(err)
		}
		for file, content := range files {
			read := exec.CommandContext(t.Context(), nmcli, "--offline", "connection", "modify", "connection.lldp", "disable")
			read.Stdin = bytes.NewReader(content)
			out, err := read.CombinedOutput()
			if err != nil {
				t.Errorf("%s %s: %v %s", name, file, err, out)
			}
			for line := range strings.Lines(string(content)) {
				if key, _, ok := strings.Cut(line, "="); ok && !said(string(out), key) {
					t.Errorf("%s %s: NetworkManager has lost %q\n%s", name, file, line, out)
				}
			}
		}
	}
}

// said allows for values that NetworkManager leaves out because they are its own.
func said(keyfile, key string) bool {
	own := []string{"autoconnect", "priority", "forward-delay", "hello-time", "max-age", "path-cost", "dns-priority"}
	return slices.Contains(own, key) || strings.Contains(keyfile, "\n"+key+"=") ||
		strings.HasPrefix(key, "master") && strings.Contains(keyfile, "\ncontroller=") || key == "slave-type" && strings.Contains(keyfile, "\nport-type=")
}

func TestFaults(t *testing.T) {
	const up = "interfaces:\n- {name: eth0, type: ethernet, ipv4: {dhcp: true}}\n"
	for want, config := range map[string]string{
		"interfaces[1].ovs-db: this key is not supported":                  up + "- {name: eth1, type: ethernet, ovs-db: {}}",
		"ovn: this key is not supported":                                   "ovn: {}",
		"interfaces[0].type: \"ovs-bridge\" is not supported":              "interfaces: [{name: x, type: ovs-bridge}]",
		"interfaces[0].type: the type is missing":                          "interfaces: [{name: eth0}]",
		"interfaces[0].name: the interface has no name":                    "interfaces: [{type: ethernet}]",
		"interfaces[0].name: eth5 has no MAC address":                      "interfaces: [{name: eth5, type: ethernet}]",
		"interfaces[0].name: \"a/b\" is no interface name":                 "interfaces: [{name: a/b, type: ethernet}]",
		"interfaces[0].name: eth0 is a port with a MAC address":            "interfaces: [{name: eth0, type: bond, link-aggregation: {mode: 0, port: [eth1]}}]",
		"interfaces[1].name: interface eth0 is there twice":                up + "- {name: eth0, type: ethernet}",
		"interfaces[0].state: \"ignore\" is not supported":                 "interfaces: [{name: eth0, type: ethernet, state: ignore}]",
		"interfaces[0].mtu: 9 is no number from 68":                        "interfaces: [{name: eth0, type: ethernet, mtu: 9}]",
		"interfaces[0].mtu: IPv6 needs at least 1280":                      "interfaces: [{name: eth0, type: ethernet, mtu: 1000, ipv6: {enabled: true}}]",
		"interfaces[0].ipv4.dhcp: \"yes\" is neither":                      "interfaces: [{name: eth0, type: ethernet, ipv4: {dhcp: \"yes\"}}]",
		"interfaces[0].ipv4.address[0].ip: 2001:db8::1 is of the other":    "interfaces: [{name: eth0, type: ethernet, ipv4: {address: [{ip: '2001:db8::1', prefix-length: 24}]}}]",
		"interfaces[0].ipv4.address[0].prefix-length: the length":          "interfaces: [{name: eth0, type: ethernet, ipv4: {address: [{ip: 192.0.2.1}]}}]",
		"interfaces[0].ipv4.address[1].ip: 192.0.2.1 is there twice":       "interfaces: [{name: eth0, type: ethernet, ipv4: {address: [{ip: 192.0.2.1, prefix-length: 24}, {ip: 192.0.2.1, prefix-length: 24}]}}]",
		"interfaces[0].ipv4.enabled: IPv4 needs dhcp: true or an address":  "interfaces: [{name: eth0, type: ethernet, ipv4: {enabled: true}}]",
		"interfaces[0].ipv6.autoconf: NetworkManager cannot":               "interfaces: [{name: eth0, type: ethernet, ipv6: {autoconf: true}}]",
		"interfaces[1].vlan.base-iface: there is no interface bond9":       up + "- {name: v, type: vlan, vlan: {base-iface: bond9, id: 1}}",
		"interfaces[1].vlan.id: 4095 is no number from 1 to 4094":          up + "- {name: v, type: vlan, vlan: {base-iface: eth0, id: 4095}}",
		"interfaces[0]: v is made of itself":                               "interfaces: [{name: v, type: vlan, vlan: {base-iface: v, id: 1}}]",
		"interfaces[0]: a is made of itself":                               "interfaces: [{name: a, type: vlan, vlan: {base-iface: b, id: 1}}, {name: b, type: vlan, vlan: {base-iface: a, id: 1}}]",
		"interfaces[0]: v is made of itself\ninterfaces[1]: bond0":         "interfaces: [{name: v, type: vlan, vlan: {base-iface: bond0, id: 1}}, {name: bond0, type: bond, link-aggregation: {mode: 0, port: [v]}}]",
		"interfaces[0].link-aggregation.mode: \"fast\" is no mode":         "interfaces: [{name: b, type: bond, link-aggregation: {mode: fast, port: [eth0]}}]",
		"interfaces[0].link-aggregation.port: a bond needs ports":          "interfaces: [{name: b, type: bond, link-aggregation: {mode: 1}}]",
		"interfaces[0].link-aggregation.options.primary: \"eth1\"":         "interfaces: [{name: b, type: bond, link-aggregation: {mode: 1, port: [eth0], options: {primary: eth1}}}]",
		"interfaces[0].link-aggregation.options.speed: this key":           "interfaces: [{name: b, type: bond, link-aggregation: {mode: 1, port: [eth0], options: {speed: 1}}}]",
		"interfaces[0].link-aggregation.options.miimon: \"1\\n2\" is no":   "interfaces: [{name: b, type: bond, link-aggregation: {mode: 1, port: [eth0], options: {miimon: \"1\\n2\"}}}]",
		"interfaces[1].link-aggregation.port[0]: eth0 has addresses":       up + "- {name: b, type: bond, link-aggregation: {mode: 1, port: [eth0]}}",
		"interfaces[1].link-aggregation.port[0]: eth0 is already a port":   "interfaces: [{name: b, type: bond, link-aggregation: {mode: 1, port: [eth0]}}, {name: c, type: bond, link-aggregation: {mode: 1, port: [eth0]}}]",
		"interfaces[1].vlan.base-iface: eth0 is a port of b":               "interfaces: [{name: b, type: bond, link-aggregation: {mode: 1, port: [eth0]}}, {name: v, type: vlan, vlan: {base-iface: eth0, id: 1}}]",
		"interfaces[0].bridge.port[0].vlan: this key is not supported":     "interfaces: [{name: b, type: linux-bridge, bridge: {port: [{name: eth0, vlan: {}}]}}]",
		"routes.config[0].next-hop-interface: there is no interface eth1":  up + "routes: {config: [{destination: 10.0.0.0/8, next-hop-interface: eth1}]}",
		"routes.config[0].next-hop-interface: eth0 has no addresses":       up + "routes: {config: [{destination: '2001:db8::/32', next-hop-interface: eth0}]}",
		"routes.config[0].destination: 10.0.0.1/8 has bits beyond":         up + "routes: {config: [{destination: 10.0.0.1/8, next-hop-interface: eth0}]}",
		"routes.config[0].next-hop-address: 2001:db8::1 is of another":     up + "routes: {config: [{destination: 10.0.0.0/8, next-hop-interface: eth0, next-hop-address: '2001:db8::1'}]}",
		"routes.config[0].state: this key is not supported":                up + "routes: {config: [{destination: 10.0.0.0/8, next-hop-interface: eth0, state: absent}]}",
		"dns-resolver.config.server[0]: no interface has addresses of the": up + "dns-resolver: {config: {server: ['2001:db8::1']}}",
		"dns-resolver.config.server[0]: \"ns\" is no address":              up + "dns-resolver: {config: {server: [ns]}}",
		"dns-resolver.config.search[0]: \"a b\" is no domain":              up + "dns-resolver: {config: {search: [a b]}}",
		"interfaces: \"none\" is no list":                                  "interfaces: none",
		"the configuration is no YAML":                                     "a: b: c",
		"key \"mtu\" already set":                                          "interfaces: [{name: eth0, type: ethernet, mtu: 1500, mtu: 1400}]",
		"at most 262144 are taken":                                         strings.Repeat(" ", mostBytes+1),
	} {
		_, err := Keyfiles(Host{"", []byte(config), ports})
		var fault *Fault
		if !errors.As(err, &fault) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngives %v\nwant %s", config[:min(200, len(config))], err, want)
		}
	}
}

func TestPortsAreChecked(t *testing.T) {
	for want, ports := range map[string][]Interface{
		"interfaces: there is no MAC address":              nil,
		"interfaces[0].macAddress: \"x\" is no MAC":        {{"eth0", "x"}},
		"interfaces[0].name: \"\" is no interface name":    {{"", "52:54:00:00:00:01"}},
		"interfaces[1].name: \"eth0\" is there twice":      {{"eth0", "52:54:00:00:00:01"}, {"eth0", "52:54:00:00:00:02"}},
		"interfaces[1].macAddress: 52:54:00:00:00:01 is t": {{"eth0", "52:54:00:00:00:01"}, {"eth1", "52:54:00:00:00:01"}},
	} {
		if _, err := Keyfiles(Host{"", nil, ports}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", ports, err)
		}
	}
}

func TestNothingIsNoFile(t *testing.T) {
	for _, config := range []string{"", "{}", "interfaces: []", "null"} {
		if files, err := Keyfiles(Host{"", []byte(config), ports}); err != nil || len(files) != 0 {
			t.Errorf("%q: %v %v", config, files, err)
		}
	}
}

func FuzzNMState(f *testing.F) {
	for _, config := range examples(f) {
		f.Add(config)
	}
	f.Add([]byte("interfaces: [{name: a, type: vlan, vlan: {base-iface: b, id: 1}}, {name: b, type: vlan, vlan: {base-iface: a, id: 1}}]"))
	f.Fuzz(func(t *testing.T, config []byte) {
		files, err := Keyfiles(Host{"", config, ports})
		if err != nil {
			return
		}
		for name, content := range files {
			if strings.ContainsAny(name, "/\x00") || !strings.HasPrefix(string(content), "[connection]\nid=") {
				t.Errorf("%q: %q", name, content)
			}
			for line := range strings.Lines(string(content)) {
				if line != "\n" && line[0] != '[' && !strings.Contains(line, "=") {
					t.Errorf("%s has the line %q", name, line)
				}
			}
		}
	})
}
