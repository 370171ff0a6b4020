package image

import (
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/slipway-io/slipway/services/image/iso"
)

// slof is the directory of Power's SLOF, which reads PXELINUX configurations and starts kernels itself.
const slof = "slof"

// slofKernel is the name of a kernel that SLOF takes.
const slofKernel = "kernel.slof"

// slofBase is where SLOF loads a kernel to; below it lies what is SLOF's. Kernels of Power run at any address and go to their
// place by themselves.
const slofBase = 0x4000000

// Places in the header of a 64-bit ELF file and in its program headers.
const (
	elfHeader    = 64
	elfEntry     = 24
	elfSections  = 40
	elfCounts    = 58 // size, number and names of section headers
	programEntry = 56
	programVirt  = 16
	programPhys  = 24
	programsMost = 64
)

// openPowerKernel gives the kernel with headers that SLOF takes: it refuses a file whose virtual addresses are not the
// physical ones, as those of vmlinux are.
func openPowerKernel(ctx context.Context, kernel *Artifact) (*opened, error) {
	f, err := kernel.shared(ctx)
	if err != nil {
		return nil, fmt.Errorf("serve %s: %w", kernel.Name, err)
	}
	head := make([]byte, min(kernel.Size, elfHeader+programsMost*programEntry))
	if _, err := f.ReadAt(head, kernel.offset); err != nil {
		return nil, fmt.Errorf("read %s: %w", kernel.Name, err)
	}
	if err := moveELF(head, slofBase); err != nil {
		return nil, fmt.Errorf("kernel %s: %w", kernel.Name, err)
	}
	rest := kernel.span()
	rest.Offset, rest.Length = rest.Offset+int64(len(head)), rest.Length-int64(len(head))
	return overArtifact(ctx, kernel, iso.Join(iso.Span{Data: head, Length: int64(len(head))}, rest))
}

// moveELF makes the virtual addresses of a kernel the physical ones, beginning at base. Its sections, which nobody loads, are
// taken out.
func moveELF(head []byte, base uint64) error {
	order := binary.LittleEndian
	if len(head) < elfHeader || string(head[:4]) != elf.ELFMAG || head[elf.EI_CLASS] != byte(elf.ELFCLASS64) ||
		head[elf.EI_DATA] != byte(elf.ELFDATA2LSB) || elf.Machine(order.Uint16(head[18:])) != elf.EM_PPC64 {
		return errors.New("is no 64-bit little-endian ELF file of Power")
	}
	programs, size, count := order.Uint64(head[32:]), order.Uint16(head[54:]), order.Uint16(head[56:])
	if size != programEntry || count == 0 || count > programsMost || programs < elfHeader || programs > uint64(len(head)) ||
		programs+uint64(count)*programEntry > uint64(len(head)) {
		return fmt.Errorf("has %d program headers of %d bytes at %d, which are not where a kernel has them", count, size, programs)
	}
	entry, moved := order.Uint64(head[elfEntry:]), false
	for i := range uint64(count) {
		program := head[programs+i*programEntry:]
		virtual, physical := order.Uint64(program[programVirt:]), order.Uint64(program[programPhys:])
		length := order.Uint64(program[40:])
		if elf.ProgType(order.Uint32(program)) == elf.PT_LOAD && entry >= virtual && entry-virtual < length {
			order.PutUint64(head[elfEntry:], entry-virtual+physical+base)
			moved = true
		}
		order.PutUint64(program[programVirt:], physical+base)
		order.PutUint64(program[programPhys:], physical+base)
	}
	if !moved {
		return errors.New("has its entry in no segment")
	}
	order.PutUint64(head[elfSections:], 0)
	clear(head[elfCounts:elfHeader])
	return nil
}
