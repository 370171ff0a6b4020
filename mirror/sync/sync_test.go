package sync

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/slipway-io/slipway/mirror/imageset"
	"github.com/slipway-io/slipway/mirror/remote"
)

func TestEachByteOnce(t *testing.T) {
	s := newSite(t)
	base := layer(t, 400_000)
	names := []string{"a/one:v1", "a/two:v1", "b/three:v1", "b/multi:v1"}
	for _, n := range names[:3] {
		push(t, s.source.host+"/"+n, image(t, base, layer(t, 50_000)))
	}
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: image(t, base), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: image(t, base), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}})
	push(t, s.source.host+"/"+names[3], index)
	s.source.reset()

	p := s.plan(t, names...)
	result := s.run(t, t.Context(), p)
	if result.Failed != 0 || result.Copied != 4 || result.ExitCode != 0 {
		t.Fatalf("cold: %+v", result)
	}
	// 5 images have a config each, 3 a layer of their own, all share one.
	if result.Blobs != 9 || result.Mounted != 3 {
		t.Errorf("moved %d blobs and mounted %d, want 9 and 3", result.Blobs, result.Mounted)
	}
	totals, err := p.Totals()
	if sent, _ := s.source.bytes(); err != nil || result.Bytes != totals.Bytes || sent > totals.Bytes+50_000 {
		t.Errorf("moved %d bytes, source sent %d, plan %+v, %v", result.Bytes, sent, totals, err)
	}
	for _, n := range names {
		s.pulls(t, n)
	}

	s.source.reset()
	s.target.reset()
	s.client = newClient(t)
	result = s.run(t, t.Context(), s.plan(t, names...))
	if result.Present != 4 || result.Bytes != 0 {
		t.Errorf("warm: %+v", result)
	}
	if n := s.source.total() + s.target.total(); n > 8 || s.target.count(http.MethodPut) > 0 {
		t.Errorf("warm: %d requests for 4 tags, %d PUT", n, s.target.count(http.MethodPut))
	}

	added := layer(t, 70_000)
	push(t, s.source.host+"/a/two:v1", image(t, base, added))
	result = s.run(t, t.Context(), s.plan(t, names...))
	if result.Copied != 1 || result.Blobs != 2 || result.Bytes > 75_000 {
		t.Errorf("one changed: %+v", result)
	}
	s.pulls(t, "a/two:v1")
}

func TestFailureOfOneIsNotFailureOfAll(t *testing.T) {
	s := newSite(t)
	bad := layer(t, 1000)
	digest, err := bad.Digest()
	if err != nil {
		t.Fatal(err)
	}
	push(t, s.source.host+"/good:v1", image(t, layer(t, 1000)))
	push(t, s.source.host+"/bad:v1", image(t, bad))
	s.source.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, digest.String()) {
			return false
		}
		_, _ = w.Write(make([]byte, 1000))
		return true
	})
	result := s.run(t, t.Context(), s.plan(t, "good:v1", "bad:v1", "none:v1"))
	planned := &Result{}
	planned.AddFailures(s.previous.Failures)
	if result.Copied != 1 || result.Failed != 1 || result.ExitCode != ExitAdditional || planned.Failed != 1 {
		t.Errorf("%+v and %+v", result, planned)
	}
	s.pulls(t, "good:v1")
	if _, err := s.client.Resolve(t.Context(), remote.Repository{Host: s.target.host, Path: "m/bad"}, "v1"); err == nil {
		t.Error("an image whose content is wrong has its tag")
	}
}

func TestInterruptedRunContinues(t *testing.T) {
	s := newSite(t)
	var names []string
	for _, n := range []string{"a", "b", "c", "d", "e", "f"} {
		push(t, s.source.host+"/"+n+":v1", image(t, layer(t, 3_000_000)))
		names = append(names, n+":v1")
	}
	s.source.reset()
	p := s.plan(t, names...)
	totals, err := p.Totals()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.target.intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && r.ContentLength > 1_000_000 && s.target.count(http.MethodPut) > 3 {
			r.Body = &ending{ReadCloser: r.Body, left: r.ContentLength / 2, end: cancel}
		}
		return false
	})
	s.run(t, ctx, p)
	if ctx.Err() == nil {
		t.Fatal("the run was not interrupted")
	}
	s.target.intercept(nil)
	result := s.run(t, t.Context(), p)
	if result.Failed != 0 || result.Copied+result.Present != 6 {
		t.Fatalf("%+v", result)
	}
	if _, took := s.target.bytes(); float64(took) > 1.02*float64(totals.Bytes)+10_000 { // and the manifests
		t.Errorf("target took %d bytes for %d", took, totals.Bytes)
	}
	for _, n := range names {
		s.pulls(t, n)
	}
}

// ending ends the run when half of a body has arrived.
type ending struct {
	io.ReadCloser
	left int64
	end  func()
}

func (e *ending) Read(p []byte) (int, error) {
	n, err := e.ReadCloser.Read(p[:min(len(p), 100_000)])
	if e.left -= int64(n); e.left < 0 {
		e.end()
	}
	return n, err
}

func TestTargetThatForgot(t *testing.T) {
	s := newSite(t)
	push(t, s.source.host+"/a:v1", image(t, layer(t, 1000)))
	p := s.plan(t, "a:v1")
	if result := s.run(t, t.Context(), p); result.Copied != 1 {
		t.Fatalf("%+v", result)
	}
	s.target = serve(t) // another registry in its place, the state file stays
	if result := s.run(t, t.Context(), p); result.Copied != 1 {
		t.Fatalf("%+v", result)
	}
	s.pulls(t, "a:v1")
}

func TestSignaturesTravelAlong(t *testing.T) {
	s := newSite(t)
	made := image(t, layer(t, 1000))
	push(t, s.source.host+"/a:v1", made)
	digest, err := made.Digest()
	if err != nil {
		t.Fatal(err)
	}
	push(t, s.source.host+"/a:sha256-"+digest.Hex+".sig", image(t, layer(t, 100)))
	described, err := partial.Descriptor(made)
	if err != nil {
		t.Fatal(err)
	}
	referrer, ok := mutate.Subject(image(t, layer(t, 100)), *described).(v1.Image)
	if !ok {
		t.Fatal("no image")
	}
	referring, err := referrer.Digest()
	if err != nil {
		t.Fatal(err)
	}
	push(t, s.source.host+"/a@"+referring.String(), referrer)
	result := s.run(t, t.Context(), s.plan(t, "a:v1"))
	if result.Copied != 3 || result.Failed != 0 {
		t.Fatalf("%+v", result)
	}
	s.pulls(t, "a:sha256-"+digest.Hex+".sig")
	found, supported, err := s.client.Referrers(t.Context(), remote.Repository{Host: s.target.host, Path: "m/a"}, digest.String())
	if err != nil || !supported || len(found) != 1 || found[0].Digest != referring.String() {
		t.Errorf("referrers: %+v %v %v", found, supported, err)
	}
	s.source.reset()
	s.target.reset()
	if result = s.run(t, t.Context(), s.plan(t, "a:v1")); result.Present != 3 || s.target.count(http.MethodPut) != 0 {
		t.Errorf("warm: %+v", result)
	}
}

func TestPlatforms(t *testing.T) {
	for _, rewrite := range []bool{false, true} {
		s := newSite(t)
		s.options.Rewrite = rewrite
		index := mutate.AppendManifests(empty.Index,
			mutate.IndexAddendum{Add: image(t, layer(t, 1000)), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
			mutate.IndexAddendum{Add: image(t, layer(t, 1000)), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}})
		push(t, s.source.host+"/multi:v1", index)
		p := s.planSet(t, &imageset.Set{Content: imageset.Content{AdditionalImages: []imageset.Image{{Name: s.source.host + "/multi:v1",
			Platforms: []imageset.Instance{{OS: "linux", Architecture: "amd64"}}}}}})
		result := s.run(t, t.Context(), p)
		digest, err := index.Digest()
		if err != nil {
			t.Fatal(err)
		}
		same := p.Images[0].Digest == digest.String()
		if !rewrite && result.Failed == 1 && strings.Contains(result.Images[0].Error, "--platform-index=rewritten") {
			continue // this registry takes no sparse index, and the error says what to do
		}
		if result.Failed != 0 || result.Blobs != 2 || same == rewrite || p.Images[0].Platforms[0] != "linux/amd64" {
			t.Errorf("rewrite %v: %+v %+v", rewrite, result, p.Images)
		}
		if rewrite {
			s.pulls(t, "multi:v1")
		}
	}
}
