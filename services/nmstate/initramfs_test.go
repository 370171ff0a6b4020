package nmstate

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// machine unpacks files as an initramfs whose kernel has found ports, as "name MAC".
func machine(t *testing.T, files []File, ports ...string) string {
	t.Helper()
	root := t.TempDir()
	write := func(name string, content []byte, mode os.FileMode) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range files {
		switch {
		case file.Link:
		case file.Executable:
			write(file.Name, file.Content, 0o755)
		default:
			write(file.Name, file.Content, 0o600)
		}
	}
	write("sys/class/net/lo/address", []byte("00:00:00:00:00:00\n"), 0o644)
	for _, port := range ports {
		name, mac, _ := strings.Cut(port, " ")
		write("sys/class/net/"+name+"/address", []byte(mac+"\n"), 0o644)
		write("sys/class/net/"+name+"/device/uevent", nil, 0o644)
	}
	return root
}

func TestMachineTakesItsOwnNetwork(t *testing.T) {
	bonded, err := os.ReadFile("testdata/bond-vlan.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const other = "interfaces: [{name: eth0, type: ethernet, ipv4: {dhcp: true}}]"
	files, err := Initramfs([]Host{
		{"first", []byte(other), []Interface{{"eth0", "52:54:00:00:00:01"}}},
		{"nothing", nil, []Interface{{"eth0", "52:54:00:00:00:02"}}},
		{"bonded", bonded, []Interface{{"eth0", "52:54:00:00:00:0A"}, {"eth1", "52:54:00:00:00:0b"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		ports, want []string
		primary     string
	}{
		"both ports, names swapped": {[]string{"eth0 52:54:00:00:00:0b", "eth1 52:54:00:00:00:0a"}, []string{"bond0", "bond0.20", "eth0", "eth1"}, "eth0"},
		"predictable names":         {[]string{"ens3 52:54:00:00:00:0a", "ens4 52:54:00:00:00:0B"}, []string{"bond0", "bond0.20", "eth0", "eth1"}, "ens4"},
		"one of the ports":          {[]string{"ens3 52:54:00:00:00:0a", "ens9 52:54:00:00:00:99"}, []string{"bond0", "bond0.20", "eth0", "eth1"}, "eth1"},
		"the first host":            {[]string{"eth3 52:54:00:00:00:01"}, []string{"eth0"}, ""},
		"a stranger":                {[]string{"eth0 52:54:00:00:00:77"}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, shell := range [][]string{{"sh"}, {"busybox", "sh"}} {
				root := machine(t, files, c.ports...)
				args := append(slices.Clone(shell[1:]), filepath.Join(root, script), root)
				if out, err := exec.CommandContext(t.Context(), shell[0], args...).CombinedOutput(); err != nil {
					t.Fatalf("%v: %v %s", shell, err, out)
				}
				found, err := filepath.Glob(filepath.Join(root, "etc/coreos-firstboot-network/*"))
				if err != nil {
					t.Fatal(err)
				}
				var names []string
				for _, path := range found {
					names = append(names, strings.TrimSuffix(filepath.Base(path), Suffix))
					if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
						t.Errorf("%s: %v %v", path, info.Mode(), err)
					}
				}
				slices.Sort(names)
				if !slices.Equal(names, c.want) {
					t.Errorf("%v: %v, want %v", shell, names, c.want)
				}
				if c.primary == "" {
					continue
				}
				bond, err := os.ReadFile(filepath.Join(root, "etc/coreos-firstboot-network/bond0"+Suffix))
				if err != nil || !strings.Contains(string(bond), "\nprimary="+c.primary+"\n") {
					t.Errorf("%v: %s%v", shell, bond, err)
				}
			}
		})
	}
}

func TestInitramfsNamesTheHost(t *testing.T) {
	_, err := Initramfs([]Host{{"NMStateConfig lab/a", []byte("x: 1"), ports}})
	if err == nil || err.Error() != "NMStateConfig lab/a: x: this key is not supported" {
		t.Error(err)
	}
	if files, err := Initramfs([]Host{{"", nil, ports}}); err != nil || files != nil {
		t.Errorf("%v %v", files, err)
	}
}
