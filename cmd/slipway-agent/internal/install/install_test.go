package install

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/klauspost/compress/zstd"
)

const (
	bootAt   = 2 << 20
	bootSize = 4 << 20
	rawSize  = 12<<20 + 512
)

// gptHead is the start of an image with one partition.
func gptHead(name string, offset, size int64) []byte {
	head := make([]byte, chunk)
	head[510], head[511] = 0x55, 0xaa
	copy(head[512:], "EFI PART")
	binary.LittleEndian.PutUint64(head[512+72:], 2)
	binary.LittleEndian.PutUint32(head[512+80:], 128)
	binary.LittleEndian.PutUint32(head[512+84:], 128)
	entry := head[1024:]
	entry[0] = 1
	binary.LittleEndian.PutUint64(entry[32:], uint64(offset/512))
	binary.LittleEndian.PutUint64(entry[40:], uint64((offset+size)/512-1))
	for i, unit := range utf16.Encode([]rune(name)) {
		binary.LittleEndian.PutUint16(entry[56+2*i:], unit)
	}
	return head
}

// image is a raw disk image: GPT, an ext4 boot partition, zeros, noise to its last byte.
func image(t *testing.T) []byte {
	t.Helper()
	raw := make([]byte, rawSize)
	copy(raw, gptHead("boot", bootAt, bootSize))
	if path, err := exec.LookPath("mkfs.ext4"); err == nil {
		file := filepath.Join(t.TempDir(), "boot")
		if err := os.WriteFile(file, make([]byte, bootSize), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), path, "-q", "-L", "boot", file).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		copy(raw[bootAt:], data)
	}
	noise := rand.New(rand.NewSource(1))
	noise.Read(raw[9<<20:])
	return raw
}

func pack(t *testing.T, raw []byte, options ...zstd.EOption) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out, options...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func sum(data []byte) string {
	digest := sha256.Sum256(data)
	return hex.EncodeToString(digest[:])
}

// disk is a file full of an older system.
func disk(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, bytes.Repeat([]byte{0xee}, int(size)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func job(t *testing.T, device string, raw, packed []byte, handler http.HandlerFunc) Job {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return Job{
		Device: device, HTTP: server.Client(), Percent: func(int) {}, Note: t.Logf,
		Image: Image{URL: server.URL, SHA256: sum(raw), CompressedSHA256: sum(packed), Size: int64(len(raw)), CompressedSize: int64(len(packed))},
	}
}

func serve(packed []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(packed))
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// bootable says that firmware would find a partition table at either end.
func bootable(data []byte) bool {
	return !bytes.Equal(data[:chunk], make([]byte, chunk)) || !bytes.Equal(data[len(data)-chunk:], make([]byte, chunk))
}

func TestRunWritesTheImage(t *testing.T) {
	raw := image(t)
	packed := pack(t, raw)
	for _, size := range []int64{rawSize, 20 << 20} {
		device := disk(t, size)
		j := job(t, device, raw, packed, serve(packed))
		last := 0
		j.Percent = func(p int) { last = p }
		if err := Run(t.Context(), j); err != nil {
			t.Fatal(err)
		}
		if got := read(t, device); !bytes.Equal(got[:len(raw)], raw) || last != 100 {
			t.Errorf("disk of %d bytes does not hold the image (%d %%)", size, last)
		}
	}
}

// TestRunPlacesIgnition needs root for the loop device and the mount.
func TestRunPlacesIgnition(t *testing.T) {
	if _, err := exec.LookPath("debugfs"); err != nil || os.Geteuid() != 0 {
		t.Skip("needs root and e2fsprogs")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip("needs loop devices")
	}
	raw := image(t)
	packed := pack(t, raw)
	device := disk(t, 20<<20)
	j := job(t, device, raw, packed, serve(packed))
	j.Ignition = []byte(`{"ignition":{"version":"3.4.0"}}`)
	j.Network = map[string][]byte{"bond0.nmconnection": []byte("[connection]\nid=bond0\n")}
	if err := Run(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	got := read(t, device)
	if !bytes.Equal(got[:chunk], raw[:chunk]) || !bytes.Equal(got[9<<20:len(raw)], raw[9<<20:]) {
		t.Error("the image around the boot partition is damaged")
	}
	boot := filepath.Join(t.TempDir(), "boot")
	if err := os.WriteFile(boot, got[bootAt:bootAt+bootSize], 0o600); err != nil {
		t.Fatal(err)
	}
	for command, want := range map[string]string{
		"cat /ignition/config.ign":  string(j.Ignition),
		"stat /ignition/config.ign": "Mode:  0600",
		"stat /ignition":            "Mode:  0700",
		"stat /ignition.firstboot":  "Type: regular",

		"cat /coreos-firstboot-network/bond0.nmconnection":  string(j.Network["bond0.nmconnection"]),
		"stat /coreos-firstboot-network/bond0.nmconnection": "Mode:  0600",
		"stat /coreos-firstboot-network":                    "Mode:  0700",
	} {
		out, err := exec.CommandContext(t.Context(), "debugfs", "-R", command, boot).CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v %s", command, err, out)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "e2fsck", "-fn", boot).CombinedOutput(); err != nil {
		t.Errorf("boot file system: %v %s", err, out)
	}
}

func TestRunResumesLostConnections(t *testing.T) {
	raw := image(t)
	packed := pack(t, raw)
	device := disk(t, 20<<20)
	var requests atomic.Int32
	j := job(t, device, raw, packed, func(w http.ResponseWriter, r *http.Request) {
		switch n := requests.Add(1); {
		case n == 2:
			http.Error(w, "restarting", http.StatusBadGateway)
		case n < 6:
			cut(t, w, r, packed)
		default:
			serve(packed)(w, r)
		}
	})
	if err := Run(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, device)[:len(raw)], raw) {
		t.Error("the disk does not hold the image")
	}
}

// cut serves a part and drops the connection.
func cut(t *testing.T, w http.ResponseWriter, r *http.Request, packed []byte) {
	from := 0
	if header := r.Header.Get("Range"); header != "" {
		if _, err := fmt.Sscanf(header, "bytes=%d-", &from); err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(packed)-1, len(packed)))
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(packed)-from))
	if from > 0 {
		w.WriteHeader(http.StatusPartialContent)
	}
	part := packed[from:min(len(packed), from+500<<10)]
	if _, err := w.Write(part); err != nil {
		t.Log(err)
	}
	panic(http.ErrAbortHandler)
}

func TestNothingHalfWrittenBoots(t *testing.T) {
	raw := image(t)
	packed := pack(t, raw)
	bare := pack(t, raw, zstd.WithEncoderCRC(false))
	half := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(packed)))
		if _, err := w.Write(packed[:len(packed)/2]); err != nil {
			t.Log(err)
		}
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		change  func(*Job)
		want    string
	}{
		"killed in the middle": {half, func(*Job) {}, "context canceled"},
		"wrong image digest":   {serve(bare), func(j *Job) { j.Image.SHA256, j.Image.CompressedSHA256 = strings.Repeat("0", 64), sum(bare) }, "the image has digest"},
		"wrong image size":     {serve(packed), func(j *Job) { j.Image.Size++ }, "bytes instead of"},
		"wrong packed digest":  {serve(packed), func(j *Job) { j.Image.CompressedSHA256 = strings.Repeat("0", 64) }, "the compressed image has digest"},
		"no image":             {http.NotFound, func(*Job) {}, "404"},
		"not zstd":             {serve(raw), func(*Job) {}, "unpack image"},
		"torn":                 {serve(packed[:len(packed)-9]), func(*Job) {}, ""},
		"no boot partition":    {serve(packed), func(j *Job) { j.Ignition = []byte("{}") }, "has no"},
	} {
		t.Run(name, func(t *testing.T) {
			device := disk(t, 20<<20)
			raw, packed := raw, packed
			handler := c.handler
			if name == "no boot partition" {
				raw = bytes.Repeat([]byte{1}, 3<<20)
				packed = pack(t, raw)
				handler = serve(packed)
			}
			j := job(t, device, raw, packed, handler)
			c.change(&j)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if name == "killed in the middle" {
				j.Percent = func(p int) {
					if p > 10 {
						cancel()
					}
				}
			}
			err := Run(ctx, j)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if bootable(read(t, device)) {
				t.Error("the disk would boot")
			}
		})
	}
}

func TestRefusesWrongDevices(t *testing.T) {
	raw := image(t)
	packed := pack(t, raw)
	for name, device := range map[string]string{
		"missing": filepath.Join(t.TempDir(), "none"), "directory": t.TempDir(), "character device": "/dev/null", "small": disk(t, 3<<20),
	} {
		if err := Run(t.Context(), job(t, device, raw, packed, serve(packed))); err == nil {
			t.Errorf("%s: was written", name)
		}
	}
}

func TestWipe(t *testing.T) {
	device := disk(t, 5<<20)
	if err := Wipe(device); err != nil {
		t.Fatal(err)
	}
	if data := read(t, device); bootable(data) || data[chunk] != 0xee {
		t.Error("the wrong part was wiped")
	}
	if err := Wipe(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing disk: %v", err)
	}
}

func FuzzPartitions(f *testing.F) {
	f.Add(gptHead("boot", bootAt, bootSize)[:4096])
	f.Add([]byte("EFI PART"))
	f.Fuzz(func(t *testing.T, head []byte) {
		all, err := partitions(head)
		for _, p := range all {
			if err == nil && (p.bytes <= 0 || p.offset < 0) {
				t.Errorf("%+v", p)
			}
		}
	})
}

var _ io.Reader = (*download)(nil)
