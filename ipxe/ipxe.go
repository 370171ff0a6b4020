// Package ipxe has scripts, GRUB, parm and .ins templates with goldens; loader binaries' recipe.
//
// A script is made only of values that the package has checked: a value that iPXE would split, expand or read as the next
// command is refused, because iPXE has no quoting of its own.
package ipxe

import (
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Names of the loader binaries in the directory that the appliance is given.
const (
	// LoaderBIOS is iPXE; it drives the card through the UNDI of the firmware that loaded it.
	LoaderBIOS = "undionly.kpxe"
	// LoaderUEFI is iPXE; it drives the card through the firmware's SNP, only the one that it was loaded from.
	LoaderUEFI = "snponly.efi"
	// LoaderShim is signed with Microsoft's key and starts LoaderShimNext, which it looks for beside itself.
	LoaderShim = "shimx64.efi"
	// LoaderShimNext is GRUB's netboot image, signed with the key that the shim holds.
	LoaderShimNext = "grubx64.efi"
	// LoaderArm64 is GRUB's netboot image for UEFI.
	LoaderArm64 = "grubaa64.efi"
	// LoaderPower is GRUB for Open Firmware.
	LoaderPower = "core.elf"
)

// LoaderPath is where the loader binaries are on the HTTP front, for UEFI HTTP boot.
const LoaderPath = "/loaders/"

// ScriptPath is the boot script's path on the HTTP front.
const ScriptPath = "/boot.ipxe"

// ContentType of a script; iPXE takes any, people read it in a browser.
const ContentType = "text/plain; charset=utf-8"

// Loader is one way to boot and the files that it needs in the loader directory.
type Loader struct {
	Boots string
	Files []string
}

// Loaders are all ways to boot that need a file.
func Loaders() []Loader {
	return []Loader{
		{"x86 BIOS", []string{LoaderBIOS}},
		{"x86 UEFI", []string{LoaderUEFI}},
		{"x86 UEFI Secure Boot", []string{LoaderShim, LoaderShimNext}},
		{"Arm UEFI", []string{LoaderArm64}},
		{"Power", []string{LoaderPower}},
	}
}

// Discovery is a boot of the live OS.
type Discovery struct {
	// Kernel and Initrd are URLs for iPXE, and absolute paths on the server that the loader came from for GRUB and PXELINUX.
	Kernel, Initrd string
	Rootfs         string   // URL; empty when the initrd is all there is
	Console        []string // as "ttyS0,115200n8"; tty0 and ttyS0 when nil, the last is /dev/console
	Args           []string // further kernel arguments
	// Change makes others of all kernel arguments, when it is there.
	Change func([]string) ([]string, error)
	Retry  string // URL of the script to ask for when a fetch fails; this same script again when empty
}

// arguments are the kernel's, each checked to be one word.
func (d Discovery) arguments() ([]string, error) {
	var args []string
	if d.Rootfs != "" {
		if err := checkURL(d.Rootfs); err != nil {
			return nil, fmt.Errorf("rootfs URL: %w", err)
		}
		args = append(args, "coreos.live.rootfs_url="+d.Rootfs)
	}
	args = append(args, "random.trust_cpu=on", "ignition.firstboot", "ignition.platform.id=metal")
	console := d.Console
	if console == nil {
		console = []string{"tty0", "ttyS0"}
	}
	for _, c := range console {
		args = append(args, "console="+c)
	}
	args = append(args, d.Args...)
	if d.Change != nil {
		changed, err := d.Change(args)
		if err != nil {
			return nil, err
		}
		args = changed
	}
	for _, arg := range args {
		if err := checkWord(arg); err != nil {
			return nil, fmt.Errorf("kernel argument %q: %w", arg, err)
		}
	}
	return args, nil
}

// Script renders the boot of the live OS. The initrd gets the name "initrd", which the kernel's EFI stub looks for.
func (d Discovery) Script() (string, error) {
	for _, u := range []struct{ what, value string }{{"kernel", d.Kernel}, {"initrd", d.Initrd}} {
		if err := checkURL(u.value); err != nil {
			return "", fmt.Errorf("%s URL: %w", u.what, err)
		}
	}
	args, err := d.arguments()
	if err != nil {
		return "", err
	}
	args = append([]string{"initrd=initrd"}, args...)
	again := "goto start"
	if d.Retry != "" {
		if err := checkURL(d.Retry); err != nil {
			return "", fmt.Errorf("retry URL: %w", err)
		}
		again = "chain --replace --autofree " + d.Retry + " || goto start"
	}
	return lines(
		"initrd --name initrd "+d.Initrd+" || goto again",
		"kernel "+d.Kernel+" "+strings.Join(args, " ")+" || goto again",
		"boot || goto again",
		":again",
		"echo The live system could not be fetched, once more in 5 seconds",
		"imgfree",
		"sleep 5",
		again,
	), nil
}

// LocalDisk renders what a machine gets that shall start what it has installed. UEFI goes on to its next boot entry;
// many a BIOS does not when a loader ends, so its first disk is started directly.
func LocalDisk() string {
	return lines(
		"echo Starting the installed system",
		"iseq ${platform} efi && exit ||",
		"sanboot --no-describe --drive 0x80 || exit",
	)
}

// Wait renders a message, a pause and another look at the script; retry is the script's URL.
func Wait(message string, pause time.Duration, retry string) (string, error) {
	if err := checkURL(retry); err != nil {
		return "", fmt.Errorf("retry URL: %w", err)
	}
	seconds := max(1, int(pause.Round(time.Second)/time.Second))
	return lines(
		"echo "+plain(message),
		fmt.Sprintf("sleep %d", seconds),
		"chain --replace --autofree "+retry+" || goto start",
	), nil
}

// Word says whether value may be one word of a script, as a kernel argument.
func Word(value string) error { return checkWord(value) }

func lines(body ...string) string {
	return "#!ipxe\n:start\n" + strings.Join(body, "\n") + "\n"
}

// checkURL wants an absolute http or https URL that is one safe word.
func checkURL(value string) error {
	u, err := url.Parse(value)
	if err != nil {
		return fmt.Errorf("parse %q: not a URL", value)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return fmt.Errorf("%q is not an absolute http or https URL", u.Redacted())
	}
	return checkWord(value)
}

// checkWord refuses what iPXE would not take as one literal word: it splits at white space, joins commands with || && and ;
// and expands ${...} wherever it stands; # starts a comment only at the head of a word.
func checkWord(value string) error {
	if value == "" {
		return fmt.Errorf("is empty")
	}
	for _, r := range value {
		if r <= ' ' || r == 0x7f || r > 0x7e {
			return fmt.Errorf("holds %q, which a boot script cannot carry", r)
		}
	}
	switch {
	case strings.Contains(value, "${"):
		return fmt.Errorf("holds ${, which the loader would expand")
	case value == "||" || value == "&&" || value == ";":
		return fmt.Errorf("is a separator of commands")
	case strings.HasPrefix(value, "#"):
		return fmt.Errorf("starts a comment")
	case strings.HasSuffix(value, "\\"):
		return fmt.Errorf("ends with a backslash")
	}
	return nil
}

// plain makes free text safe for echo: it can only lose characters.
func plain(message string) string {
	var b strings.Builder
	for _, r := range message {
		switch {
		case r == '$' || r == '|' || r == '&' || r == ';' || r == '#' || r == '\\' || r > 0x7e:
			b.WriteByte('.')
		case r < ' ':
			b.WriteByte(' ')
		default:
			b.WriteRune(r)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}
