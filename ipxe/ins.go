package ipxe

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Where the parts of a boot of IBM Z lie in memory; the kernel's loader code has these places fixed (arch/s390: parmarea).
const (
	insKernel   = 0x00000000
	insInitrd   = 0x02000000
	insParm     = 0x00010480
	insAddrSize = 0x00010408
)

// KernelLimit is how long a kernel of IBM Z may be, in bytes: the initrd begins there.
const KernelLimit = insInitrd

// Ins is a set of files that the firmware of IBM Z loads: the HMC by FTP, KVM's by TFTP.
type Ins struct {
	Kernel, Initrd, Parm, AddrSize string // names as the reader asks for them
}

// File renders the .ins file: a comment, and then a name and an address on each line.
func (i Ins) File() (string, error) {
	var b strings.Builder
	b.WriteString("* Slipway\n")
	for _, part := range []struct {
		name    string
		address uint32
	}{{i.Kernel, insKernel}, {i.Initrd, insInitrd}, {i.Parm, insParm}, {i.AddrSize, insAddrSize}} {
		if err := checkInsName(part.name); err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%s 0x%08x\n", part.name, part.address)
	}
	return b.String(), nil
}

// checkInsName keeps to what KVM's firmware takes: names of less than 256 bytes without white space.
func checkInsName(name string) error {
	if len(name) == 0 || len(name) > 255 {
		return fmt.Errorf("file name %q has %d characters, a .ins file takes 1 to 255", name, len(name))
	}
	if err := checkPath("/" + strings.TrimPrefix(name, "/")); err != nil {
		return fmt.Errorf(".ins file: %w", err)
	}
	return nil
}

// AddrSize is the content of initrd.addrsize: where the initrd is loaded and how long it is, two big-endian words.
func AddrSize(size int64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, insInitrd), uint64(size))
}
