package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/openshift/assisted-service/api/v1beta1"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/image/iso"
)

const initrdPath = "/images/" + uid + "/pxe-initrd?arch=x86_64&version=12.1&api_key=" + token1

func body(t *testing.T, response *http.Response) []byte {
	t.Helper()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// want is the whole initrd, put together in the plainest way.
func (w *world) want(generation int) []byte {
	content := bytes.Clone(w.files["initrd.img"])
	for len(content)%4 != 0 {
		content = append(content, 0)
	}
	return append(content, archive("config.ign", fmt.Appendf(nil, `{"ignition":{"version":"3.4.0"},"generation":%d}`, generation))...)
}

func TestInitrd(t *testing.T) {
	w := newWorld(t)
	want := w.want(1)
	response := w.ask("GET", initrdPath, "")
	if got := body(t, response); response.StatusCode != 200 || !bytes.Equal(got, want) {
		t.Fatalf("status %d, %d bytes, want %d", response.StatusCode, len(got), len(want))
	}
	etag := response.Header.Get("ETag")
	if response.ContentLength != int64(len(want)) || response.Header.Get("Accept-Ranges") != "bytes" ||
		len(etag) != 34 || strings.HasPrefix(etag, "W/") {
		t.Errorf("headers %v", response.Header)
	}

	head := w.ask("HEAD", initrdPath, "")
	if head.StatusCode != 200 || head.Header.Get("Content-Length") != strconv.Itoa(len(want)) || len(body(t, head)) > 0 {
		t.Errorf("HEAD: %d %v", head.StatusCode, head.Header)
	}
	for name, c := range map[string]struct {
		headers []string
		status  int
		body    []byte
	}{
		"first byte":        {[]string{"Range", "bytes=0-0"}, 206, want[:1]},
		"last five":         {[]string{"Range", "bytes=-5"}, 206, want[len(want)-5:]},
		"past the end":      {[]string{"Range", "bytes=9999999-"}, 416, nil},
		"malformed":         {[]string{"Range", "bytes=u-u"}, 200, want},
		"if-range same":     {[]string{"Range", "bytes=4-7", "If-Range", etag}, 206, want[4:8]},
		"if-range other":    {[]string{"Range", "bytes=4-7", "If-Range", `"other"`}, 200, want},
		"if-none-match":     {[]string{"If-None-Match", etag}, 304, []byte{}},
		"across the border": {[]string{"Range", "bytes=19999-20010"}, 206, want[19999:20011]},
	} {
		t.Run(name, func(t *testing.T) {
			response := w.ask("GET", initrdPath, "", c.headers...)
			got := body(t, response)
			if response.StatusCode != c.status || (c.body != nil && !bytes.Equal(got, c.body)) {
				t.Errorf("status %d with %d bytes", response.StatusCode, len(got))
			}
			if c.status == 416 && response.Header.Get("Content-Range") != fmt.Sprintf("bytes */%d", len(want)) {
				t.Errorf("headers %v", response.Header)
			}
		})
	}
	if w.rendered != 1 {
		t.Errorf("rendered %d times", w.rendered)
	}
}

// Any range of the stream is that range of the whole.
func TestInitrdRanges(t *testing.T) {
	w := newWorld(t)
	want := w.want(1)
	random := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		from := random.IntN(len(want))
		to := from + random.IntN(len(want)-from)
		response := w.ask("GET", initrdPath, "", "Range", fmt.Sprintf("bytes=%d-%d", from, to))
		if got := body(t, response); response.StatusCode != 206 || !bytes.Equal(got, want[from:to+1]) ||
			response.ContentLength != int64(to-from+1) {
			t.Fatalf("range %d-%d: status %d, %d bytes", from, to, response.StatusCode, len(got))
		}
	}
}

// The reader keeps the rules that Go's own test of readers and seekers checks.
func TestStream(t *testing.T) {
	base := filepath.Join(t.TempDir(), "base")
	if err := os.WriteFile(base, []byte("0123456789"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(base)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for want, spans := range map[string][]iso.Span{
		"":              {},
		"34\x00\x00ab7": {{FromBase: true, Offset: 3, Length: 2}, {Length: 2}, {Data: []byte("ab"), Length: 2}, {}, {FromBase: true, Offset: 7, Length: 1}},
	} {
		if err := iotest.TestReader(&stream{view: iso.Join(spans...), base: f}, []byte(want)); err != nil {
			t.Errorf("%q: %v", want, err)
		}
	}
	short := &stream{view: iso.Join(iso.Span{FromBase: true, Offset: 8, Length: 5}), base: f}
	if _, err := io.ReadAll(short); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a base that is too short gives %v", err)
	}
	if _, err := short.Seek(-1, io.SeekStart); err == nil {
		t.Error("seek before the start")
	}
}

// A download that began keeps its generation; the next one has the new.
func TestGenerations(t *testing.T) {
	w := newWorld(t)
	over, err := w.service.overlays.of(t.Context(), w.infraEnv, w.service.config.Addresses[0])
	if err != nil {
		t.Fatal(err)
	}
	f, err := w.os.Initrd.shared(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	running := &stream{view: customised(w.os.Initrd, over), base: f}
	half := make([]byte, 10_000)
	if _, err := io.ReadFull(running, half); err != nil {
		t.Fatal(err)
	}
	etag := w.ask("HEAD", initrdPath, "").Header.Get("ETag")

	w.infraEnv.Generation = 2
	changed := w.ask("GET", initrdPath, "", "Range", "bytes=10000-", "If-Range", etag)
	if got := body(t, changed); changed.StatusCode != 200 || !bytes.Equal(got, w.want(2)) {
		t.Errorf("a resumed download got status %d and %d bytes", changed.StatusCode, len(got))
	}
	if changed.Header.Get("ETag") == etag {
		t.Error("two generations share a tag")
	}
	rest, err := io.ReadAll(running)
	if err != nil || !bytes.Equal(append(half, rest...), w.want(1)) {
		t.Errorf("the running download has mixed generations (%v)", err)
	}
	if w.rendered != 2 || len(w.service.overlays.byKey) != 1 {
		t.Errorf("rendered %d, kept %d", w.rendered, len(w.service.overlays.byKey))
	}
}

// A host is told the address that it came to, whatever the family; each address is rendered once.
func TestOverlayOfAddress(t *testing.T) {
	w := newWorld(t)
	tags := map[string]string{}
	for range 2 {
		for _, local := range []string{"", "10.7.0.2:8080", "[::ffff:10.7.0.2]:8080", "[fd00:7::2]:8443", "[fe80::2%br0]:8443", "192.0.2.9:8080"} {
			tags[local] = w.ask("HEAD", initrdPath, local).Header.Get("ETag")
		}
	}
	if want := w.service.config.Addresses; !slices.Equal(w.told, want) {
		t.Errorf("rendered for %v, want %v", w.told, want)
	}
	if tags["10.7.0.2:8080"] != tags[""] || tags["192.0.2.9:8080"] != tags[""] || tags["[fe80::2%br0]:8443"] != tags["[fd00:7::2]:8443"] ||
		tags["[fd00:7::2]:8443"] == tags[""] {
		t.Errorf("tags %v", tags)
	}
}

func TestOverlaysAreBounded(t *testing.T) {
	w := newWorld(t)
	for i := range overlaysKept + 50 {
		infraEnv := w.infraEnv.DeepCopy()
		infraEnv.UID = typesUID(i)
		if _, err := w.service.overlays.of(t.Context(), infraEnv, w.service.config.Addresses[0]); err != nil {
			t.Fatal(err)
		}
	}
	if kept := len(w.service.overlays.byKey); kept != overlaysKept || len(w.service.overlays.order) != overlaysKept {
		t.Errorf("kept %d", kept)
	}
}

// The kernel's own reading of an archive, by busybox.
func TestArchive(t *testing.T) {
	if _, err := exec.LookPath("busybox"); err != nil {
		t.Skip("busybox is not installed")
	}
	for _, size := range []int{0, 1, 2, 3, 4, 4097} {
		content := bytes.Repeat([]byte("x"), size)
		dir := t.TempDir()
		command := exec.CommandContext(t.Context(), "busybox", "cpio", "-i")
		command.Dir, command.Stdin = dir, bytes.NewReader(archive("config.ign", content))
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		got, err := os.ReadFile(filepath.Join(dir, "config.ign"))
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("size %d: %d bytes, %v", size, len(got), err)
		}
		info, err := os.Stat(filepath.Join(dir, "config.ign"))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v %v", info.Mode(), err)
		}
	}
}

func TestBootArtifacts(t *testing.T) {
	w := newWorld(t)
	for name, file := range map[string]string{"kernel": "kernel", "rootfs": "rootfs.img", "disk": "disk.img.zst", "agent": "agent"} {
		response := w.ask("GET", "/boot-artifacts/"+name+"?arch=amd64&version=12.1", "")
		if got := body(t, response); response.StatusCode != 200 || !bytes.Equal(got, w.files[file]) ||
			response.Header.Get("ETag") != `"`+w.sum(file)+`"` || response.ContentLength != int64(len(w.files[file])) {
			t.Errorf("%s: %d %v", name, response.StatusCode, response.Header)
		}
	}
	if agent := w.service.config.Agents["x86_64"]; agent.Hash() != "sha256-"+w.sum("agent") {
		t.Errorf("agent hash %s", agent.Hash())
	}
	for path, status := range map[string]int{
		"/boot-artifacts/kernel":                                     200,
		"/boot-artifacts/initrd":                                     404,
		"/boot-artifacts/kernel?version=99":                          404,
		"/boot-artifacts/kernel?arch=s390x":                          404,
		"/boot-artifacts/agent?arch=aarch64":                         404,
		"/boot-artifacts/kernel?arch=vax":                            400,
		"/boot-artifacts/kernel?version=../../etc":                   400,
		"/boot-artifacts/..%2f..%2fetc%2fpasswd":                     404,
		"/images/" + uid + "/pxe-initrd":                             401,
		"/images/" + uid + "/pxe-initrd?api_key=x":                   403,
		"/images/not-a-uuid/pxe-initrd?api_key=x":                    400,
		initrdPath + "&arch=s390x":                                   200,
		strings.Replace(initrdPath, "12.1", "99", 1):                 404,
		strings.Replace(initrdPath, "x86_64", "vax", 1):              400,
		strings.Replace(initrdPath, "5ab6ea6e", "00000000", 1):       403,
		"/images/" + other + "/pxe-initrd?api_key=token-of-" + other: 404,
		"/api/assisted-install/v2/infra-envs/" + uid + "/downloads/files?file_name=x&api_key=" + token1:             400,
		"/api/assisted-install/v2/infra-envs/" + uid + "/downloads/files?file_name=discovery.ign":                   401,
		"/api/assisted-install/v2/infra-envs/" + uid + "/downloads/files?file_name=discovery.ign&api_key=" + token1: 200,
	} {
		response := w.ask("GET", path, "")
		if response.StatusCode != status {
			t.Errorf("%s: %d, want %d", path, response.StatusCode, status)
		}
		if status >= 400 && response.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: no problem document but %s", path, response.Header.Get("Content-Type"))
		}
	}
	if strings.Contains(w.log.String(), token1) {
		t.Error("a token is in the log")
	}
}

func TestOpenOS(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(map[string]any)
		want string
	}{
		"version":       {func(d map[string]any) { d["version"] = "a b" }, "version"},
		"architecture":  {func(d map[string]any) { d["cpuArchitecture"] = "vax" }, "cpuArchitecture"},
		"size":          {func(d map[string]any) { d["kernel"].(map[string]any)["size"] = 1 }, "kernel: file differs from its description: kernel has 5003 bytes, not 1"},
		"missing file":  {func(d map[string]any) { d["rootfs"].(map[string]any)["file"] = "other" }, "rootfs"},
		"outside":       {func(d map[string]any) { d["rootfs"].(map[string]any)["file"] = "../x" }, "rootfs"},
		"no digest":     {func(d map[string]any) { d["initrd"].(map[string]any)["sha256"] = "" }, "initrd"},
		"unpacked disk": {func(d map[string]any) { delete(d["disk"].(map[string]any), "uncompressedSha256") }, "uncompressedSha256"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.describe(c.edit)
			if _, err := OpenOS(w.dir); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("want an error with %q, got %v", c.want, err)
			}
		})
	}
	if _, err := OpenOS(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a directory that is not there was opened")
	}
}

func TestVerify(t *testing.T) {
	w := newWorld(t)
	stamps := filepath.Join(t.TempDir(), "stamps.json")
	read := 0
	count := func(string, int64, int64) { read++ }
	if err := w.os.Verify(t.Context(), stamps, count); err != nil || read == 0 {
		t.Fatalf("%v after %d reads", err, read)
	}
	again, err := OpenOS(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.Close() }()
	read = 0
	if err := again.Verify(t.Context(), stamps, count); err != nil || read != 0 {
		t.Errorf("%v, read again %d times", err, read)
	}

	// Same size, other bytes: found by Verify, and by whoever asks first without it.
	content := w.files["kernel"]
	content[7] ^= 1
	if err := os.WriteFile(filepath.Join(w.dir, "kernel"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(filepath.Join(w.dir, "kernel"), later, later); err != nil {
		t.Fatal(err)
	}
	if response := w.ask("GET", "/boot-artifacts/kernel", ""); response.StatusCode != 503 {
		t.Errorf("a changed file is served with %d", response.StatusCode)
	}
	changed, err := OpenOS(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = changed.Close() }()
	if err := changed.Verify(t.Context(), stamps, nil); !errors.Is(err, ErrDiffers) {
		t.Errorf("got %v", err)
	}
	w.service.systems.all = []*OS{changed}
	if response := w.ask("GET", "/boot-artifacts/kernel", ""); response.StatusCode != 503 {
		t.Errorf("a wrong digest is served with %d", response.StatusCode)
	}
	if !strings.Contains(w.log.String(), "kernel has digest") {
		t.Errorf("log %s", w.log.String())
	}
}

func TestStaticNetworkingFollowsTheConfiguration(t *testing.T) {
	w := newWorld(t)
	asked, keyfile := 0, "first"
	w.service.overlays.network = func(context.Context, *v1beta1.InfraEnv) ([]byte, error) {
		asked++
		return Archive([]File{
			{Name: "etc/network/host0/eth0.nmconnection", Mode: RegularFile | 0o600, Content: []byte(keyfile)},
			{Name: "etc/network/link", Mode: Link, Content: []byte("host0")},
		}), nil
	}
	read := func() (string, string) {
		response := w.ask("GET", initrdPath, "")
		initrd := body(t, response)
		if response.StatusCode != 200 {
			t.Fatalf("%s %s", response.Status, initrd)
		}
		network := initrd[len(w.want(1)):]
		dir := t.TempDir()
		command := exec.CommandContext(t.Context(), "busybox", "cpio", "-i")
		command.Dir, command.Stdin = dir, bytes.NewReader(network)
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
		content, err := os.ReadFile(filepath.Join(dir, "etc/network/link/eth0.nmconnection"))
		if err != nil || len(network)%cpioAlign != 0 {
			t.Errorf("%d bytes, %v", len(network), err)
		}
		return string(content), response.Header.Get("ETag")
	}
	first, tag := read()
	if again, same := read(); first != "first" || again != first || same != tag || asked != 1 {
		t.Errorf("%q, then %q, rendered %d times, tags %s %s", first, again, asked, tag, same)
	}
	keyfile = "second"
	w.infraEnv.Annotations = map[string]string{api.ImageAnnotation: "another"}
	if second, other := read(); second != keyfile || other == tag || asked != 2 {
		t.Errorf("%q, rendered %d times, tags %s %s", second, asked, tag, other)
	}
}
