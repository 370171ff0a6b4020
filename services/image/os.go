package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"github.com/slipway-io/slipway/services/atomicfile"
)

// descriptionFile says what an OS directory holds.
const descriptionFile = "os.json"

// OS is a machine OS: a directory with os.json and a live ISO, or kernel, initrd, rootfs and disk image, or both.
type OS struct {
	Version, CPUArchitecture string
	// OpenShiftVersion is empty for a system that belongs to none.
	OpenShiftVersion string
	// Kernel, Initrd and Rootfs are files, or parts of the ISO. Rootfs is nil where the initrd is the whole live system.
	Kernel, Initrd, Rootfs *Artifact
	// Disk is the zstd-compressed raw image. It has no Artifact where the live system brings its own.
	Disk Disk
	// ISO is nil where there is none.
	ISO *Artifact

	live *live
	root *os.Root
}

// Disk is the disk image with what it is when it is unpacked.
type Disk struct {
	*Artifact
	UncompressedSHA256 string
	UncompressedSize   int64
}

// description is os.json.
type description struct {
	Version          string `json:"version"`
	OpenShiftVersion string `json:"openshiftVersion,omitempty"`
	CPUArchitecture  string `json:"cpuArchitecture"`
	Kernel           *file  `json:"kernel,omitempty"`
	Initrd           *file  `json:"initrd,omitempty"`
	Rootfs           *file  `json:"rootfs,omitempty"`
	Disk             *disk  `json:"disk,omitempty"`
	ISO              *file  `json:"iso,omitempty"`
}

type disk struct {
	file
	UncompressedSHA256 string `json:"uncompressedSha256"`
	UncompressedSize   int64  `json:"uncompressedSize"`
}

type file struct {
	File   string `json:"file"`
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
}

var (
	hexPattern     = regexp.MustCompile(`^[0-9a-f]{64}$`)
	versionPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$`)
)

// OpenOS reads the description of a machine OS and checks that its files are there with their sizes.
func OpenOS(dir string) (*OS, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open OS image: %w", err)
	}
	image, err := openOS(root)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("OS image %s: %w", dir, err), root.Close())
	}
	return image, nil
}

func openOS(root *os.Root) (*OS, error) {
	raw, err := root.ReadFile(descriptionFile)
	if err != nil {
		return nil, fmt.Errorf("read description: %w", err)
	}
	var d description
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, fmt.Errorf("read %s: %w", descriptionFile, err)
	}
	if !versionPattern.MatchString(d.Version) {
		return nil, fmt.Errorf("%s: version %q is not one", descriptionFile, d.Version)
	}
	architecture, err := parseArchitecture(d.CPUArchitecture)
	if err != nil || d.CPUArchitecture == "" {
		return nil, fmt.Errorf("%s: cpuArchitecture %q is not known", descriptionFile, d.CPUArchitecture)
	}
	image := &OS{Version: d.Version, OpenShiftVersion: d.OpenShiftVersion, CPUArchitecture: architecture, root: root}
	if err := image.openDisk(d.Disk); err != nil {
		return nil, err
	}
	if d.ISO != nil {
		if err := image.openISO(*d.ISO); err != nil {
			return nil, fmt.Errorf("iso: %w", err)
		}
	}
	for _, part := range []struct {
		what string
		file *file
		to   **Artifact
	}{{"kernel", d.Kernel, &image.Kernel}, {"initrd", d.Initrd, &image.Initrd}, {"rootfs", d.Rootfs, &image.Rootfs}} {
		if part.file == nil && image.ISO != nil {
			continue // it lies in the ISO
		}
		if part.file == nil && part.what == "rootfs" {
			continue
		}
		if part.file == nil {
			return nil, fmt.Errorf("%s: neither %s nor iso is there", descriptionFile, part.what)
		}
		artifact, err := openArtifact(root, *part.file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", part.what, err)
		}
		*part.to = artifact
	}
	return image, nil
}

func (o *OS) openDisk(d *disk) error {
	if d == nil {
		return nil
	}
	if !hexPattern.MatchString(d.UncompressedSHA256) || d.UncompressedSize <= 0 {
		return fmt.Errorf("%s: disk has no uncompressedSha256 or uncompressedSize", descriptionFile)
	}
	artifact, err := openArtifact(o.root, d.file)
	if err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	o.Disk = Disk{artifact, d.UncompressedSHA256, d.UncompressedSize}
	return nil
}

// Artifacts are the files that there are.
func (o *OS) Artifacts() []*Artifact {
	var files []*Artifact
	for _, artifact := range []*Artifact{o.Kernel, o.Initrd, o.Rootfs, o.Disk.Artifact, o.ISO} {
		if artifact != nil && artifact.within == nil {
			files = append(files, artifact)
		}
	}
	return files
}

// Close ends the use of the directory.
func (o *OS) Close() error {
	var faults []error
	for _, artifact := range o.Artifacts() {
		faults = append(faults, artifact.close())
	}
	return errors.Join(append(faults, o.root.Close())...)
}

// Verify reads every file once and compares digests, telling progress (may be nil) as bytes are read. What was verified
// before and has kept its size and time since is taken from stamps, a file that Verify keeps.
func (o *OS) Verify(ctx context.Context, stamps string, progress func(file string, done, total int64)) error {
	known := readStamps(stamps)
	for _, artifact := range o.Artifacts() {
		artifact.mu.Lock()
		if seen, ok := known[o.key(artifact)]; ok && seen == artifact.stamp {
			artifact.verified = true
		}
		err := artifact.verifyLocked(ctx, progress)
		artifact.mu.Unlock()
		if err != nil {
			return fmt.Errorf("verify OS image %s: %w", o.Version, err)
		}
		known[o.key(artifact)] = artifact.stamp
	}
	return writeStamps(stamps, known)
}

func (o *OS) key(artifact *Artifact) string {
	return filepath.Join(o.root.Name(), artifact.Name)
}

// readStamps takes a file that cannot be read for an empty one: then everything is verified again.
func readStamps(path string) map[string]stamp {
	stamps := map[string]stamp{}
	raw, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(raw, &stamps) != nil {
		return map[string]stamp{}
	}
	return stamps
}

func writeStamps(path string, stamps map[string]stamp) error {
	raw, err := json.Marshal(stamps)
	if err != nil {
		return fmt.Errorf("encode stamps: %w", err)
	}
	return atomicfile.Write(path, raw)
}
