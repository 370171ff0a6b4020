package runner

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCleanWipesDiskAndPartitions(t *testing.T) {
	s := &service{answers: map[string][]string{"GET instructions": {step("clean-disk", `{"disk_id":"d","path":"/dev/disk/by-id/d"}`)}}}
	r, _ := start(t, s)
	for file, text := range map[string]string{
		"dev/vda": strings.Repeat("x", 8<<20), "sys/block/vda/vda1/partition": "1", "sys/block/vda/vda1/start": "6144\n", "sys/block/vda/vda1/size": "2048\n",
	} {
		path := r.Root.Path(file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(r.Root.Path("dev/disk/by-id"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../vda", r.Root.Path("dev/disk/by-id/d")); err != nil {
		t.Fatal(err)
	}
	run(t, r)
	until(t, s, "POST instructions clean-disk")
	data, err := os.ReadFile(r.Root.Path("dev/vda"))
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[int]byte{0: 0, 2 << 20: 'x', 3 << 20: 0, 4<<20 - 1: 0, 4 << 20: 'x', 8<<20 - 1: 0} {
		if data[at] != want {
			t.Errorf("at %d: %q, want %q", at, data[at], want)
		}
	}
}

func TestCleanSaysWhatIsWrong(t *testing.T) {
	s := &service{answers: map[string][]string{"GET instructions": {step("clean-disk", `{"disk_id":"d","path":"/dev/none"}`)}}}
	r, _ := start(t, s)
	run(t, r)
	until(t, s, "POST instructions clean-disk failed")
}
