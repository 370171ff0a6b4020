package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestSourcesOf(t *testing.T) {
	got, err := sourcesOf("http://a/debian-security bookworm-security\nhttp://a/debian bookworm-updates\n" +
		"http://a/debian bookworm\nhttp://a/debian bookworm\nhttp://other/apt stable\n\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"deb http://a/debian bookworm main", "deb http://a/debian-security bookworm-security main", "deb http://a/debian bookworm-updates main"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, bad := range []string{"", "http://a/debian bookworm-updates\n", "http://a/debian trixie\n"} {
		if got, err := sourcesOf(bad); err == nil {
			t.Errorf("sourcesOf(%q) = %q, want an error", bad, got)
		}
	}
}

func TestBootRecordKeepsThePartitionTable(t *testing.T) {
	boot, old := bytes.Repeat([]byte{0xaa}, sector), bytes.Repeat([]byte{0x55}, sector)
	boot[driveCheck] = 0xeb
	got, err := bootRecord(boot, old, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for offset, want := range map[int]byte{0: 0xaa, bpbStart: 0x55, bpbEnd: 0xaa, kernelSector: 0, kernelSector + 1: 8,
		driveCheck: 0x90, driveCheck + 1: 0x90, windowsMagic - 1: 0xaa, windowsMagic: 0x55, 0x1be: 0x55, partitionLast: 0xaa} {
		if got[offset] != want {
			t.Errorf("byte %#x is %#x, want %#x", offset, got[offset], want)
		}
	}
	boot[driveCheck] = 0
	if _, err := bootRecord(boot, old, 2048); err == nil {
		t.Error("a boot.img of unknown layout was accepted")
	}
}

func TestHashRecipe(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	hash := func(kernel string) string {
		h, err := hashRecipe(options{recipe: dir, kernel: kernel})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	write("packages.txt", "systemd\n")
	first := hash("a")
	write("x_test.go", "package main\n")
	if hash("a") != first {
		t.Error("a test file changes the hash")
	}
	if hash("b") == first {
		t.Error("another kernel has the same hash")
	}
	write("packages.txt", "systemd\nudev\n")
	if hash("a") == first {
		t.Error("another package list has the same hash")
	}
}
