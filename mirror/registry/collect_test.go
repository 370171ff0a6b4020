package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// put brings a blob through the Go API.
func (s *site) put(t *testing.T, repository string, content []byte) digest {
	t.Helper()
	d := digestOf(sha256Name, content)
	w, err := s.WriteBlob(repository, d.String())
	for errors.Is(err, ErrBusy) {
		w, err = s.WriteBlob(repository, d.String())
	}
	if err != nil {
		t.Error(err)
		return d
	}
	if _, err := w.Write(content); err != nil {
		t.Error(err)
	}
	if err := w.Commit(); err != nil {
		t.Error(err)
	}
	return d
}

func manifestOf(config digest, layers ...digest) []byte {
	var list [][]byte
	for _, layer := range layers {
		list = append(list, fmt.Appendf(nil, `{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":1}`, layer))
	}
	return fmt.Appendf(nil, `{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":1},"layers":[%s]}`,
		config, bytes.Join(list, []byte(",")))
}

func (s *site) there(d digest) bool {
	_, there := s.BlobSize(d.String())
	_, err := os.Stat(filepath.Join(s.dir, blobPath(d)))
	return there && err == nil
}

func (s *site) collect(t *testing.T, want int) {
	t.Helper()
	done, err := s.Collect(t.Context())
	if err != nil || done.Blobs != want {
		t.Errorf("collected %+v, %v, want %d blobs", done, err, want)
	}
}

func TestCollectWaitsForPushes(t *testing.T) {
	s := newSite(t, "127.0.0.1", pushers(t))
	early := s.put(t, "a/b", []byte("early"))
	s.clock.Time = s.clock.Add(defaultGrace - time.Minute)
	late := s.put(t, "a/b", []byte("late")) // the push goes on, and the early blob is of it
	s.clock.Time = s.clock.Add(defaultGrace - time.Minute)
	s.collect(t, 0)
	s.reopen(t) // and over a restart
	s.collect(t, 0)
	raw := manifestOf(early, late)
	whole, err := s.PutManifest("a/b", ociManifest, raw, "v1")
	if err != nil {
		t.Fatal(err)
	}
	s.clock.Time = s.clock.Add(2 * defaultGrace)
	s.collect(t, 0)
	if lease := filepath.Join(s.dir, leasePath("a/b", early)); exists(lease) {
		t.Error("the lease outlived its push")
	}
	if err := s.DeleteManifest("a/b", whole); err != nil {
		t.Fatal(err)
	}
	s.collect(t, 3)
	if s.there(early) || s.there(late) || s.there(digestOf(sha256Name, raw)) {
		t.Error("deleted content is still there")
	}
}

// Content that comes to a site in several loads waits a day for the load that makes an image of it.
func TestCollectWaitsForTheNextLoad(t *testing.T) {
	s := newSite(t, "127.0.0.1", pushers(t))
	waits := s.put(t, "a/b", []byte("waits"))
	s.clock.Time = s.clock.Add(unnamed - time.Minute)
	s.collect(t, 0)
	if !s.there(waits) {
		t.Error("it is gone")
	}
	s.clock.Time = s.clock.Add(2 * time.Minute)
	s.collect(t, 1)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestCollectSparesWhatAPushReliesOn(t *testing.T) {
	s := newSite(t, "127.0.0.1", pushers(t))
	config, layer := s.put(t, "base", []byte("config")), s.put(t, "base", []byte("layer"))
	base, err := s.PutManifest("base", ociManifest, manifestOf(config, layer), "v1")
	if err != nil {
		t.Fatal(err)
	}
	s.clock.Time = s.clock.Add(2 * defaultGrace)
	s.collect(t, 0)
	// Another push asks for the layer, is told that it is there, and has not sent its manifest when the image goes.
	if resp := s.ask(t, "pusher", http.MethodHead, "/v2/app/blobs/"+layer.String(), ""); resp.StatusCode != http.StatusOK {
		t.Fatalf("HEAD in another repository: %s", resp.Status)
	}
	// One that may only read holds nothing.
	if resp := s.ask(t, "", http.MethodHead, "/v2/app/blobs/"+config.String(), ""); resp.StatusCode != http.StatusOK {
		t.Fatalf("HEAD in another repository: %s", resp.Status)
	}
	if err := s.DeleteManifest("base", base); err != nil {
		t.Fatal(err)
	}
	s.collect(t, 2)
	if !s.there(layer) || s.there(config) {
		t.Error("want the layer that the push relies on, and nothing else")
	}
	if _, err := s.PutManifest("app", ociManifest, manifestOf(layer), "v1"); err != nil {
		t.Fatal(err)
	}
	s.clock.Time = s.clock.Add(2 * defaultGrace)
	s.collect(t, 0)
}

func TestCollectKeepsReferrers(t *testing.T) {
	s := newSite(t, "127.0.0.1", pushers(t))
	config := s.put(t, "a", []byte("{}"))
	subject, err := s.PutManifest("a", ociManifest, manifestOf(config), "v1")
	if err != nil {
		t.Fatal(err)
	}
	signature := fmt.Appendf(nil, `{"schemaVersion":2,"artifactType":"application/x.signature","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":%q,"size":2},"layers":[],"subject":{"mediaType":%q,"digest":%q,"size":1}}`, config, ociManifest, subject)
	signed, err := s.PutManifest("a", ociManifest, signature)
	if err != nil {
		t.Fatal(err)
	}
	s.clock.Time = s.clock.Add(3 * defaultGrace)
	s.collect(t, 0)
	s.reopen(t)
	list, err := s.Referrers("a", subject)
	if err != nil || len(list) != 1 || list[0].Digest != signed || list[0].ArtifactType != "application/x.signature" {
		t.Errorf("referrers: %+v, %v", list, err)
	}
}

func TestALongUploadHoldsItsPush(t *testing.T) {
	s := newSite(t, "127.0.0.1", pushers(t))
	first := s.put(t, "a", []byte("first"))
	w, err := s.WriteBlob("a", digestOf(sha256Name, []byte("never")).String())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for range 5 { // one blob takes longer than the grace
		s.clock.Time = s.clock.Add(defaultGrace - time.Minute)
		if _, err := w.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		s.collect(t, 0)
	}
	if !s.there(first) {
		t.Error("the push lost its first blob while it sent its second")
	}
}

func TestUploadsExpire(t *testing.T) {
	s := newSite(t, "127.0.0.1", pushers(t))
	resp := s.ask(t, "pusher", http.MethodPost, "/v2/a/blobs/uploads/", "")
	stale := resp.Header.Get("Location")
	s.clock.Time = s.clock.Add(defaultExpiry - time.Minute)
	fresh := s.ask(t, "pusher", http.MethodPost, "/v2/a/blobs/uploads/", "").Header.Get("Location")
	s.clock.Time = s.clock.Add(2 * time.Minute)
	if err := s.expire(); err != nil {
		t.Fatal(err)
	}
	for location, want := range map[string]int{stale: http.StatusNotFound, fresh: http.StatusNoContent} {
		if resp := s.ask(t, "pusher", http.MethodGet, location, ""); resp.StatusCode != want {
			t.Errorf("GET %s: %s, want %d", location, resp.Status, want)
		}
	}
	if left, err := os.ReadDir(filepath.Join(s.dir, uploadsDir)); err != nil || len(left) != 1 {
		t.Errorf("uploads folder has %v, %v", left, err)
	}
}

// TestCollectBesidePushes pushes, deletes and collects all at once, with no grace but the leases' own.
func TestCollectBesidePushes(t *testing.T) {
	s := newSite(t, "127.0.0.1", pushers(t))
	ctx, stop := context.WithCancel(t.Context())
	var collector, group sync.WaitGroup
	collector.Go(func() {
		for ctx.Err() == nil {
			if _, err := s.Collect(ctx); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	})
	for worker := range 4 {
		group.Go(func() {
			repository := fmt.Sprintf("r%d", worker%2)
			for n := range 25 {
				// All push the same few blobs, and take them away again.
				config, layer := s.put(t, repository, fmt.Appendf(nil, "config %d", n%5)), s.put(t, repository, fmt.Appendf(nil, "layer %d", n%3))
				raw := manifestOf(config, layer)
				tag := fmt.Sprintf("w%d", worker)
				d, err := s.PutManifest(repository, ociManifest, raw, tag)
				if err != nil {
					t.Error(err)
					return
				}
				if !s.there(config) || !s.there(layer) || !s.there(digestOf(sha256Name, raw)) {
					t.Errorf("push %d lost content", n)
				}
				if n%4 == 3 {
					_ = s.DeleteManifest(repository, d) // another worker may have been first
				}
			}
		})
	}
	group.Wait()
	stop()
	collector.Wait()
}
