package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// file describes one artifact to those who serve and install it.
type file struct {
	File               string `json:"file"`
	SHA256             string `json:"sha256"`
	Size               int64  `json:"size"`
	UncompressedSHA256 string `json:"uncompressedSha256,omitempty"`
	UncompressedSize   int64  `json:"uncompressedSize,omitempty"`
}

type manifest struct {
	Version         string `json:"version"`
	CPUArchitecture string `json:"cpuArchitecture"`
	Kernel          file   `json:"kernel"`
	Initrd          file   `json:"initrd"`
	Rootfs          file   `json:"rootfs"`
	Disk            file   `json:"disk"`
	ISO             file   `json:"iso"`
}

// version is Debian's with the recipe's.
func (b *builder) version() (string, error) {
	debian, err := os.ReadFile(filepath.Join(b.root, "etc/debian_version"))
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(debian)) + "-" + b.hash[:12], nil
}

func (b *builder) manifest(context.Context) error {
	version, err := b.version()
	if err != nil {
		return err
	}
	m := manifest{Version: version, CPUArchitecture: "x86_64"}
	for name, to := range map[string]*file{
		"kernel": &m.Kernel, "initrd.img": &m.Initrd, "rootfs.img": &m.Rootfs, "disk.img.zst": &m.Disk, "live.iso": &m.ISO,
	} {
		to.File = name
		if to.SHA256, to.Size, err = digestFile(filepath.Join(b.out, name)); err != nil {
			return fmt.Errorf("digest %s: %w", name, err)
		}
	}
	if m.Disk.UncompressedSHA256, m.Disk.UncompressedSize, err = digestFile(filepath.Join(b.work, "disk.img")); err != nil {
		return fmt.Errorf("digest the disk image: %w", err)
	}
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.out, "os.json"), append(data, '\n'), 0o644)
}

func digestFile(path string) (string, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, bufio.NewReaderSize(f, 1<<20))
	return fmt.Sprintf("%x", h.Sum(nil)), n, err
}
