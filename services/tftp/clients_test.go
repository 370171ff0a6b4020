package tftp

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestRealClients reads with the clients that people and firmware have.
func TestRealClients(t *testing.T) {
	s := serve(t, Config{}, directory(t))
	want := blob(300_000)
	for _, address := range s.Addresses() {
		host, port := address.Addr().String(), fmt.Sprint(address.Port())
		url, family := "tftp://"+address.String()+"/snponly.efi", "-4"
		if address.Addr().Is6() {
			family = "-6"
		}
		for name, command := range map[string][]string{
			"curl":                 {"curl", "-sS", "-o", "FILE", url},
			"curl, blksize":        {"curl", "-sS", "--tftp-blksize", "1468", "-o", "FILE", url},
			"curl, no options":     {"curl", "-sS", "--tftp-no-options", "-o", "FILE", url},
			"tftp-hpa":             {"tftp", family, "-m", "binary", host, port, "-c", "get", "snponly.efi", "FILE"},
			"atftp":                {"atftp", "-g", "-r", "snponly.efi", "-l", "FILE", host, port},
			"atftp, with a window": {"atftp", "--option", "blksize 1428", "--option", "windowsize 16", "-g", "-r", "snponly.efi", "-l", "FILE", host, port},
		} {
			t.Run(name+" "+family, func(t *testing.T) {
				if _, err := exec.LookPath(command[0]); err != nil {
					t.Skipf("%s is not installed: make packages installs it", command[0])
				}
				file := filepath.Join(t.TempDir(), "file")
				args := make([]string, 0, len(command))
				for _, arg := range command[1:] {
					if arg == "FILE" {
						arg = file
					}
					args = append(args, arg)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				out, err := exec.CommandContext(ctx, command[0], args...).CombinedOutput()
				got, readErr := os.ReadFile(file)
				if err != nil || readErr != nil || !bytes.Equal(got, want) {
					t.Errorf("%d bytes of %d, %v, %v\n%s", len(got), len(want), err, readErr, out)
				}
			})
		}
	}
}
