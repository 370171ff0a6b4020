package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	isolinuxBinary = "/usr/lib/ISOLINUX/isolinux.bin"
	isolinuxRecord = "/usr/lib/ISOLINUX/isohdpfx.bin"
	isolinuxCore   = "/usr/lib/syslinux/modules/bios/ldlinux.c32"
	// Signed by Microsoft and Debian: the ISO starts under Secure Boot. This GRUB looks for /boot/grub where it was loaded from: a CD's
	// file system, or the FAT partition of a USB stick.
	shimSigned = "/usr/lib/shim/shimx64.efi.signed"
	mokSigned  = "/usr/lib/shim/mmx64.efi.signed"
	grubSigned = "/usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed"

	embedArea   = 256 << 10
	kargsRoom   = 1024
	argumentsAt = "@ARGUMENTS@"
)

// liveISO makes the image for CDs and USB sticks, as CoreOS lays it out: Ignition goes into images/ignition.img, kernel
// arguments into the areas that coreos/kargs.json names.
func (b *builder) liveISO(ctx context.Context) error {
	version, err := b.version()
	if err != nil {
		return err
	}
	volume := "slipway-" + version
	if len(volume) > 32 {
		return fmt.Errorf("volume id %s has more than 32 characters", volume)
	}
	tree := filepath.Join(b.work, "iso")
	for from, to := range map[string]string{
		filepath.Join(b.out, "kernel"): "images/pxeboot/vmlinuz", filepath.Join(b.out, "initrd.img"): "images/pxeboot/initrd.img",
		filepath.Join(b.out, "rootfs.img"): "images/pxeboot/rootfs.img", isolinuxBinary: "isolinux/isolinux.bin", isolinuxCore: "isolinux/ldlinux.c32",
	} {
		if err := b.run(ctx, "install", "-D", "-m", "0644", from, filepath.Join(tree, to)); err != nil {
			return err
		}
	}
	if err := makeSparse(filepath.Join(tree, "images/ignition.img"), embedArea); err != nil {
		return err
	}
	if err := b.liveConfiguration(tree, volume); err != nil {
		return err
	}
	if err := b.efiBoot(ctx, filepath.Join(tree, "images/efiboot.img"), volume); err != nil {
		return err
	}
	if err := b.run(ctx, "find", tree, "-exec", "touch", "-hd", "@"+epoch, "{}", "+"); err != nil {
		return err
	}
	// The root file system comes last: what is left out of the minimal ISO then moves little.
	return b.run(ctx, "xorriso", "-as", "mkisofs", "-quiet", "-V", volume, "-o", filepath.Join(b.out, "live.iso"), "-J", "-joliet-long", "-r",
		"-isohybrid-mbr", isolinuxRecord, "-c", "isolinux/boot.cat", "-b", "isolinux/isolinux.bin",
		"-no-emul-boot", "-boot-load-size", "4", "-boot-info-table",
		"-eltorito-alt-boot", "-e", "images/efiboot.img", "-no-emul-boot", "-isohybrid-gpt-basdat",
		"--sort-weight", "-1", "/images/pxeboot/rootfs.img", tree)
}

// liveConfiguration writes both boot configurations and the files that say where their areas are.
func (b *builder) liveConfiguration(tree, volume string) error {
	arguments := "coreos.liveiso=" + volume + " random.trust_cpu=on ignition.firstboot ignition.platform.id=metal console=tty0 console=ttyS0,115200"
	area := arguments + "\n" + strings.Repeat("#", kargsRoom-1)
	type place struct {
		Path   string `json:"path"`
		Offset int    `json:"offset"`
	}
	kargs := struct {
		Default string  `json:"default"`
		Files   []place `json:"files"`
		Size    int     `json:"size"`
	}{Default: arguments, Size: len(area)}
	files := map[string]string{}
	for _, file := range []struct{ recipe, path string }{
		{"boot/live-grub.cfg", "boot/grub/grub.cfg"}, {"boot/live-isolinux.cfg", "isolinux/isolinux.cfg"},
	} {
		text, err := os.ReadFile(b.recipe(file.recipe))
		if err != nil {
			return err
		}
		before, after, ok := strings.Cut(string(text), argumentsAt)
		if !ok {
			return fmt.Errorf("%s has no %s", file.recipe, argumentsAt)
		}
		files[file.path] = before + area + after
		kargs.Files = append(kargs.Files, place{file.path, len(before)})
	}
	for path, content := range map[string]any{
		"coreos/kargs.json": kargs, "coreos/igninfo.json": map[string]string{"file": "images/ignition.img"},
		"coreos/features.json": map[string]bool{"live-initrd-network": true},
	} {
		raw, err := json.MarshalIndent(content, "", "  ")
		if err != nil {
			return err
		}
		files[path] = string(raw) + "\n"
	}
	for path, content := range files {
		path = filepath.Join(tree, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// efiBoot makes the FAT image with shim and GRUB.
func (b *builder) efiBoot(ctx context.Context, image, volume string) error {
	stub, err := os.ReadFile(b.recipe("boot/live-efi.cfg"))
	if err != nil {
		return err
	}
	tree := filepath.Join(b.work, "efiboot")
	for from, to := range map[string]string{
		shimSigned: "EFI/BOOT/BOOTX64.EFI", grubSigned: "EFI/BOOT/grubx64.efi", mokSigned: "EFI/BOOT/mmx64.efi",
	} {
		if err := b.run(ctx, "install", "-D", "-m", "0644", from, filepath.Join(tree, to)); err != nil {
			return err
		}
	}
	config := filepath.Join(tree, "boot/grub/grub.cfg")
	if err := os.MkdirAll(filepath.Dir(config), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(config, []byte(strings.ReplaceAll(string(stub), "@VOLUME@", volume)), 0o644); err != nil {
		return err
	}
	if err := b.run(ctx, "find", tree, "-exec", "touch", "-hd", "@"+epoch, "{}", "+"); err != nil {
		return err
	}
	if err := makeSparse(image, 8*mib); err != nil {
		return err
	}
	if err := b.run(ctx, "mkfs.vfat", "-n", "EFIBOOT", "-i", "51095EFB", "--invariant", image); err != nil {
		return err
	}
	return b.run(ctx, "mcopy", "-i", image, "-s", "-m", filepath.Join(tree, "EFI"), filepath.Join(tree, "boot"), "::")
}
