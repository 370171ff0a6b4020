package machine_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/slipway-io/slipway/cmd/slipway-agent/internal/machine"
)

func TestApproval(t *testing.T) {
	const bios = "\x00\x06\x00\x00\x01\x02maker\x00version\x00\x00"
	const empty = "\x7f\x04\xff\xfe\x00\x00"
	oem := func(text string) string { return "\x0b\x05\x00\x0b\x02first\x00" + text + "\x00\x00" }
	for name, c := range map[string]struct{ table, cmdline, want string }{
		"nothing":                {"", "quiet", ""},
		"OEM string":             {bios + empty + oem("slipway.approval=0123456789abcdef") + empty, "slipway.approval=other", "0123456789abcdef"},
		"kernel argument":        {bios + oem("other"), "quiet slipway.approval=0123456789abcdef ro", "0123456789abcdef"},
		"another kind of string": {"\x01\x04\x00\x00slipway.approval=0123456789abcdef\x00\x00", "", ""},
		"cut structure":          {"\x0b\xff\x00\x00", "", ""},
		"cut strings":            {"\x0b\x05\x00\x0b\x02slipway.approval=0123456789abcdef", "", ""},
		"no length":              {"\x0b\x00\x00\x00\x00\x00", "", ""},
		"no text for a header":   {oem("slipway.approval=a\nb"), "", ""},
	} {
		root := t.TempDir()
		write := func(path, text string) {
			if err := os.MkdirAll(filepath.Join(root, filepath.Dir(path)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		write("proc/cmdline", c.cmdline)
		write("sys/firmware/dmi/tables/DMI", c.table)
		if got := machine.Root(root).Approval(); got != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func FuzzApproval(f *testing.F) {
	f.Add([]byte("\x0b\x05\x00\x0b\x02first\x00slipway.approval=0123456789abcdef\x00\x00"))
	f.Add([]byte("\x0b\xff\x00"))
	root := f.TempDir()
	path := filepath.Join(root, "sys/firmware/dmi/tables")
	if err := os.MkdirAll(path, 0o755); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if err := os.WriteFile(filepath.Join(path, "DMI"), raw, 0o644); err != nil {
			t.Fatal(err)
		}
		for _, r := range machine.Root(root).Approval() {
			if r <= ' ' || r > '~' {
				t.Fatalf("%q in a header", r)
			}
		}
	})
}
