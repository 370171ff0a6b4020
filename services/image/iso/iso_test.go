package iso

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fixtures are headers and embed areas of real CoreOS ISOs, without payload, by name.
func fixtures(t testing.TB) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob("testdata/*.iso.gz")
	if err != nil || len(names) != 6 {
		t.Fatalf("%d fixtures, %v", len(names), err)
	}
	found := map[string][]byte{}
	for _, name := range names {
		packed, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		r, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		found[strings.TrimPrefix(strings.TrimSuffix(filepath.Base(name), ".iso.gz"), "embed-areas-")] = content
	}
	return found
}

func parse(t testing.TB, content []byte) *Image {
	t.Helper()
	image, err := Parse(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func render(t testing.TB, v *View, base []byte) []byte {
	t.Helper()
	content := make([]byte, v.Size())
	if n, err := v.ReadAt(bytes.NewReader(base), content, 0); err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
	return content
}

func TestFixtures(t *testing.T) {
	for name, want := range map[string]struct {
		volume   string
		ignition Area
		karg     string
		size     int64
		areas    []int64
		boot     []BootEntry
		hybrid   Hybrid
		features Features
	}{
		"2021-01": {"rhcos-47.84.202112162337-0", Area{96256, 262144}, "random.trust_cpu=on ", 1131, []int64{94026, 365415},
			[]BootEntry{{0, 92160, 0}, {0xef, 96256, 0}}, Hybrid{}, Features{}},
		"2021-12": {"fedora-coreos-35.20211216.dev.0", Area{161792, 262144}, "mitigations=auto,nosmt ", 1139, []int64{139086, 431050},
			[]BootEntry{{0, 92160, 0}, {0xef, 131072, 0}}, Hybrid{}, Features{true, true}},
		"2022-02": {"fedora-coreos-35.20220217.dev.0", Area{159744, 262144}, "mitigations=auto,nosmt ", 1139, []int64{137038, 429002},
			[]BootEntry{{0, 92160, 0}, {0xef, 131072, 0}}, Hybrid{true, true}, Features{true, true}},
		"2022-09": {"fedora-coreos-36.20220909.dev.0", Area{159744, 262144}, "mitigations=auto,nosmt ", 1139, []int64{137038, 429002},
			[]BootEntry{{0, 92160, 0}, {0xef, 131072, 0}}, Hybrid{true, true}, Features{true, true}},
		"2023-03.s390x": {"fedora-coreos-37.20230307.dev.0", Area{203776, 262144}, "", 0, nil,
			[]BootEntry{{0, 71680, 0}}, Hybrid{}, Features{true, true}},
		"2023-03.x86_64": {"fedora-coreos-37.20230306.dev.0", Area{157696, 262144}, "mitigations=auto,nosmt ", 1139, []int64{427853, 431050},
			[]BootEntry{{0, 94208, 0}, {0xef, 92160, 0}}, Hybrid{true, true}, Features{true, true}},
	} {
		t.Run(name, func(t *testing.T) {
			got := parse(t, fixtures(t)[name])
			if got.VolumeID != want.volume || got.Ignition != want.ignition || got.Hybrid != want.hybrid || got.Features != want.features {
				t.Errorf("%q, embed area %v, %+v, %+v", got.VolumeID, got.Ignition, got.Hybrid, got.Features)
			}
			for n := range got.Boot {
				got.Boot[n].at = 0
			}
			if !slices.Equal(got.Boot, want.boot) {
				t.Errorf("boot entries %v", got.Boot)
			}
			architecture := strings.TrimPrefix(name, "2023-03.")
			if live, err := got.Live(architecture); err != nil || live.Rootfs != got.Files[RootfsFile] {
				t.Errorf("%+v, %v", live, err)
			}
			if want.size == 0 {
				if got.Kargs != nil {
					t.Errorf("kernel arguments %+v", got.Kargs)
				}
				return
			}
			var areas []int64
			for _, area := range got.Kargs.areas {
				areas = append(areas, area.offset)
			}
			slices.Sort(areas)
			if got.Kargs.Size != want.size || !slices.Equal(areas, want.areas) || got.Kargs.Current != got.Kargs.Default ||
				got.Kargs.Default != want.karg+"coreos.liveiso="+want.volume+" ignition.firstboot ignition.platform.id=metal" {
				t.Errorf("%+v", got.Kargs)
			}
		})
	}
}

// What is embedded is read back, and no byte outside the areas changes.
func TestEmbedAndReadBack(t *testing.T) {
	for name, content := range fixtures(t) {
		t.Run(name, func(t *testing.T) {
			image := parse(t, content)
			archive := bytes.Repeat([]byte("config.ign "), 20_000)
			patch, err := image.Embed(archive)
			if err != nil {
				t.Fatal(err)
			}
			patches := []Patch{patch}
			areas := []Area{image.Ignition}
			const args = "coreos.liveiso=x console=ttyS0,115200n8"
			if image.Kargs != nil {
				changes, err := image.Kargs.Change(args)
				if err != nil {
					t.Fatal(err)
				}
				patches = append(patches, changes...)
				for _, area := range image.Kargs.areas {
					areas = append(areas, Area{area.offset, image.Kargs.Size})
				}
			}
			view, err := Overlay(image.Size, Area{}, patches...)
			if err != nil {
				t.Fatal(err)
			}
			made := render(t, view, content)
			again := parse(t, made)
			if got := made[again.Ignition.Offset:again.Ignition.end()]; !bytes.Equal(got[:len(archive)], archive) || !zero(got[len(archive):]) {
				t.Error("the embedded archive is not what was embedded")
			}
			if image.Kargs != nil && again.Kargs.Current != args {
				t.Errorf("kernel arguments %q", again.Kargs.Current)
			}
			for _, area := range areas {
				copy(made[area.Offset:area.end()], content[area.Offset:])
			}
			if !bytes.Equal(made, content) {
				t.Error("bytes outside the areas have changed")
			}
		})
	}
}

func TestTooMuch(t *testing.T) {
	image := parse(t, fixtures(t)["2022-02"])
	if _, err := image.Embed(make([]byte, image.Ignition.Length+1)); err == nil || !strings.Contains(err.Error(), "262145 bytes, the area of the ISO 262144") {
		t.Error(err)
	}
	fits := strings.Repeat("a", int(image.Kargs.Size)-2)
	if _, err := image.Kargs.Change(fits); err != nil {
		t.Error(err)
	}
	if _, err := image.Kargs.Change(fits + "a"); err == nil || !strings.Contains(err.Error(), "1138 bytes, the area of the ISO has room for 1137") {
		t.Error(err)
	}
	if _, err := image.Kargs.Change("a\nb"); err == nil {
		t.Error("two lines are taken")
	}
}

// Each byte of the headers means something: none can be another without being noticed.
func TestFlippedHeaderByte(t *testing.T) {
	for name, content := range fixtures(t) {
		var bytesOf []int
		for at := range systemArea - kargsHeader {
			bytesOf = append(bytesOf, kargsHeader+at)
		}
		for at := 1; at < 7; at++ { // the volume descriptor's identifier and version
			bytesOf = append(bytesOf, systemArea+at)
		}
		for at := range len("rhcos-47") {
			bytesOf = append(bytesOf, systemArea+40+at)
		}
		for _, at := range append(bytesOf, systemArea+80, systemArea+128, systemArea+158, systemArea+166) {
			for _, mask := range []byte{0x01, 0x80, 0xff} {
				broken := bytes.Clone(content)
				broken[at] ^= mask
				image, err := Parse(bytes.NewReader(broken), int64(len(broken)))
				if err == nil {
					_, err = image.Live(strings.TrimPrefix(name, "2023-03."))
				}
				if !errors.Is(err, ErrFormat) {
					t.Errorf("%s: byte %d with mask %#x: %v", name, at, mask, err)
				}
			}
		}
	}
}

func TestWhatIsMissingIsSaid(t *testing.T) {
	content := fixtures(t)["2023-03.x86_64"]
	replace := func(old, new string) func([]byte) []byte {
		return func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(old), []byte(new)) }
	}
	for want, change := range map[string]func([]byte) []byte{
		"no embed area for Ignition: there is no images/ignition.imh among 14 files": replace(`ignition.img"`, `ignition.imh"`),
		"no areas for kernel arguments: coreos/kargs.json is not among 14 files":     replace("kargs.json", "kargs.jsan"),
		"images/pxeboot/rootfs.img is missing":                                       replace("rootfs.img", "rootfs.imh"),
		"32769 has no ISO 9660 volume":                                               replace("CD001", "CD002"),
		"coreos/kargs.json (311 bytes)":                                              replace(`"default":`, `"default" `),
		"expected 1":                                                                 replace(`"offset": 970`, `"pad":   "12"`),
		"32768 to 34816, the file has 0 bytes":                                       func([]byte) []byte { return nil },
		"the volume has 741376 bytes, the file":                                      func(b []byte) []byte { return b[:700_000] },
		"areas for kernel arguments contradict":                                      replace("vmlinuz mitigations=auto", "vmlinuz mitigations=off "),
		"looks for a volume":                                                         replace("coreos.liveiso=fedora", "coreos.liveiso=fodera"),
		"list of partitions has checksum":                                            func(b []byte) []byte { b = bytes.Clone(b); b[1024+40]++; return b },
	} {
		changed := change(content)
		image, err := Parse(bytes.NewReader(changed), int64(len(changed)))
		if err == nil {
			_, err = image.Live("x86_64")
		}
		if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	image := parse(t, content)
	image.VolumeID = "debian-12"
	if _, err := image.Live("x86_64"); err == nil || !strings.Contains(err.Error(), `"debian-12" begins with none of rhcos-, fedora-coreos-`) {
		t.Error(err)
	}
}

// Any stretch of a view is that stretch of the whole, by ReadAt and by Spans.
func TestView(t *testing.T) {
	base := make([]byte, 1000)
	for n := range base {
		base[n] = byte(n)
	}
	view, err := Overlay(1000, Area{400, 100}, Patch{At: 0, Data: []byte("head")}, Patch{At: 390, Data: []byte("x"), Length: 10},
		Patch{At: 500, Data: []byte("after"), Length: 5}, Patch{At: 995, Length: 5})
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Concat([]byte("head"), base[4:390], append([]byte("x"), make([]byte, 9)...), []byte("after"), base[505:995], make([]byte, 5))
	if got := render(t, view, base); !bytes.Equal(got, want) {
		t.Fatal("the view is another")
	}
	for from := range int64(len(want)) {
		for _, length := range []int64{1, 7, 120, 900} {
			to := min(from+length, int64(len(want)))
			got := make([]byte, to-from)
			if n, err := view.ReadAt(bytes.NewReader(base), got, from); err != nil || !bytes.Equal(got, want[from:to]) {
				t.Fatalf("%d to %d: %d, %v", from, to, n, err)
			}
			var joined []byte
			for _, span := range view.Spans(from, to) {
				switch {
				case span.FromBase:
					joined = append(joined, base[span.Offset:span.Offset+span.Length]...)
				case span.Data != nil:
					joined = append(joined, span.Data...)
				default:
					joined = append(joined, make([]byte, span.Length)...)
				}
			}
			if !bytes.Equal(joined, want[from:to]) {
				t.Fatalf("spans from %d to %d", from, to)
			}
		}
	}
	if n, err := view.ReadAt(bytes.NewReader(base), make([]byte, 10), view.Size()-3); n != 3 || err != io.EOF {
		t.Errorf("%d, %v at the end", n, err)
	}
	if n, err := view.ReadAt(bytes.NewReader(base[:200]), make([]byte, 10), 195); n != 5 || err != io.ErrUnexpectedEOF {
		t.Errorf("%d, %v of a base that is too short", n, err)
	}
	for _, bad := range [][]Patch{{{At: -1, Length: 1}}, {{At: 999, Length: 2}}, {{At: 1, Length: 5}, {At: 5, Length: 1}}, {{At: 450, Length: 1}}} {
		if _, err := Overlay(1000, Area{400, 100}, bad...); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}

// FuzzISO changes stretches of the fixtures: headers, descriptors, directories, JSON.
func FuzzISO(f *testing.F) {
	all := fixtures(f)
	names := slices.Sorted(maps.Keys(all))
	for which := range names {
		for _, at := range []uint32{440, sector, kargsHeader, ignitionHeader, systemArea, systemArea + block, 61440, 63488, 86016, 139264} {
			f.Add(uint8(which), at, []byte("\x10\x00"))
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, at uint32, change []byte) {
		content := bytes.Clone(all[names[int(which)%len(names)]])
		copy(content[int(at)%len(content):], change)
		r := bytes.NewReader(content)
		image, err := Parse(r, int64(len(content)))
		if err != nil {
			return
		}
		if _, err := image.Embed([]byte("x")); err != nil {
			t.Error(err)
		}
		if image.Kargs != nil {
			_, _ = image.Kargs.Change("x")
		}
		cut, patches, err := image.Minimal(r)
		if err != nil {
			return
		}
		if view, err := Overlay(image.Size, cut, patches...); err == nil && view.Size() != image.Size-cut.Length {
			t.Errorf("%d bytes without %d of %d", view.Size(), cut.Length, image.Size)
		}
	})
}
