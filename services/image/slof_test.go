package image

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"testing"
)

// vmlinux is the head of a kernel of Power as Debian has it: one segment, virtual addresses at the top.
func vmlinux() []byte {
	var out bytes.Buffer
	header := elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', 2, 1, 1}, Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_PPC64), Version: 1,
		Entry: 0xc000000000000000, Phoff: 64, Shoff: 0x2bb8250, Flags: 2, Ehsize: 64, Phentsize: 56, Phnum: 2, Shentsize: 64, Shnum: 52, Shstrndx: 51,
	}
	programs := []elf.Prog64{
		{Type: uint32(elf.PT_LOAD), Flags: 7, Off: 4096, Vaddr: 0xc000000000000000, Paddr: 0, Filesz: 904, Memsz: 0x287c918, Align: 0x10000},
		{Type: uint32(elf.PT_NOTE), Off: 4200, Vaddr: 0xc00000000113d448, Paddr: 0x113d448, Filesz: 0x80, Memsz: 0x80, Align: 4},
	}
	for _, part := range []any{header, programs} {
		// A buffer takes everything.
		_ = binary.Write(&out, binary.LittleEndian, part)
	}
	out.Write(make([]byte, 5000-out.Len()))
	return out.Bytes()
}

func TestMoveELF(t *testing.T) {
	kernel := vmlinux()
	if err := moveELF(kernel, slofBase); err != nil {
		t.Fatal(err)
	}
	file, err := elf.NewFile(bytes.NewReader(kernel))
	if err != nil {
		t.Fatal(err)
	}
	if file.Entry != slofBase || len(file.Sections) != 0 {
		t.Errorf("entry %#x, %d sections", file.Entry, len(file.Sections))
	}
	for i, want := range []uint64{slofBase, slofBase + 0x113d448} {
		if p := file.Progs[i]; p.Vaddr != want || p.Paddr != want {
			t.Errorf("segment %d at %#x, %#x, want %#x", i, p.Vaddr, p.Paddr, want)
		}
	}
	for name, change := range map[string]func([]byte) []byte{
		"no ELF": func(k []byte) []byte { k[0] = 0; return k }, "cut": func(k []byte) []byte { return k[:70] },
		"another machine":   func(k []byte) []byte { k[18] = byte(elf.EM_X86_64); return k },
		"headers elsewhere": func(k []byte) []byte { binary.LittleEndian.PutUint64(k[32:], 1<<40); return k },
		"entry elsewhere":   func(k []byte) []byte { binary.LittleEndian.PutUint64(k[24:], 1); return k },
	} {
		if err := moveELF(change(vmlinux()), slofBase); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func FuzzMoveELF(f *testing.F) {
	f.Add(vmlinux()[:400])
	f.Fuzz(func(_ *testing.T, head []byte) { _ = moveELF(head, slofBase) })
}
