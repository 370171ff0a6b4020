package runner

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/slipway-io/slipway/cmd/slipway-agent/internal/machine"
)

func TestKeyfiles(t *testing.T) {
	root := machine.Root(t.TempDir())
	if files, err := keyfiles(root); err != nil || len(files) != 0 {
		t.Errorf("without static networking: %v %v", files, err)
	}
	const dir = "etc/NetworkManager/system-connections"
	if err := os.MkdirAll(root.Path(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(name string, content []byte) {
		if err := os.WriteFile(root.Path(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("bond0.nmconnection", []byte("[connection]"))
	write(".bond0.nmconnection.new", []byte("half"))
	write("README", nil)
	if files, err := keyfiles(root); err != nil || len(files) != 1 || string(files["bond0.nmconnection"]) != "[connection]" {
		t.Errorf("%v %v", files, err)
	}
	write("big.nmconnection", bytes.Repeat([]byte("x"), 64<<10+1))
	if _, err := keyfiles(root); err == nil || !strings.Contains(err.Error(), "big.nmconnection has more than 65536 bytes") {
		t.Error(err)
	}
}
