package ipxe

import (
	"fmt"
	"strings"
	"time"
)

// pxelinuxLine is what PXELINUX takes on an APPEND line.
const pxelinuxLine = 2047

// PXELINUX renders the boot of the live OS for petitboot, SLOF and PXELINUX.
func (d Discovery) PXELINUX() (string, error) {
	args, err := d.arguments()
	if err != nil {
		return "", err
	}
	for _, p := range []struct{ what, value string }{{"kernel", d.Kernel}, {"initrd", d.Initrd}} {
		if err := checkPath(p.value); err != nil {
			return "", fmt.Errorf("%s: %w", p.what, err)
		}
	}
	line := strings.Join(args, " ")
	if len(line) > pxelinuxLine {
		return "", fmt.Errorf("kernel arguments have %d characters, PXELINUX takes %d: leave some of the InfraEnv's kernelArguments out", len(line), pxelinuxLine)
	}
	return strings.Join([]string{
		"DEFAULT slipway",
		"PROMPT 0",
		"TIMEOUT 10",
		"LABEL slipway",
		"  KERNEL " + d.Kernel,
		"  INITRD " + d.Initrd,
		"  APPEND " + line,
	}, "\n") + "\n", nil
}

// PXELINUXLocalDisk has an entry for PXELINUX only: petitboot offers what it finds on disks by itself.
func PXELINUXLocalDisk() string {
	return "DEFAULT local\nPROMPT 0\nTIMEOUT 10\nLABEL local\n  LOCALBOOT -1\n"
}

// PXELINUXWait renders a message and, for PXELINUX, another look at the configuration after the pause. Petitboot and SLOF
// know no such entry and begin again by themselves.
func PXELINUXWait(message string, pause time.Duration, retry string) (string, error) {
	if err := checkPath(retry); err != nil {
		return "", err
	}
	tenths := max(10, int(pause/(100*time.Millisecond)))
	return fmt.Sprintf("SAY %s\nDEFAULT again\nPROMPT 0\nTIMEOUT %d\nLABEL again\n  CONFIG %s\n", plain(message), tenths, retry), nil
}
