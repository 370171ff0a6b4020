package ipxe

import (
	"fmt"
	"path"
	"strings"
	"time"
)

// GRUBPath is where GRUB's netboot images of Debian look for their configuration.
const GRUBPath = "grub/grub.cfg"

// GRUBLoader renders what every GRUB is given first: only GRUB knows its card, its processor and the server that it came
// from. dir is the absolute directory below which the configuration of each machine is, as
// dir/<server>/<processor>/grub.cfg-01-<mac>. It is read again and again until it boots something, in one and the same
// context: a configuration that calls the next would fill the stack.
func GRUBLoader(dir string) (string, error) {
	if err := checkPath(dir); err != nil {
		return "", err
	}
	return strings.Join([]string{
		"set pager=0",
		`if [ -z "$net_default_mac" ]; then net_bootp; fi`,
		"while [ 1 -eq 1 ]; do",
		"  source " + path.Clean(dir) + "/$net_default_server/$grub_cpu/grub.cfg-01-$net_default_mac",
		"  sleep 3",
		"done",
	}, "\n") + "\n", nil
}

// GRUB renders the boot of the live OS. Kernel and initrd come over TFTP: the signed images have no HTTP.
func (d Discovery) GRUB() (string, error) {
	args, err := d.arguments()
	if err != nil {
		return "", err
	}
	words := []string{d.Kernel}
	for _, p := range []struct{ what, value string }{{"kernel", d.Kernel}, {"initrd", d.Initrd}} {
		if err := checkPath(p.value); err != nil {
			return "", fmt.Errorf("%s: %w", p.what, err)
		}
	}
	for _, arg := range args {
		if err := checkQuoted(arg); err != nil {
			return "", fmt.Errorf("kernel argument %q: %w", arg, err)
		}
		words = append(words, "'"+arg+"'")
	}
	return strings.Join([]string{
		"echo 'Starting the live system'",
		"if linux " + strings.Join(words, " ") + "; then",
		"  if initrd " + d.Initrd + "; then",
		"    boot",
		"  fi",
		"fi",
		"echo 'The live system could not be fetched, once more in 5 seconds'",
		"sleep 2",
	}, "\n") + "\n", nil
}

// GRUBLocalDisk renders what a machine gets that shall start what it has installed: the loader of its EFI system partition,
// else whatever firmware finds after this loader ends.
func GRUBLocalDisk() string {
	return strings.Join([]string{
		"echo 'Starting the installed system'",
		"if [ \"$grub_platform\" = efi ]; then",
		"  if [ \"$grub_cpu\" = arm64 ]; then set file=/EFI/BOOT/BOOTAA64.EFI; else set file=/EFI/BOOT/BOOTX64.EFI; fi",
		"  if search --no-floppy --set=disk --file $file; then",
		"    if chainloader ($disk)$file; then boot; fi",
		"  fi",
		"fi",
		"exit 1",
	}, "\n") + "\n"
}

// GRUBWait renders a message and a pause; then GRUBLoader's loop looks again.
func GRUBWait(message string, pause time.Duration) string {
	seconds := max(1, int(pause.Round(time.Second)/time.Second))
	return fmt.Sprintf("echo '%s'\nsleep %d\n", strings.ReplaceAll(plain(message), "'", "."), seconds)
}

// checkPath wants an absolute path that every loader takes as one word.
func checkPath(value string) error {
	if !strings.HasPrefix(value, "/") || path.Clean(value) != value {
		return fmt.Errorf("%q is not a clean absolute path", value)
	}
	for _, r := range value {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._+:[]-", r) {
			return fmt.Errorf("path %q holds %q, which a boot configuration cannot carry", value, r)
		}
	}
	return nil
}

// checkQuoted refuses what GRUB would not hand on as it stands: it ends a quotation at ', and puts a backslash before
// quotation marks and backslashes in what it gives to the kernel.
func checkQuoted(value string) error {
	if err := checkWord(value); err != nil {
		return err
	}
	if i := strings.IndexAny(value, `'"\`); i >= 0 {
		return fmt.Errorf("holds %q, which GRUB would not hand on as it stands", value[i])
	}
	return nil
}
