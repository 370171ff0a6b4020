package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestPrune(t *testing.T) {
	cache, now := t.TempDir(), time.Now()
	make := func(name string, days int) string {
		path := filepath.Join(cache, name)
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		when := now.Add(-time.Duration(days) * 24 * time.Hour)
		if err := os.WriteFile(filepath.Join(path, "os.json"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const hash = "-06f5f4dc8d39ed4"
	inUse := make("os"+hash+"0", 90)
	make("os"+hash+"1", 1)
	make("os"+hash+"2", 29)
	make("os"+hash+"3", 40)
	make("os"+hash+"4", 50)
	make("os-base"+hash+"0.tar.zst", 80)
	make("foreign-s390x"+hash+"0", 60)
	make("foreign-s390x"+hash+"1", 61)
	make("foreign-s390x"+hash+"2", 62)
	make("foreign-s390x"+hash+"3", 63)
	make("foreign-aarch64"+hash+"3", 63)
	make(".release-123", 31)
	make(".release-124", 1)
	make(".pruned-os"+hash+"9", 31)
	make("peers", 300)
	if err := run(cache, []string{inUse}, now); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(cache)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range left {
		names = append(names, e.Name())
	}
	want := []string{
		".release-124", "foreign-aarch64" + hash + "3", "foreign-s390x" + hash + "0", "foreign-s390x" + hash + "1", "foreign-s390x" + hash + "2",
		"os" + hash + "0", "os" + hash + "1", "os" + hash + "2", "os-base" + hash + "0.tar.zst", "peers",
	}
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("left are\n%q, want\n%q", names, want)
	}
}

func TestPruneNeedsWhatItMarks(t *testing.T) {
	if err := run(t.TempDir(), []string{"/nowhere"}, time.Now()); err == nil {
		t.Error("a directory that is not there was marked")
	}
}
