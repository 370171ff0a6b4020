package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	grubBIOS = "/usr/lib/grub/i386-pc"
	grubEFI  = "/usr/lib/grub/x86_64-efi"

	// Modules that both first stages carry: the boot partition holds nothing but the configuration.
	grubModules = "part_gpt ext2 normal configfile test true echo linux probe serial terminal minicmd reboot sleep"
)

// grubImages makes both first stages. Their prefix names a partition but no disk: GRUB takes the disk that it was
// started from, so two installed disks in one machine do not mix.
func (b *builder) grubImages(ctx context.Context) error {
	core := filepath.Join(b.work, "core.img")
	loader := filepath.Join(b.work, "EFI/BOOT/BOOTX64.EFI")
	if err := os.MkdirAll(filepath.Dir(loader), 0o755); err != nil {
		return err
	}
	for _, image := range []struct {
		format, out string
		drivers     []string
	}{
		{"i386-pc", core, []string{"biosdisk", "vga"}},
		{"x86_64-efi", loader, []string{"fat", "efi_gop", "all_video"}},
	} {
		args := append([]string{"-O", image.format, "-p", "(,gpt3)/grub", "-o", image.out}, image.drivers...)
		if err := b.run(ctx, "grub-mkimage", append(args, strings.Fields(grubModules)...)...); err != nil {
			return err
		}
	}
	return nil
}

// installBIOS does what grub-bios-setup does, without needing the image as a block device: boot.img goes into the
// first sector around the partition table and learns where core.img starts, and core.img's first sector learns
// where its rest is.
func installBIOS(image, core string, offset int64) error {
	boot, err := os.ReadFile(filepath.Join(grubBIOS, "boot.img"))
	if err != nil {
		return err
	}
	first, err := os.ReadFile(core)
	if err != nil {
		return err
	}
	if len(boot) != sector || len(first) > mib || len(first) < 2*sector {
		return fmt.Errorf("unexpected sizes: boot.img %d, core.img %d bytes", len(boot), len(first))
	}
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	old := make([]byte, sector)
	if _, err := f.ReadAt(old, 0); err != nil {
		return err
	}
	start := uint64(offset / sector)
	record, err := bootRecord(boot, old, start)
	if err != nil {
		return err
	}
	// The first block list entry ends the sector: 8 bytes start, 2 bytes length, 2 bytes segment.
	binary.LittleEndian.PutUint64(first[sector-12:], start+1)
	if n := binary.LittleEndian.Uint16(first[sector-4:]); int(n) < (len(first)-1)/sector {
		return fmt.Errorf("core.img loads %d sectors of %d", n, (len(first)-1)/sector)
	}
	if _, err := f.WriteAt(record, 0); err != nil {
		return err
	}
	if _, err := f.WriteAt(first[:sector], offset); err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

const (
	sector = 512
	// Offsets in boot.img, from GRUB's boot.h.
	bpbStart      = 0x3
	bpbEnd        = 0x5a
	kernelSector  = 0x5c
	driveCheck    = 0x66
	windowsMagic  = 0x1b8
	partitionLast = 0x1fe
)

func bootRecord(boot, old []byte, start uint64) ([]byte, error) {
	record := bytes.Clone(boot)
	copy(record[bpbStart:bpbEnd], old[bpbStart:bpbEnd])
	copy(record[windowsMagic:partitionLast], old[windowsMagic:partitionLast])
	binary.LittleEndian.PutUint64(record[kernelSector:], start)
	if record[driveCheck] != 0xeb && record[driveCheck] != 0x90 {
		return nil, fmt.Errorf("boot.img has no drive check at %#x", driveCheck)
	}
	// Some firmware passes no drive number: with the jump gone, boot.img checks it.
	record[driveCheck], record[driveCheck+1] = 0x90, 0x90
	return record, nil
}
