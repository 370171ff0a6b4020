package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"sync"

	"github.com/slipway-io/slipway/services/atomicfile"
)

// descriptionFile says what an OS directory holds.
const descriptionFile = "os.json"

// ErrDiffers says that a file is not what its description says.
var ErrDiffers = errors.New("file differs from its description")

// OS is a machine OS: a directory with os.json, kernel, initrd, rootfs and disk image.
type OS struct {
	Version, CPUArchitecture string
	Kernel, Initrd, Rootfs   *Artifact
	// Disk is the zstd-compressed raw image.
	Disk Disk

	root *os.Root
}

// Disk is the disk image with what it is when it is unpacked.
type Disk struct {
	*Artifact
	UncompressedSHA256 string
	UncompressedSize   int64
}

// Artifact is one file whose digest is known.
type Artifact struct {
	// Name of the file within its directory.
	Name, SHA256 string
	Size         int64

	root  *os.Root
	stamp stamp

	mu       sync.Mutex
	verified bool
}

// stamp is what a file must still look like for its verification to hold.
type stamp struct {
	Size    int64  `json:"size"`
	ModTime int64  `json:"modTime"` // nanoseconds since 1970
	SHA256  string `json:"sha256"`
}

// description is os.json.
type description struct {
	Version         string `json:"version"`
	CPUArchitecture string `json:"cpuArchitecture"`
	Kernel          file   `json:"kernel"`
	Initrd          file   `json:"initrd"`
	Rootfs          file   `json:"rootfs"`
	Disk            struct {
		file
		UncompressedSHA256 string `json:"uncompressedSha256"`
		UncompressedSize   int64  `json:"uncompressedSize"`
	} `json:"disk"`
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
	image := &OS{Version: d.Version, CPUArchitecture: architecture, root: root}
	image.Disk.UncompressedSHA256, image.Disk.UncompressedSize = d.Disk.UncompressedSHA256, d.Disk.UncompressedSize
	if !hexPattern.MatchString(d.Disk.UncompressedSHA256) || d.Disk.UncompressedSize <= 0 {
		return nil, fmt.Errorf("%s: disk has no uncompressedSha256 or uncompressedSize", descriptionFile)
	}
	for _, part := range []struct {
		what string
		file file
		to   **Artifact
	}{
		{"kernel", d.Kernel, &image.Kernel}, {"initrd", d.Initrd, &image.Initrd},
		{"rootfs", d.Rootfs, &image.Rootfs}, {"disk", d.Disk.file, &image.Disk.Artifact},
	} {
		artifact, err := openArtifact(root, part.file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", part.what, err)
		}
		*part.to = artifact
	}
	return image, nil
}

func openArtifact(root *os.Root, f file) (*Artifact, error) {
	if f.File == "" || !hexPattern.MatchString(f.SHA256) {
		return nil, fmt.Errorf("%s: file or sha256 is missing", descriptionFile)
	}
	info, err := root.Stat(f.File)
	if err != nil {
		return nil, fmt.Errorf("look at file: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() != f.Size {
		return nil, fmt.Errorf("%w: %s has %d bytes, not %d", ErrDiffers, f.File, info.Size(), f.Size)
	}
	return &Artifact{
		Name: f.File, SHA256: f.SHA256, Size: f.Size, root: root,
		stamp: stamp{Size: info.Size(), ModTime: info.ModTime().UnixNano(), SHA256: f.SHA256},
	}, nil
}

// Artifacts are the four files.
func (o *OS) Artifacts() []*Artifact {
	return []*Artifact{o.Kernel, o.Initrd, o.Rootfs, o.Disk.Artifact}
}

// Close ends the use of the directory.
func (o *OS) Close() error { return o.root.Close() }

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

// open gives the file at its beginning, verified: the first to ask waits for the check.
func (a *Artifact) open(ctx context.Context) (*os.File, error) {
	a.mu.Lock()
	err := a.verifyLocked(ctx, nil)
	a.mu.Unlock()
	if err != nil {
		return nil, err
	}
	f, err := a.openSame()
	if err != nil {
		return nil, err
	}
	return f, nil
}

// openSame opens the file if it still looks as it did at the start.
func (a *Artifact) openSame() (*os.File, error) {
	f, err := a.root.Open(a.Name)
	if err != nil {
		return nil, fmt.Errorf("open artifact: %w", err)
	}
	info, err := f.Stat()
	if err == nil && (info.Size() != a.stamp.Size || info.ModTime().UnixNano() != a.stamp.ModTime) {
		err = fmt.Errorf("%w: %s was changed", ErrDiffers, a.Name)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (a *Artifact) verifyLocked(ctx context.Context, progress func(string, int64, int64)) error {
	if a.verified {
		return nil
	}
	f, err := a.openSame()
	if err != nil {
		return err
	}
	sum, err := digest(ctx, f, func(done int64) {
		if progress != nil {
			progress(a.Name, done, a.Size)
		}
	})
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("read %s: %w", a.Name, err)
	}
	if sum != a.SHA256 {
		return fmt.Errorf("%w: %s has digest %s, not %s", ErrDiffers, a.Name, sum, a.SHA256)
	}
	a.verified = true
	return nil
}

func digest(ctx context.Context, from io.Reader, progress func(done int64)) (string, error) {
	hash := sha256.New()
	var done int64
	for {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		n, err := io.CopyN(hash, from, 8<<20)
		done += n
		progress(done)
		if errors.Is(err, io.EOF) {
			return hex.EncodeToString(hash.Sum(nil)), nil
		}
		if err != nil {
			return "", err
		}
	}
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
