package machine_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/slipway-io/slipway/cmd/slipway-agent/internal/machine"
)

func root(t *testing.T, files map[string]string) machine.Root {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return machine.Root(dir)
}

func TestHostID(t *testing.T) {
	const (
		serial = "sys/class/dmi/id/board_serial"
		uuid   = "sys/class/dmi/id/product_uuid"
		mac    = "sys/class/net/eth0/address"
		real   = "sys/class/net/eth0/device/x"
		good   = "C0FFEE00-0000-4000-8000-000000000001\n"
	)
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"board serial", map[string]string{serial: "ABC123\n", uuid: good}, "bbf2dead-3746-54cb-b32a-917afd236656"},
		{"blank serial", map[string]string{serial: "Not Specified\n", uuid: good}, "c0ffee00-0000-4000-8000-000000000001"},
		{"O.E.M. serial", map[string]string{serial: "To be filled by O.E.M.\n", uuid: good}, "c0ffee00-0000-4000-8000-000000000001"},
		{"zero serial", map[string]string{serial: "00000000\n", uuid: good}, "c0ffee00-0000-4000-8000-000000000001"},
		{"factory UUID", map[string]string{uuid: "03000200-0400-0500-0006-000700080009", mac: "52:54:00:00:00:01", real: ""}, "99693c83-2d5b-ad7b-d26e-7c3605f8fe8d"},
		{"zero UUID", map[string]string{uuid: "00000000-0000-0000-0000-000000000000", mac: "52:54:00:00:00:01", real: ""}, "99693c83-2d5b-ad7b-d26e-7c3605f8fe8d"},
		{"virtual interface only", map[string]string{mac: "52:54:00:00:00:01"}, "deaddead-dead-dead-dead-deaddeaddead"},
		{"nothing", nil, "deaddead-dead-dead-dead-deaddeaddead"},
	} {
		if got := root(t, c.files).HostID(); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
