package release

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

type item struct {
	kind byte
	name string
	link string
	body string
	mode int64
}

func tarOf(t testing.TB, items []item) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, i := range items {
		if i.mode == 0 {
			i.mode = 0o755
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: i.kind, Name: i.name, Linkname: i.link, Size: int64(len(i.body)), Mode: i.mode}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(i.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func extractInto(dir string, layer []byte, max limits) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return readTar(bytes.NewReader(layer), max, extractor{root: root, written: map[string]bool{}}.entry)
}

var roomy = limits{bytes: 10 << 20, entries: 1000}

func TestHostileLayersAreRefused(t *testing.T) {
	for name, items := range map[string][]item{
		"path goes up":            {{kind: tar.TypeReg, name: "../evil", body: "x"}},
		"path goes up inside":     {{kind: tar.TypeReg, name: "a/../../evil", body: "x"}},
		"hard link goes up":       {{kind: tar.TypeLink, name: "evil", link: "../outside"}},
		"hard link to nothing":    {{kind: tar.TypeLink, name: "evil", link: "none"}},
		"hard link to a link":     {{kind: tar.TypeSymlink, name: "a/b/l", link: "../../x"}, {kind: tar.TypeLink, name: "l", link: "a/b/l"}},
		"device":                  {{kind: tar.TypeBlock, name: "sda"}},
		"fifo":                    {{kind: tar.TypeFifo, name: "pipe"}},
		"whiteout of the parent":  {{kind: tar.TypeReg, name: "a/.wh..."}, {kind: tar.TypeReg, name: "a/.wh..", body: ""}},
		"folder below a file":     {{kind: tar.TypeReg, name: "a", body: "x"}, {kind: tar.TypeReg, name: "a/b", body: "x"}},
		"links in a circle":       {{kind: tar.TypeSymlink, name: "a", link: "b"}, {kind: tar.TypeSymlink, name: "b", link: "a"}, {kind: tar.TypeReg, name: "a/f", body: "x"}},
		"more than it may unpack": {{kind: tar.TypeReg, name: "big", body: strings.Repeat("0", 11<<20)}},
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			dir := filepath.Join(base, "image")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(base, "outside"), []byte("secret"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := extractInto(dir, tarOf(t, items), roomy); err == nil {
				t.Error("extracted without an error")
			}
			if entries, err := os.ReadDir(base); err != nil || len(entries) != 2 {
				t.Errorf("beside the image: %v, %v", entries, err)
			}
		})
	}
	if err := extractInto(t.TempDir(), sparse(t, 1<<40), roomy); !errors.Is(err, ErrInvalid) {
		t.Errorf("file of holes: %v", err)
	}
	many := make([]item, 11)
	for i := range many {
		many[i] = item{kind: tar.TypeDir, name: "d"}
	}
	if err := extractInto(t.TempDir(), tarOf(t, many), limits{bytes: 1 << 20, entries: 10}); !errors.Is(err, ErrInvalid) {
		t.Errorf("too many entries: %v", err)
	}
}

// sparse is an archive of a few bytes with a file of the given size, all of it a hole.
func sparse(t *testing.T, size int64) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	body := "0\n" // the map: no data at all
	body += strings.Repeat("\x00", 512-len(body))
	header := &tar.Header{Typeflag: tar.TypeReg, Name: "holes", Size: int64(len(body)), Mode: 0o600, Format: tar.FormatPAX}
	if err := w.WriteHeader(header); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(body)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return append(paxHeader(t, map[string]string{
		"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "holes", "GNU.sparse.realsize": fmt.Sprint(size),
	}), out.Bytes()...)
}

// paxHeader is the block before an entry; archive/tar reads these records but writes none.
func paxHeader(t *testing.T, records map[string]string) []byte {
	t.Helper()
	var body strings.Builder
	for _, key := range slices.Sorted(maps.Keys(records)) {
		line := " " + key + "=" + records[key] + "\n"
		length := len(line) + 2 // every record here is of two digits
		fmt.Fprintf(&body, "%d%s", length, line)
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "pax", Size: int64(body.Len()), Mode: 0o600, Format: tar.FormatUSTAR}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(body.String())); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	raw := out.Bytes()
	raw[156] = 'x' // type flag; it counts in the header's checksum
	sum := 0
	for i, b := range raw[:512] {
		if i >= 148 && i < 156 {
			b = ' '
		}
		sum += int(b)
	}
	copy(raw[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return raw
}

func TestLinksStayInside(t *testing.T) {
	dir := t.TempDir()
	layer := tarOf(t, []item{
		{kind: tar.TypeReg, name: "/etc/passwd", body: "image"},
		{kind: tar.TypeSymlink, name: "usr/lib/abs", link: "/etc/passwd"},
		{kind: tar.TypeSymlink, name: "usr/lib/up", link: "../../../../../../etc/passwd"},
		{kind: tar.TypeSymlink, name: "lib", link: "usr/lib"},
		{kind: tar.TypeSymlink, name: "deep/er/still", link: "/lib"},
		{kind: tar.TypeSymlink, name: "deep/er/still/late", link: "../../../etc/passwd"}, // written through two links
		{kind: tar.TypeSymlink, name: "top", link: "/"},
		{kind: tar.TypeReg, name: "top/made/through", body: "image"},
		{kind: tar.TypeLink, name: "hard", link: "/etc/passwd"},
	})
	if err := extractInto(dir, layer, roomy); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"usr/lib/abs", "usr/lib/up", "lib/abs", "usr/lib/late", "made/through", "hard"} {
		// EvalSymlinks follows as a process of the host would.
		real, err := filepath.EvalSymlinks(filepath.Join(dir, file))
		if err != nil || !strings.HasPrefix(real, dir) {
			t.Errorf("%s leads to %s, %v", file, real, err)
			continue
		}
		if raw, err := os.ReadFile(real); err != nil || string(raw) != "image" {
			t.Errorf("%s reads %q, %v", file, raw, err)
		}
	}
}

func TestLayersStack(t *testing.T) {
	dir := t.TempDir()
	for _, layer := range [][]item{
		{
			{kind: tar.TypeReg, name: "gone", body: "1"}, {kind: tar.TypeReg, name: "kept", body: "1", mode: 0o4777},
			{kind: tar.TypeReg, name: "d/old", body: "1"}, {kind: tar.TypeReg, name: "swap/x", body: "1"}, {kind: tar.TypeDir, name: "d2/", mode: 0o500},
		},
		{
			{kind: tar.TypeReg, name: ".wh.gone"}, {kind: tar.TypeReg, name: "d/new", body: "2"}, {kind: tar.TypeReg, name: "d/.wh..wh..opq"},
			{kind: tar.TypeReg, name: "swap", body: "2"}, {kind: tar.TypeReg, name: "d2/f", body: "2"},
		},
	} {
		if err := extractInto(dir, tarOf(t, layer), roomy); err != nil {
			t.Fatal(err)
		}
	}
	for file, want := range map[string]string{"gone": "", "kept": "1", "d/old": "", "d/new": "2", "swap": "2", "d2/f": "2"} {
		raw, err := os.ReadFile(filepath.Join(dir, file))
		if string(raw) != want || (want == "") != errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s reads %q, %v; want %q", file, raw, err, want)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "kept")); err != nil || info.Mode() != 0o755 {
		t.Errorf("kept has mode %v, %v; want no set-uid and no write for others", info.Mode(), err)
	}
}

func TestCompressions(t *testing.T) {
	plain := tarOf(t, []item{{kind: tar.TypeReg, name: "f", body: "x"}})
	var zipped, zstandard bytes.Buffer
	for _, w := range []io.WriteCloser{gzip.NewWriter(&zipped), must(zstd.NewWriter(&zstandard))} {
		if _, err := w.Write(plain); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for name, layer := range map[string][]byte{"plain": plain, "gzip": zipped.Bytes(), "zstd": zstandard.Bytes()} {
		dir := t.TempDir()
		if err := extractInto(dir, layer, roomy); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "f")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func FuzzExtract(f *testing.F) {
	f.Add(tarOf(f, []item{{kind: tar.TypeReg, name: "a/b", body: "x"}, {kind: tar.TypeSymlink, name: "l", link: "/a"}, {kind: tar.TypeReg, name: "l/c", body: "y"}}))
	f.Add(tarOf(f, []item{{kind: tar.TypeSymlink, name: "a/b/l", link: "../../x"}, {kind: tar.TypeLink, name: "l", link: "a/b/l"}}))
	f.Add(tarOf(f, []item{{kind: tar.TypeReg, name: "../evil", body: "x"}, {kind: tar.TypeReg, name: ".wh.a"}}))
	f.Fuzz(func(t *testing.T, layer []byte) {
		base := t.TempDir()
		dir := filepath.Join(base, "image")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		_ = extractInto(dir, layer, limits{bytes: 1 << 20, entries: 100})
		if entries, err := os.ReadDir(base); err != nil || len(entries) != 1 {
			t.Fatalf("beside the image: %v, %v", entries, err)
		}
		err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.Type() != os.ModeSymlink {
				return err
			}
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			if to := filepath.Join(filepath.Dir(path), target); filepath.IsAbs(target) || (to != dir && !strings.HasPrefix(to, dir+"/")) {
				t.Errorf("%s leads to %s", path, target)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
