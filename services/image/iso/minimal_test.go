package iso

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const volumeID = "slipway-test"

// made is a hybrid live ISO that xorriso writes, with the root file system in its middle.
func made(t *testing.T) string {
	t.Helper()
	for _, file := range []string{"/usr/bin/xorriso", "/usr/lib/ISOLINUX/isolinux.bin", "/usr/lib/ISOLINUX/isohdpfx.bin"} {
		if _, err := os.Stat(file); err != nil {
			t.Skip("needs xorriso and isolinux:", err)
		}
	}
	tree, out := t.TempDir(), filepath.Join(t.TempDir(), "live.iso")
	args := "coreos.liveiso=" + volumeID + " ignition.firstboot"
	area := args + "\n" + strings.Repeat("#", 1024-1)
	info := map[string]any{"default": args, "size": len(area), "files": []any{
		map[string]any{"path": "EFI/test/grub.cfg", "offset": 6}, map[string]any{"path": "isolinux/isolinux.cfg", "offset": 7},
	}}
	kargs, err := json.Marshal(info)
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile("/usr/lib/ISOLINUX/isolinux.bin")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"coreos/kargs.json": kargs, "coreos/igninfo.json": []byte(`{"file":"images/ignition.img"}`),
		"EFI/test/grub.cfg": []byte("linux " + area + "# X\n"), "isolinux/isolinux.cfg": []byte("append " + area + "# X\n"),
		"isolinux/isolinux.bin": binary, "images/ignition.img": make([]byte, 4096), "images/efiboot.img": bytes.Repeat([]byte("efi "), 1<<18),
		KernelFile: []byte("kernel"), InitrdFile: bytes.Repeat([]byte("initrd"), 10_000), RootfsFile: bytes.Repeat([]byte("rootfs"), 900_000),
		"zz/a file with a name that is so long that its record goes on elsewhere " + strings.Repeat("n", 150): []byte("long"),
	} {
		path := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "xorriso", "-as", "mkisofs", "-quiet", "-V", volumeID, "-o", out, "-J", "-joliet-long", "-r",
		"-isohybrid-mbr", "/usr/lib/ISOLINUX/isohdpfx.bin", "-c", "isolinux/boot.cat", "-b", "isolinux/isolinux.bin",
		"-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", "-eltorito-alt-boot", "-e", "images/efiboot.img", "-no-emul-boot",
		"-isohybrid-gpt-basdat", "--sort-weight", "9999", "/"+RootfsFile, tree)
	return out
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

// The ISO without root file system has every other file, by Rock Ridge and Joliet, boots what the full one boots, and xorriso and
// sgdisk find nothing wrong with it.
func TestMinimal(t *testing.T) {
	whole := made(t)
	full, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	image := parse(t, full)
	if image.Hybrid != (Hybrid{true, true}) || len(image.Boot) != 2 || image.bootInfo == nil || !image.bootInfo.table {
		t.Fatalf("%+v %+v %+v", image.Hybrid, image.Boot, image.bootInfo)
	}
	cut, patches, err := image.Minimal(bytes.NewReader(full))
	if err != nil {
		t.Fatal(err)
	}
	view, err := Overlay(image.Size, cut, patches...)
	if err != nil {
		t.Fatal(err)
	}
	small := render(t, view, full)
	if int64(len(small)) != image.Size-5<<20 || bytes.Contains(small, []byte("rootfsrootfs")) {
		t.Errorf("%d bytes of %d", len(small), image.Size)
	}
	after := parse(t, small)
	delete(image.Files, RootfsFile)
	if got, want := slices.Sorted(maps.Keys(after.Files)), slices.Sorted(maps.Keys(image.Files)); !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
	for path, area := range image.Files {
		if path == "isolinux/isolinux.bin" || path == "isolinux/boot.cat" {
			continue // these know places
		}
		moved := after.Files[path]
		if !bytes.Equal(small[moved.Offset:moved.end()], full[area.Offset:area.end()]) {
			t.Errorf("%s has another content", path)
		}
	}
	if len(after.Boot) != 2 || after.Boot[0].Offset != after.Files["isolinux/isolinux.bin"].Offset || after.Boot[1].Offset != after.Files["images/efiboot.img"].Offset ||
		!after.bootInfo.table || after.Hybrid != image.Hybrid || after.Ignition != after.Files[ignitionFile] {
		t.Errorf("%+v", after)
	}
	if after.Boot[0].Offset == image.Boot[0].Offset && after.Boot[1].Offset == image.Boot[1].Offset {
		t.Error("nothing has moved: the test shows nothing")
	}

	path := filepath.Join(t.TempDir(), "minimal.iso")
	if err := os.WriteFile(path, small, 0o644); err != nil {
		t.Fatal(err)
	}
	for tree, mode := range map[string]string{"Rock Ridge": "nojoliet", "Joliet": "norock"} {
		to := filepath.Join(t.TempDir(), "extracted")
		run(t, "xorriso", "-osirrox", "on", "-read_fs", mode, "-indev", path, "-extract", "/", to)
		if got, err := os.ReadFile(filepath.Join(to, InitrdFile)); err != nil || !bytes.Equal(got, bytes.Repeat([]byte("initrd"), 10_000)) {
			t.Errorf("%s: initrd of %d bytes, %v", tree, len(got), err)
		}
		if _, err := os.Stat(filepath.Join(to, RootfsFile)); !os.IsNotExist(err) {
			t.Errorf("%s: the root file system is there, %v", tree, err)
		}
	}
	report := run(t, "xorriso", "-indev", path, "-report_el_torito", "plain", "-report_system_area", "plain")
	for _, want := range []string{"isohybrid", "GPT", "/isolinux/isolinux.bin", "/images/efiboot.img", "boot-info"} {
		if !strings.Contains(report, want) {
			t.Errorf("xorriso does not see %s:\n%s", want, report)
		}
	}
	if full, small := checked(t, whole), checked(t, path); full != small {
		t.Errorf("sgdisk says of the full ISO\n%s\nof the minimal one\n%s", full, small)
	}
}

// checked is what sgdisk finds; what xorriso makes overlaps on purpose.
func checked(t *testing.T, path string) string {
	out, _ := exec.CommandContext(t.Context(), "sgdisk", "-v", path).CombinedOutput()
	if !bytes.Contains(out, []byte("Identified")) && !bytes.Contains(out, []byte("No problems")) {
		t.Skipf("sgdisk: %s", out)
	}
	return string(out)
}

// A fixture's root file system is shorter than what can be left out: it only goes from the directories.
func TestMinimalFixtures(t *testing.T) {
	for name, content := range fixtures(t) {
		image := parse(t, content)
		cut, patches, err := image.Minimal(bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		view, err := Overlay(image.Size, cut, patches...)
		if err != nil {
			t.Fatal(err)
		}
		again := parse(t, render(t, view, content))
		if _, ok := again.Files[RootfsFile]; ok || len(again.Files) != len(image.Files)-1 || again.Ignition != image.Ignition {
			t.Errorf("%s: %d files of %d", name, len(again.Files), len(image.Files))
		}
	}
}
