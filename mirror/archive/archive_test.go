package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/slipway-io/slipway/mirror/plan"
	"github.com/slipway-io/slipway/mirror/remote"
)

// memory is a source that may fail.
type memory struct {
	blobs map[string][]byte
	fail  map[string]error
	sent  atomic.Int64
	after int64 // end of ctx once so much was sent
	stop  context.CancelFunc
}

func (m *memory) Open(ctx context.Context, digest string, _ plan.Blob, offset int64) (io.ReadCloser, error) {
	if err := m.fail[digest]; err != nil {
		return nil, err
	}
	return io.NopCloser(&sending{m: m, ctx: ctx, r: bytes.NewReader(m.blobs[digest][offset:])}), nil
}

type sending struct {
	m   *memory
	ctx context.Context
	r   io.Reader
}

func (s *sending) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.r.Read(p[:min(len(p), 64<<10)])
	if sent := s.m.sent.Add(int64(n)); s.m.after > 0 && sent > s.m.after {
		s.m.stop()
	}
	return n, err
}

// planned makes a plan of images with a layer of their own and one in common.
func planned(t testing.TB, images, size int) (*plan.Plan, *memory) {
	t.Helper()
	random := rand.NewChaCha8([32]byte{7})
	m := &memory{blobs: map[string][]byte{}, fail: map[string]error{}}
	p := plan.New()
	blob := func(size int) string {
		data := make([]byte, size)
		_, _ = random.Read(data)
		digest := remote.Digest(data)
		m.blobs[digest] = data
		p.Blobs[digest] = plan.Blob{Size: int64(size), Sources: []string{"x.invalid/a"}}
		return digest
	}
	shared := blob(size)
	for i := range images {
		config, own := blob(100), blob(size)
		raw := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"c","digest":%q,"size":100},"layers":[{"mediaType":"l","digest":%q,"size":%d},{"mediaType":"l","digest":%q,"size":%d}]}`,
			remote.OCIManifest, config, shared, size, own, size)
		digest := remote.Digest([]byte(raw))
		p.Manifests[digest] = plan.Manifest{MediaType: remote.OCIManifest, Data: []byte(raw)}
		p.Images = append(p.Images, plan.Image{Origin: fmt.Sprintf("x.invalid/a%d:v1", i), Category: plan.Additional, Source: "x.invalid/a",
			Repository: fmt.Sprintf("a%d", i), Tag: "v1", Digest: digest, Manifests: []string{digest}})
	}
	return p, m
}

func write(t testing.TB, c WriteConfig) *Written {
	t.Helper()
	c.Workers = 1
	written, err := Write(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	return written
}

func check(t *testing.T, r *Reader, m *memory) {
	t.Helper()
	for digest, data := range m.blobs {
		for _, offset := range []int{0, 1, len(data) / 2, len(data)} {
			body, err := r.Open(t.Context(), digest, r.Plan.Blobs[digest], int64(offset))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(body)
			if err != nil || !bytes.Equal(got, data[offset:]) {
				t.Errorf("blob %s from %d: %d bytes, %v", digest, offset, len(got), err)
			}
			body.Close()
		}
	}
}

func TestSegmentsAreExactAndCheckable(t *testing.T) {
	p, m := planned(t, 4, 300_000)
	dir := t.TempDir()
	const segment = 256 << 10
	written := write(t, WriteConfig{Dir: dir, Plan: p, Source: m, Segment: segment})
	if written.Moved != written.Bytes || m.sent.Load() != written.Bytes || len(written.Failed) != 0 {
		t.Errorf("%+v, source sent %d", written, m.sent.Load())
	}
	segments, err := filepath.Glob(filepath.Join(dir, "*.segment"))
	if err != nil || len(segments) != written.Segments || written.Segments != int((written.Bytes+segment-1)/segment) {
		t.Errorf("%d segments, %+v, %v", len(segments), written, err)
	}
	for _, s := range segments {
		if info, err := os.Stat(s); err != nil || info.Size() > segment {
			t.Errorf("segment %s: %v %v", s, info.Size(), err)
		}
	}
	cmd := exec.Command("sha256sum", "-c", "--strict", SumsName)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("sha256sum -c: %v: %s", err, out)
	}
	r, err := Open(dir, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var read int64
	if err := r.Verify(t.Context(), slices.Sorted(maps.Keys(m.blobs)), func(bytes int64) { read += bytes }); err != nil || read != written.Bytes {
		t.Errorf("verify: %v, read %d of %d", err, read, written.Bytes)
	}
	check(t, r, m)
	m.sent.Store(0)
	if again := write(t, WriteConfig{Dir: dir, Plan: p, Source: m, Segment: segment}); again.Moved != 0 || m.sent.Load() != 0 {
		t.Errorf("again: %+v", again)
	}
}

func TestSegmentBySegmentInAnyOrder(t *testing.T) {
	p, m := planned(t, 3, 300_000)
	dir, usb, stash := t.TempDir(), t.TempDir(), t.TempDir()
	write(t, WriteConfig{Dir: dir, Plan: p, Source: m, Segment: 256 << 10})
	for _, name := range []string{IndexName, PlanName} {
		move(t, filepath.Join(dir, name), filepath.Join(usb, name))
	}
	segments, err := filepath.Glob(filepath.Join(dir, "*.segment"))
	if err != nil {
		t.Fatal(err)
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(segments), func(i, j int) { segments[i], segments[j] = segments[j], segments[i] })
	arrived := map[string]bool{}
	for _, s := range segments {
		carried := filepath.Join(usb, filepath.Base(s))
		move(t, s, carried)
		r, err := Open(usb, stash)
		if err != nil {
			t.Fatal(err)
		}
		for digest, data := range m.blobs {
			if !r.Has(digest) {
				continue
			}
			body, err := r.Open(t.Context(), digest, p.Blobs[digest], 0)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, data) {
				t.Errorf("blob %s: %v", digest, err)
			}
			body.Close()
			arrived[digest] = true
		}
		if err := r.Stash(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := r.Unstash(func(digest string) bool { return arrived[digest] }); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(r.Close(), os.Remove(carried)); err != nil { // the disk has room for one
			t.Fatal(err)
		}
	}
	if len(arrived) != len(m.blobs) {
		t.Errorf("%d of %d blobs arrived", len(arrived), len(m.blobs))
	}
	if left, err := os.ReadDir(stash); err != nil || len(left) != 0 {
		t.Errorf("put aside and forgotten: %v %v", left, err)
	}
}

func move(t *testing.T, from, to string) {
	t.Helper()
	raw, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, raw, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestKilledRunContinues(t *testing.T) {
	p, m := planned(t, 2, 20<<20)
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	m.after, m.stop = 30<<20, cancel
	if _, err := Write(ctx, WriteConfig{Dir: dir, Plan: p, Source: m, Workers: 1}); !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted: %v", err)
	}
	m.after = 0
	written := write(t, WriteConfig{Dir: dir, Plan: p, Source: m})
	if m.sent.Load() > written.Bytes+noteEvery {
		t.Errorf("source sent %d for %d", m.sent.Load(), written.Bytes)
	}
	r, err := Open(dir, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	check(t, r, m)
}

func TestWhatSucceededIsThereAndTheRestFollows(t *testing.T) {
	p, m := planned(t, 3, 100_000)
	dir := t.TempDir()
	bad := slices.Sorted(maps.Keys(m.blobs))[0]
	m.fail[bad] = errors.New("registry is on fire")
	written := write(t, WriteConfig{Dir: dir, Plan: p, Source: m})
	if len(written.Failed) != 1 {
		t.Fatalf("%+v", written)
	}
	r, err := Open(dir, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for digest := range m.blobs {
		if r.Has(digest) == (digest == bad) {
			t.Errorf("blob %s: in the archive %v", digest, r.Has(digest))
		}
	}
	r.Close()
	delete(m.fail, bad)
	m.sent.Store(0)
	if written = write(t, WriteConfig{Dir: dir, Plan: p, Source: m}); len(written.Failed) != 0 || m.sent.Load() != p.Blobs[bad].Size {
		t.Errorf("completed: %+v, source sent %d", written, m.sent.Load())
	}
	if r, err = Open(dir, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	check(t, r, m)
}

func TestIncrement(t *testing.T) {
	p, m := planned(t, 3, 100_000)
	assumed := map[string]bool{}
	for digest := range m.blobs {
		assumed[digest] = len(assumed) < 4
	}
	maps.DeleteFunc(assumed, func(_ string, yes bool) bool { return !yes })
	dir := t.TempDir()
	written := write(t, WriteConfig{Dir: dir, Plan: p, Source: m, Assumed: assumed})
	_, bytes := Missing(p, assumed)
	if written.Bytes != bytes || written.Assumed != 4 {
		t.Errorf("%+v, want %d bytes", written, bytes)
	}
	r, err := Open(dir, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for digest := range m.blobs {
		if r.Has(digest) == assumed[digest] {
			t.Errorf("blob %s: assumed %v, in the archive %v", digest, assumed[digest], r.Has(digest))
		}
	}
}
