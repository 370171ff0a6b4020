package tftp

import (
	"net/netip"
	"os"
	"os/exec"
	"testing"

	"github.com/slipway-io/slipway/services/tftp/tftptest"
)

// An answer comes from the address that was asked, also when the server listens on all of them.
func TestAnswersFromTheAddressAsked(t *testing.T) {
	s := serve(t, Config{Addresses: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:0"), netip.MustParseAddrPort("[::]:0")}}, files{"x": blob(5000)})
	for i, asked := range []string{"127.0.0.2", "::1"} {
		address := netip.AddrPortFrom(netip.MustParseAddr(asked), s.Addresses()[i].Port())
		got, result, err := get(address, "x", tftptest.Options{Window: 4})
		if err != nil || len(got) != 5000 || result.Server.Addr() != address.Addr() {
			t.Errorf("%s: %d bytes from %s, %v", asked, len(got), result.Server, err)
		}
		if answer := ask(t, address, "\x00\x01none\x00octet\x00"); answer[3] != byte(codeNotFound) {
			t.Errorf("%s: %q", asked, answer)
		}
	}
}

// Blocks fit the path without fragments, and link-local addresses work. A network namespace of its own has what that needs.
func TestBlocksFitThePath(t *testing.T) {
	const inside = "SLIPWAY_TEST_SMALL_PATH"
	if os.Getenv(inside) == "" {
		if os.Getuid() != 0 {
			t.Skip("needs root for a network namespace")
		}
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "unshare", "--net", "sh", "-c",
			"ip link set lo mtu 1400 up && ip link add d0 type veth peer name d1 && ip link set d1 up && ip link set d0 up && ip addr add fe80::1/64 dev d0 nodad && exec "+self+" -test.run '^TestBlocksFitThePath$' -test.v")
		cmd.Env = append(os.Environ(), inside+"=yes")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	s := serve(t, Config{Addresses: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:0"), netip.MustParseAddrPort("[::]:0")}}, files{"x": blob(50_000)})
	for _, c := range []struct {
		server       int
		asked, block string
	}{{0, "127.0.0.1", "1368"}, {1, "::1", "1348"}, {1, "fe80::1%d0", "1348"}} {
		address := netip.AddrPortFrom(netip.MustParseAddr(c.asked), s.Addresses()[c.server].Port())
		got, result, err := get(address, "x", tftptest.Options{Block: 8192, Window: 8})
		if err != nil || len(got) != 50_000 || result.Agreed["blksize"] != c.block {
			t.Errorf("%s: %d bytes, agreed %v, %v; want blocks of %s", c.asked, len(got), result.Agreed, err, c.block)
		}
	}
}
