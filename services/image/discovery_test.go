package image

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openshift/assisted-service/api/v1beta1"

	"github.com/slipway-io/slipway/services/image/iso"
)

const (
	other    = "6bc7fb7f-7c2f-4d1b-8e1f-4d9e3c7b0a21"
	fullPath = "/byapikey/" + uid + "." + token1 + "/12.1/x86_64/full.iso"
)

// embeddedIn reads back what an ISO has: the archives, unpacked one after the other, and the kernel arguments.
func embeddedIn(t *testing.T, content []byte) (archives []byte, arguments string) {
	t.Helper()
	image, err := iso.Parse(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	area := bytes.NewReader(content[image.Ignition.Offset : image.Ignition.Offset+image.Ignition.Length])
	for area.Len() > 0 {
		start, err := area.ReadByte()
		if err != nil {
			t.Fatal(err)
		}
		if start == 0 {
			continue
		}
		if err := area.UnreadByte(); err != nil {
			t.Fatal(err)
		}
		if at := area.Size() - int64(area.Len()); at%cpioAlign != 0 {
			t.Errorf("an archive begins at %d", at)
		}
		packed, err := gzip.NewReader(area)
		if err != nil {
			t.Fatal(err)
		}
		packed.Multistream(false)
		archive, err := io.ReadAll(packed)
		if err != nil {
			t.Fatal(err)
		}
		archives = append(archives, archive...)
	}
	return archives, image.Kargs.Current
}

const liveArguments = "mitigations=auto,nosmt coreos.liveiso=fedora-coreos-37.20230306.dev.0 ignition.firstboot ignition.platform.id=metal"

func TestDiscoveryISO(t *testing.T) {
	w := newWorld(t)
	response := w.ask("GET", fullPath, "10.7.0.2:8080")
	full := body(t, response)
	if response.StatusCode != 200 || len(full) != len(w.files["live.iso"]) || response.ContentLength != int64(len(full)) ||
		response.Header.Get("Content-Type") != "application/x-cd-image" || response.Header.Get("Accept-Ranges") != "bytes" ||
		response.Header.Get("Content-Disposition") != "attachment; filename=\""+uid+"-discovery.iso\"" {
		t.Fatalf("%s with %d bytes, %v", response.Status, len(full), response.Header)
	}
	archives, arguments := embeddedIn(t, full)
	want := archive(configFile, []byte(`{"ignition":{"version":"3.4.0"},"generation":1}`))
	if !bytes.Equal(archives, want) || arguments != liveArguments {
		t.Errorf("%q with %q", archives, arguments)
	}

	response = w.ask("GET", strings.Replace(fullPath, "full", "minimal", 1), "[fd00:7::2]:8080")
	minimal := body(t, response)
	archives, arguments = embeddedIn(t, minimal)
	if !bytes.Equal(archives, want) || arguments != "mitigations=auto,nosmt ignition.firstboot ignition.platform.id=metal "+
		"coreos.live.rootfs_url=http://[fd00:7::2]:8080/boot-artifacts/12.1/x86_64/rootfs" {
		t.Errorf("%q with %q", archives, arguments)
	}
	if rootfs := w.ask("GET", "/boot-artifacts/12.1/x86_64/rootfs", ""); !bytes.Equal(body(t, rootfs), w.files["rootfs.img"]) {
		t.Error("the minimal ISO's root file system is not there")
	}
	if w.rendered != 2 { // once per address
		t.Errorf("rendered %d times", w.rendered)
	}
}

// Over a connection the kernel sends the long stretches of the base: every range is still that of the whole.
func TestDiscoveryISOOverTCP(t *testing.T) {
	w := newWorld(t)
	w.service.overlays.network = func(context.Context, *v1beta1.InfraEnv) ([]byte, error) {
		return Archive([]File{{Name: "etc/network", Mode: RegularFile | 0o600, Content: []byte("static")}}), nil
	}
	server := httptest.NewServer(w.service)
	defer server.Close()
	get := func(header string) []byte {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+fullPath, nil)
		if err != nil {
			t.Fatal(err)
		}
		if header != "" {
			request.Header.Set("Range", header)
		}
		response, err := server.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		return body(t, response)
	}
	whole := get("")
	if archives, _ := embeddedIn(t, whole); !bytes.Contains(archives, []byte("static")) || !bytes.Contains(archives, []byte("config.ign")) {
		t.Errorf("embedded: %q", archives)
	}
	random := rand.New(rand.NewPCG(7, 8))
	for range 200 {
		from := random.IntN(len(whole))
		to := from + random.IntN(len(whole)-from)
		if got := get(fmt.Sprintf("bytes=%d-%d", from, to)); !bytes.Equal(got, whole[from:to+1]) {
			t.Fatalf("range %d-%d: %d bytes", from, to, len(got))
		}
	}
	if got := get("bytes=0-9,157696-157705"); bytes.Count(got, []byte("Content-Range: bytes ")) != 2 || !bytes.Contains(got, whole[157696:157706]) {
		t.Errorf("two ranges: %q", got)
	}
}

// A request keeps its generation; one that goes on with an older one gets all of the new.
func TestDiscoveryISOGenerations(t *testing.T) {
	w := newWorld(t)
	tag := w.ask("HEAD", fullPath, "").Header.Get("ETag")
	if again := w.ask("HEAD", fullPath, "").Header.Get("ETag"); again != tag || len(tag) != 34 {
		t.Errorf("tags %s, %s", tag, again)
	}
	part := w.ask("GET", fullPath, "", "Range", "bytes=157696-157706", "If-Range", tag)
	if got := body(t, part); part.StatusCode != 206 || !bytes.HasPrefix(got, []byte{0x1f, 0x8b}) || len(got) != 11 {
		t.Errorf("%s, %x", part.Status, got)
	}
	w.infraEnv.Generation = 2
	part = w.ask("GET", fullPath, "", "Range", "bytes=157696-157706", "If-Range", tag)
	if got := body(t, part); part.StatusCode != 200 || len(got) != len(w.files["live.iso"]) || part.Header.Get("ETag") == tag {
		t.Errorf("%s, %d bytes of the next generation", part.Status, len(got))
	}
}

func TestDiscoveryISORoutes(t *testing.T) {
	w := newWorld(t)
	foreign := "token-of-" + other
	for path, status := range map[string]int{
		"/images/" + uid + "?type=full-iso&version=12.1&arch=amd64&api_key=" + token1:     200,
		"/images/" + uid + "?type=minimal-iso&image_token=" + token1:                      200,
		"/images/" + uid + "?type=disconnected-iso&api_key=" + token1:                     400,
		"/images/" + uid + "?type=full-iso&version=99&api_key=" + token1:                  404,
		"/images/" + uid + "?type=full-iso":                                               401,
		"/images/" + uid + "?type=full-iso&api_key=" + foreign:                            403,
		"/bytoken/" + uid + "." + token1 + "/12.1/x86_64/minimal.iso":                     200,
		"/byid/" + uid + "/12.1/x86_64/full.iso?api_key=" + token1:                        200,
		"/byid/" + uid + "/12.1/x86_64/full.iso":                                          401,
		"/byapikey/" + token1 + "/12.1/x86_64/full.iso":                                   400,
		"/byapikey/" + uid + "." + foreign + "/12.1/x86_64/full.iso":                      403,
		"/byapikey/" + other + "." + token1 + "/12.1/x86_64/full.iso":                     403,
		"/byapikey/" + other + "." + foreign + "/12.1/x86_64/full.iso":                    404,
		"/byapikey/" + uid + "." + token1 + "/99/x86_64/full.iso":                         404,
		"/byapikey/" + uid + "." + token1 + "/12.1/vax/full.iso":                          400,
		"/byapikey/" + uid + "." + token1 + "/12.1/x86_64/disconnected.iso":               404,
		"/byapikey/" + uid + "." + token1 + "/12.1/x86_64/full":                           404,
		"/byapikey/" + uid + "." + token1 + "/12.1/x86_64/..%2f..%2f..%2fetc%2fpasswd":    404,
		"/boot-artifacts/12.1/aarch64/rootfs":                                             404,
		"/images/" + uid + "/pxe-initrd?version=12.1&arch=x86_64&api_key=" + foreign:      403,
		"/images/" + uid + "/pxe-initrd?version=12.1&arch=x86_64&api_key=" + token1 + "x": 403,
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			if response := w.ask(method, path, ""); response.StatusCode != status {
				t.Errorf("%s %s: %d, want %d", method, path, response.StatusCode, status)
			}
		}
	}
	if strings.Contains(w.log.String(), token1) || strings.Contains(w.log.String(), foreign) {
		t.Error("a token is in the log")
	}
}

// An InfraEnv that an ISO cannot hold is refused with the numbers, to who downloads and to the controller.
func TestDiscoveryISORefusals(t *testing.T) {
	for want, change := range map[string]func(*world){
		"embed Ignition: the archive has 3": func(w *world) {
			random := rand.New(rand.NewPCG(5, 6))
			w.noise = make([]byte, 300<<10)
			for n := range w.noise {
				w.noise[n] = byte(random.Uint32())
			}
		},
		"kernel arguments have 1": func(w *world) {
			w.infraEnv.Spec.KernelArguments = []v1beta1.KernelArgument{{Operation: "append", Value: "a=" + strings.Repeat("b", 1100)}}
		},
		"InfraEnv slipway/lab: kernel argument \"a=$b\" has a '$'": func(w *world) {
			w.infraEnv.Spec.KernelArguments = []v1beta1.KernelArgument{{Operation: "append", Value: "a=$b"}}
		},
	} {
		w := newWorld(t)
		change(w)
		response := w.ask("GET", fullPath, "")
		if got := body(t, response); response.StatusCode != 409 || !strings.Contains(string(bytes.ReplaceAll(got, []byte(`\"`), []byte(`"`))), want) {
			t.Errorf("want %q, got %s %s", want, response.Status, got)
		}
		if err := w.service.CheckISO(t.Context(), w.infraEnv, "12.1", "x86_64", minimalISO); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	w := newWorld(t)
	if err := w.service.CheckISO(t.Context(), w.infraEnv, "12.1", "x86_64", fullISO); err != nil {
		t.Error(err)
	}
}

// A directory with nothing but an ISO serves kernel, initramfs and root file system out of it.
func TestOSOfAnISO(t *testing.T) {
	w := newWorld(t)
	w.describe(func(d map[string]any) {
		for _, name := range []string{"kernel", "initrd", "rootfs", "disk"} {
			delete(d, name)
		}
		d["version"], d["openshiftVersion"] = "37.20230306.dev.0", "4.14"
	})
	image, err := OpenOS(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = image.Close() }()
	if err := w.service.Add(image); err != nil {
		t.Fatal(err)
	}
	if err := w.service.Add(image); err == nil {
		t.Error("it is there twice")
	}
	for name, path := range map[string]string{"kernel": iso.KernelFile, "rootfs": iso.RootfsFile} {
		response := w.ask("GET", "/boot-artifacts/"+name+"?version=4.14", "")
		area := image.live.image.Files[path]
		if got := body(t, response); !bytes.Equal(got, w.files["live.iso"][area.Offset:area.Offset+area.Length]) || len(got) == 0 ||
			response.Header.Get("ETag") != fmt.Sprintf("%q", fmt.Sprintf("%s-%d-%d", w.sum("live.iso"), area.Offset, area.Length)) {
			t.Errorf("%s: %s %q", name, response.Status, got)
		}
	}
	initrd := body(t, w.ask("GET", strings.Replace(initrdPath, "12.1", "37.20230306.dev.0", 1), ""))
	if !bytes.HasPrefix(initrd, []byte("initrd")) || !bytes.Contains(initrd, []byte("config.ign")) {
		t.Errorf("%q", initrd)
	}
	if response := w.ask("GET", "/boot-artifacts/disk?version=4.14", ""); response.StatusCode != 404 {
		t.Errorf("a disk that is not there: %s", response.Status)
	}
	if err := os.Truncate(filepath.Join(w.dir, "live.iso"), 1000); err != nil {
		t.Fatal(err)
	}
	w.describe(func(d map[string]any) { d["iso"].(map[string]any)["size"] = 1000 })
	if _, err := OpenOS(w.dir); err == nil || !strings.Contains(err.Error(), "the file has 1000 bytes") {
		t.Errorf("a truncated ISO: %v", err)
	}
}

func TestArguments(t *testing.T) {
	type change = v1beta1.KernelArgument
	defaults := []string{"quiet", "console=tty0", "console=ttyS0,115200", "a=1"}
	for _, c := range []struct {
		changes []change
		want    string
	}{
		{nil, "quiet console=tty0 console=ttyS0,115200 a=1"},
		{[]change{{Operation: "append", Value: "b"}, {Operation: "append", Value: "a=2"}}, "quiet console=tty0 console=ttyS0,115200 a=1 b a=2"},
		{[]change{{Operation: "delete", Value: "console"}}, "quiet a=1"},
		{[]change{{Operation: "delete", Value: "console=tty0"}, {Operation: "delete", Value: "quie"}}, "quiet console=ttyS0,115200 a=1"},
		{[]change{{Operation: "replace", Value: "a=2"}}, "quiet console=tty0 console=ttyS0,115200 a=2"},
		{[]change{{Operation: "replace", Value: "console=ttyS1"}}, "quiet console=ttyS1 a=1"},
		{[]change{{Operation: "replace", Value: "console=tty0=tty1"}}, "quiet console=tty1 console=ttyS0,115200 a=1"},
		{[]change{{Operation: "replace", Value: "console=ttyS7,9600=ttyS1"}}, "quiet console=tty0 console=ttyS0,115200 a=1 console=ttyS1"},
		{[]change{{Operation: "replace", Value: "rd.znet=qeth,layer2=1"}}, "quiet console=tty0 console=ttyS0,115200 a=1 rd.znet=qeth,layer2=1"},
		{[]change{{Operation: "replace", Value: "ip=[fd00::1]"}}, "quiet console=tty0 console=ttyS0,115200 a=1 ip=[fd00::1]"},
		{[]change{{Operation: "replace", Value: "root=UUID=1"}}, "quiet console=tty0 console=ttyS0,115200 a=1 root=UUID=1"},
	} {
		got, err := changeArguments(defaults, c.changes)
		if err != nil || joined(got) != c.want {
			t.Errorf("%v: %q, %v", c.changes, got, err)
		}
	}
	for _, bad := range []change{{Operation: "prepend", Value: "a"}, {Operation: "replace", Value: "quiet"}, {Operation: "append", Value: "a b"}, {Operation: "append"}} {
		if got, err := changeArguments(defaults, []change{bad}); err == nil {
			t.Errorf("%v gives %q", bad, got)
		}
	}
}

// BenchmarkRange is what a range of 2 KiB costs besides HTTP's own parsing.
func BenchmarkRange(b *testing.B) {
	w := newWorld(b)
	b.ReportAllocs()
	for b.Loop() {
		if response := w.ask("GET", fullPath, "", "Range", "bytes=157696-159743"); response.StatusCode != http.StatusPartialContent {
			b.Fatal(response.Status)
		}
	}
}
