package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const mib = 1 << 20

// partition is one entry of the disk image. Sizes are in MiB; the identifiers are fixed, so that the same content
// gives the same image.
type partition struct {
	name, typeCode, guid string
	start, size          int64
	file                 string
}

// disk makes the image that goes onto disks: a GPT that boots by BIOS and by UEFI. Nothing is mounted and no loop
// device is used: each file system is filled by the program that makes it.
func (b *builder) disk(ctx context.Context) error {
	rootSize, err := treeMiB(b.root)
	if err != nil {
		return err
	}
	parts := []partition{
		{name: "bios_grub", typeCode: "ef02", guid: "0e4c6a5e-7d25-4b6b-9d6b-5a1f00000001", size: 1, file: "core.img"},
		{name: "EFI-SYSTEM", typeCode: "ef00", guid: "0e4c6a5e-7d25-4b6b-9d6b-5a1f00000002", size: 64, file: "esp.img"},
		{name: "boot", typeCode: "8300", guid: "0e4c6a5e-7d25-4b6b-9d6b-5a1f00000003", size: 256, file: "boot.img"},
		{name: "root", typeCode: "8304", guid: "0e4c6a5e-7d25-4b6b-9d6b-5a1f00000004", size: rootSize, file: "root.img"},
	}
	next := int64(1)
	for i := range parts {
		parts[i].start = next
		next += parts[i].size
	}
	if err := b.grubImages(ctx); err != nil {
		return err
	}
	if err := b.fileSystems(ctx, parts); err != nil {
		return err
	}
	image := filepath.Join(b.work, "disk.img")
	if err := b.partitionTable(ctx, image, parts, next+1); err != nil {
		return err
	}
	for _, p := range parts {
		err := b.run(ctx, "dd", "if="+filepath.Join(b.work, p.file), "of="+image, "bs=1M", fmt.Sprintf("seek=%d", p.start), "conv=notrunc,sparse")
		if err != nil {
			return err
		}
	}
	if err := installBIOS(image, filepath.Join(b.work, "core.img"), parts[0].start*mib); err != nil {
		return fmt.Errorf("write the boot sector: %w", err)
	}
	return b.run(ctx, "zstd", "-q", "-T0", "-9", image, "-o", filepath.Join(b.out, "disk.img.zst"))
}

// treeMiB is the size of a file system for the tree, with some room: it grows on its first boot.
func treeMiB(root string) (int64, error) {
	var blocks, inodes int64
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		inodes++
		if info.Mode().IsRegular() || info.IsDir() {
			blocks += (info.Size() + 4095) / 4096
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("measure %s: %w", root, err)
	}
	const journal = 64
	content := (blocks*4096 + inodes*256) / mib
	return (content*115/100+journal+64)/16*16 + 16, nil
}

func (b *builder) fileSystems(ctx context.Context, parts []partition) error {
	for _, p := range parts[1:] {
		if err := makeSparse(filepath.Join(b.work, p.file), p.size*mib); err != nil {
			return err
		}
	}
	esp, boot, root := filepath.Join(b.work, parts[1].file), filepath.Join(b.work, parts[2].file), filepath.Join(b.work, parts[3].file)
	if err := b.run(ctx, "mkfs.vfat", "-F", "32", "-n", parts[1].name, "-i", "51095EFA", "--invariant", esp); err != nil {
		return err
	}
	if err := b.run(ctx, "mcopy", "-i", esp, "-s", "-m", filepath.Join(b.work, "EFI"), "::EFI"); err != nil {
		return err
	}
	tree := filepath.Join(b.work, "boot")
	for from, to := range map[string]string{
		filepath.Join(b.out, "kernel"): "kernel", filepath.Join(b.out, "initrd.img"): "initrd.img", b.recipe("boot/grub.cfg"): "grub/grub.cfg",
	} {
		if err := b.run(ctx, "install", "-D", "-m", "0644", from, filepath.Join(tree, to)); err != nil {
			return err
		}
	}
	if err := b.ext4(ctx, boot, tree, "boot", 3); err != nil {
		return err
	}
	return b.ext4(ctx, root, b.root, "root", 4, "-J", "size=64")
}

func (b *builder) ext4(ctx context.Context, image, tree, label string, number int, more ...string) error {
	id := fmt.Sprintf("0e4c6a5e-7d25-4b6b-9d6b-5a1f0000010%d", number)
	args := append([]string{"-q", "-F", "-b", "4096", "-I", "256", "-T", "default", "-m", "1", "-L", label, "-U", id,
		"-E", "hash_seed=" + id + ",lazy_itable_init=1", "-O", "64bit,metadata_csum,^orphan_file", "-d", tree}, more...)
	return b.run(ctx, "mkfs.ext4", append(args, image)...)
}

func makeSparse(path string, size int64) error {
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		return err
	}
	return os.Truncate(path, size)
}

func (b *builder) partitionTable(ctx context.Context, image string, parts []partition, size int64) error {
	if err := makeSparse(image, size*mib); err != nil {
		return err
	}
	args := []string{"--clear", "--disk-guid=0e4c6a5e-7d25-4b6b-9d6b-5a1f00000000"}
	for i, p := range parts {
		args = append(args,
			fmt.Sprintf("--new=%d:%dM:+%dM", i+1, p.start, p.size),
			fmt.Sprintf("--typecode=%d:%s", i+1, p.typeCode),
			fmt.Sprintf("--change-name=%d:%s", i+1, p.name),
			fmt.Sprintf("--partition-guid=%d:%s", i+1, p.guid))
	}
	return b.run(ctx, "sgdisk", append(args, image)...)
}
