package main

import (
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-io/slipway/services/api"
)

// On a link of a namespace of its own: an address that is free can be listened on when the check is over, one that the
// other end has is told as that.
func TestAddressesWaitForDetection(t *testing.T) {
	if os.Getenv("SLIPWAY_DETECTION") == "" {
		if os.Getuid() != 0 {
			t.Skip("makes a network namespace, which needs root")
		}
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		inside := exec.CommandContext(t.Context(), "unshare", "-n", "-p", "-f", "--kill-child", "--mount-proc", "sh", "-ec", `ip link set lo up
ip link add s0 type veth peer name d0
unshare -n sleep 60 & other=$!
while [ "$(readlink /proc/$other/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
ip link set d0 netns $other
nsenter -t $other -n ip link set d0 up
nsenter -t $other -n ip addr add fd07::7/64 dev d0 nodad
ip link set s0 up
ip addr add fd07::2/64 dev s0
ip addr add fd07::7/64 dev s0
`+self+` -test.run '^TestAddressesWaitForDetection$' -test.v`)
		inside.Env = append(os.Environ(), "SLIPWAY_DETECTION=1")
		inside.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		inside.WaitDelay = time.Second
		if out, err := inside.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return
	}
	config := siteConfig()
	config.Interfaces["s0"] = api.Interface{Addresses: []netip.Prefix{netip.MustParsePrefix("fd07::2/64")}}
	if err := checkInterfaces(t.Context(), config); err != nil {
		t.Errorf("a free address: %v", err)
	}
	config.Interfaces["s0"] = api.Interface{Addresses: []netip.Prefix{netip.MustParsePrefix("fd07::7/64")}}
	if err := checkInterfaces(t.Context(), config); err == nil || !strings.Contains(err.Error(), "another machine on this network has address fd07::7") {
		t.Errorf("an address of another machine: %v", err)
	}
}
