package registry

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const fullDir = "SLIPWAY_TEST_FULL_DIR"

// TestFullDisk runs TestFullDiskInside in a mount namespace of its own, where a small tmpfs is the disk.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may mount")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFullDiskInside$", "-test.v")
	cmd.Env = append(os.Environ(), fullDir+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestFullDiskInside") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestFullDiskInside(t *testing.T) {
	dir := os.Getenv(fullDir)
	if dir == "" {
		t.Skip("only TestFullDisk starts this")
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=32m"); err != nil {
		t.Fatal(err)
	}
	s := newSite(t, "127.0.0.1", pushers(t))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s.dir = dir
	for _, reserve := range []int64{-1, 4 << 20} { // without one, the disk itself says that it is full
		r, err := open(Config{Dir: dir, MinFree: reserve}, s.clock.now)
		if err != nil {
			t.Fatal(err)
		}
		r.Allow(pushers(t))
		s.Registry = r
		s.fill(t, reserve > 0)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// fill pushes until the disk is full, and then looks at what still works.
func (s *site) fill(t *testing.T, reserve bool) {
	kept := s.put(t, "a", []byte("kept"))
	whole, err := s.PutManifest("a", ociManifest, manifestOf(kept), "v1")
	if err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("x", 7<<20)
	var pushed []digest
	for n := 0; ; n++ {
		body := fmt.Sprint(n) + big
		d := digestOf(sha256Name, []byte(body))
		resp := s.ask(t, "pusher", http.MethodPost, "/v2/a/blobs/uploads/?digest="+d.String(), body)
		if resp.StatusCode == http.StatusCreated {
			pushed = append(pushed, d)
			continue
		}
		if answer := text(t, resp); resp.StatusCode != http.StatusInsufficientStorage || !strings.Contains(answer, `"errors"`) || !strings.Contains(answer, "disk is full") {
			t.Fatalf("push to a full disk: %s %s", resp.Status, answer)
		}
		break
	}
	if len(pushed) < 2 {
		t.Fatalf("only %d blobs fit", len(pushed))
	}
	if left, err := os.ReadDir(s.dir + "/" + uploadsDir); err != nil || len(left) > 0 {
		t.Errorf("the refused push still takes room: %v %v", left, err)
	}
	// Parts of an upload that nobody promised the size of are refused as well.
	location := "/v2/a/blobs/uploads/"
	if resp := s.ask(t, "pusher", http.MethodPost, location, ""); resp.StatusCode == http.StatusAccepted {
		s.want(t, http.StatusInsufficientStorage, "pusher", http.MethodPatch, resp.Header.Get("Location"), strings.Repeat("y", 20<<20))
	} else if resp.StatusCode != http.StatusInsufficientStorage {
		t.Errorf("upload: %s", resp.Status)
	}
	w, err := s.WriteBlob("a", digestOf(sha256Name, []byte("never")).String())
	if err == nil {
		for err == nil {
			_, err = w.Write([]byte(big))
		}
		err = errors.Join(err, w.Cancel())
	}
	if !errors.Is(err, ErrFull) {
		t.Errorf("Go API: %v, want ErrFull", err)
	}
	// Pulls and deletes go on, and after a collection pushes as well.
	s.want(t, http.StatusOK, "", http.MethodGet, "/v2/a/manifests/"+whole, "")
	if got := text(t, s.want(t, http.StatusOK, "", http.MethodGet, "/v2/a/blobs/"+kept.String(), "")); got != "kept" {
		t.Errorf("pull reads %q", got)
	}
	for _, d := range pushed {
		s.want(t, http.StatusAccepted, "pusher", http.MethodDelete, "/v2/a/blobs/"+d.String(), "")
	}
	s.clock.Time = s.clock.Add(2 * defaultGrace)
	s.collect(t, len(pushed))
	if s.put(t, "a", []byte(big)) == (digest{}) || t.Failed() {
		t.Errorf("push after the collection, with reserve: %t", reserve)
	}
	s.want(t, http.StatusAccepted, "pusher", http.MethodDelete, "/v2/a/blobs/"+digestOf(sha256Name, []byte(big)).String(), "")
	s.collect(t, 1)
}
