package main

import (
	"context"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// archived measures the way over a disk: from the source to an archive, from the archive to an empty target, each byte once.
func archived(ctx context.Context, o options, set *imageSet) error {
	if !strings.Contains(o.names, "slipway") {
		return nil
	}
	if err := set.tag(ctx, false); err != nil {
		return err
	}
	target, err := startRegistry(ctx, o, "import", targetHost, o.store)
	if err != nil {
		return err
	}
	defer target.stop()
	p, err := newPeerFor(o, set.names, "slipway", "archive")
	if err != nil {
		return err
	}
	_ = p.commands(sourceHost, targetHost) // writes the image set
	disk := filepath.Join(o.dir, "disk")
	common := []string{"mirror", "--src-tls-verify=false", "--dest-tls-verify=false"}
	fmt.Println()
	for _, step := range []struct {
		name, written string
		args          []string
	}{
		{"archive", disk, []string{"-c", filepath.Join(p.dir, "set.yaml"), "file://" + disk}},
		{"import", filepath.Join(o.dir, "import"), []string{"--from", "file://" + disk, "docker://" + targetHost}},
	} {
		before, err := loopbackBytes()
		if err != nil {
			return err
		}
		start := time.Now()
		out, err := exec.CommandContext(ctx, o.slipway, append(common, step.args...)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", step.name, err, out)
		}
		took := time.Since(start)
		after, err := loopbackBytes()
		if err != nil {
			return err
		}
		written, err := folderBytes(step.written)
		if err != nil {
			return err
		}
		fmt.Printf("%-8s %.2fs, %.3fx of U over the loopback, %.3fx of U on disk\n", step.name, took.Seconds(),
			float64(after-before)/float64(set.unique), float64(written)/float64(set.unique))
	}
	return nil
}

// folderBytes adds up the files below a folder.
func folderBytes(dir string) (int64, error) {
	var total int64
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}
