package ignition

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// nodeNetwork is a node with addresses of both families, by SLAAC and by DHCPv6, and with a bridge of pods.
const nodeNetwork = `set -e
ip link set lo up
ip link add port0 type veth peer name cable0
ip link set cable0 up
ip link set port0 up
ip addr add 10.9.0.5/24 dev port0
ip addr add fd09::5/64 dev port0 nodad
ip addr add fd09::1005/128 dev port0 nodad
ip link add port1 type veth peer name cable1
ip link set cable1 up
ip link set port1 up
ip addr add 10.8.0.5/24 dev port1
ip addr add fd08::5/64 dev port1 nodad
ip link add cni0 type bridge
ip link set cni0 up
ip addr add fd01::1/64 dev cni0 nodad
`

func TestNodeEnv(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("makes a network namespace, which needs root")
	}
	for _, tool := range []string{"unshare", "ip", "getent"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s here", tool)
		}
	}
	for _, c := range []struct {
		name, host string
		networks   []string
		want       string
	}{
		{"IPv4", "10.9.0.2", []string{"0.0.0.0/0"}, "NODE_IP=10.9.0.5\n"},
		{"IPv6", "fd09::2", []string{"::/0"}, "NODE_IP=fd09::1005\n"},
		{"both, asked over IPv4", "10.9.0.2", []string{"0.0.0.0/0", "::/0"}, "NODE_IP=10.9.0.5,fd09::1005\n"},
		{"both, IPv6 first", "fd09::2", []string{"::/0", "0.0.0.0/0"}, "NODE_IP=fd09::1005,10.9.0.5\n"},
		{"IPv6 alone, asked over IPv4", "10.8.0.2", []string{"::/0"}, "NODE_IP=fd08::5\n"},
		{"machine network beyond the API's", "10.9.0.2", []string{"10.8.0.0/24", "fd08::/64"}, "NODE_IP=10.8.0.5,fd08::5\n"},
		{"no address in it", "10.9.0.2", []string{"0.0.0.0/0", "fd55::/64"}, "no IPv6 address in fd55::/64 yet"},
		{"no way to the API", "192.0.2.1", []string{"0.0.0.0/0"}, "no IPv4 address in 0.0.0.0/0 yet"},
		{"unknown name", "api.demo.invalid", []string{"::/0"}, "(API api.demo.invalid: unknown)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			script := nodeNetwork + "sh files/node-env " + c.host + " " + strings.Join(c.networks, " ")
			cmd := exec.Command("unshare", "--net", "sh", "-c", script)
			cmd.Env = append(os.Environ(), "ROOT="+root)
			said, failed := cmd.CombinedOutput()
			written, err := os.ReadFile(filepath.Join(root, "run/slipway/node.env"))
			if (err == nil) != (failed == nil) || !strings.Contains(string(said)+string(written), c.want) {
				t.Errorf("%v, said %q, wrote %q, want %q", failed, said, written, c.want)
			}
		})
	}
}
