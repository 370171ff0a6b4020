package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/slipway-io/slipway/services/atomicfile"
	"github.com/slipway-io/slipway/services/image/iso"
)

const (
	storedISO = "live.iso"
	// How directories are named that are not whole yet: pulls go on in theirs, imports begin anew.
	unfinished, importing = ".part-", ".import-"
	// abandoned is how long nothing was written to an import that was killed.
	abandoned = time.Hour
)

// Identity is how an OS image is asked for. What is empty is read from the ISO.
type Identity struct {
	Version, OpenShiftVersion, CPUArchitecture string
}

// Store keeps OS images that were pulled or imported: a directory for each, with a live ISO and os.json. A directory is there
// whole or not at all.
type Store struct{ dir string }

// OpenStore makes the directory when it is not there.
func OpenStore(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make directory of OS images: %w", err)
	}
	return &Store{dir}, nil
}

// Directories are those of the OS images, each for OpenOS.
func (s *Store) Directories() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list OS images: %w", err)
	}
	var found []string
	for _, entry := range entries {
		if entry.IsDir() && !strings.HasPrefix(entry.Name(), ".") {
			found = append(found, filepath.Join(s.dir, entry.Name()))
		}
	}
	return found, nil
}

// Import copies a live ISO into the store, telling progress (may be nil); it gives the directory and who it is.
func (s *Store) Import(ctx context.Context, path string, who Identity, progress func(done, total int64)) (string, Identity, error) {
	from, err := os.Open(path)
	if err != nil {
		return "", who, fmt.Errorf("open ISO: %w", err)
	}
	dir, who, err := s.importFile(ctx, from, who, progress)
	if err := errors.Join(err, from.Close()); err != nil {
		return "", who, fmt.Errorf("import %s: %w", path, err)
	}
	return dir, who, nil
}

func (s *Store) importFile(ctx context.Context, from *os.File, who Identity, progress func(done, total int64)) (string, Identity, error) {
	info, err := from.Stat()
	if err != nil {
		return "", who, err
	}
	// Before a gigabyte is copied.
	if _, who, err = recognise(from, info.Size(), who); err != nil {
		return "", who, err
	}
	if err := s.sweep(); err != nil {
		return "", who, err
	}
	part, err := os.MkdirTemp(s.dir, importing)
	if err != nil {
		return "", who, err
	}
	defer os.RemoveAll(part)
	to, err := os.OpenFile(filepath.Join(part, storedISO), os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return "", who, err
	}
	var done int64
	for err == nil {
		var n int64
		n, err = io.CopyN(to, from, 8<<20)
		if done += n; progress != nil {
			progress(done, info.Size())
		}
		if err == nil {
			err = ctx.Err()
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err := errors.Join(err, to.Sync(), to.Close()); err != nil {
		return "", who, err
	}
	return s.finish(ctx, part, who, "")
}

// sweep removes what imports have left that were killed.
func (s *Store) sweep() error {
	left, err := filepath.Glob(filepath.Join(s.dir, importing+"*", storedISO))
	if err != nil {
		return err
	}
	for _, path := range left {
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) > abandoned {
			if err := os.RemoveAll(filepath.Dir(path)); err != nil {
				return err
			}
		}
	}
	return nil
}

// finish checks the ISO in a directory, describes it and gives the directory its name. A digest that is not empty has to be the ISO's.
func (s *Store) finish(ctx context.Context, part string, who Identity, wanted string) (string, Identity, error) {
	f, err := os.Open(filepath.Join(part, storedISO))
	if err != nil {
		return "", who, err
	}
	sum, err := digest(ctx, f, func(int64) {})
	if err == nil && wanted != "" && sum != wanted {
		err = fmt.Errorf("%w: the ISO has digest %s, not %s", ErrDiffers, sum, wanted)
	}
	var size int64
	if err == nil {
		size, who, err = recogniseFile(f, who)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return "", who, err
	}
	raw, err := json.MarshalIndent(description{
		Version: who.Version, OpenShiftVersion: who.OpenShiftVersion, CPUArchitecture: who.CPUArchitecture,
		ISO: &file{File: storedISO, SHA256: sum, Size: size},
	}, "", "  ")
	if err != nil {
		return "", who, err
	}
	if err := atomicfile.Write(filepath.Join(part, descriptionFile), append(raw, '\n')); err != nil {
		return "", who, err
	}
	dir := filepath.Join(s.dir, who.Version+"-"+who.CPUArchitecture)
	if err := os.Rename(part, dir); err != nil {
		if errors.Is(err, fs.ErrExist) || isNotEmpty(dir) {
			err = fmt.Errorf("OS image %s for %s is there already, in %s", who.Version, who.CPUArchitecture, dir)
		}
		return "", who, err
	}
	return dir, who, errors.Join(os.Chmod(dir, 0o755), atomicfile.SyncDir(s.dir))
}

func isNotEmpty(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) > 0
}

func recogniseFile(f *os.File, who Identity) (int64, Identity, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, who, err
	}
	_, who, err = recognise(f, info.Size(), who)
	return info.Size(), who, err
}

// recognise parses an ISO and completes who it is: version by the volume id, architecture by the kernel.
func recognise(r io.ReaderAt, size int64, who Identity) (*iso.Image, Identity, error) {
	image, err := iso.Parse(r, size)
	if err != nil {
		return nil, who, err
	}
	architecture := kernelArchitecture(r, image)
	given := who.CPUArchitecture
	if given != "" {
		if given, err = parseArchitecture(given); err != nil {
			return nil, who, err
		}
	}
	switch {
	case given == "" && architecture == "":
		return nil, who, fmt.Errorf("%s is the kernel of no architecture that is known: say which one", iso.KernelFile)
	case given != "" && architecture != "" && given != architecture:
		return nil, who, fmt.Errorf("the kernel is one for %s, not for %s", architecture, given)
	case given != "":
		architecture = given
	}
	who.CPUArchitecture = architecture
	if _, err := image.Live(architecture); err != nil {
		return nil, who, err
	}
	if who.Version == "" {
		who.Version = image.SystemVersion()
	}
	if !versionPattern.MatchString(who.Version) {
		return nil, who, fmt.Errorf("version %q is not one", who.Version)
	}
	if who.OpenShiftVersion != "" && !versionPattern.MatchString(who.OpenShiftVersion) {
		return nil, who, fmt.Errorf("OpenShift version %q is not one", who.OpenShiftVersion)
	}
	return image, who, nil
}

// kernelArchitecture goes by how the kernel begins; empty for one that is not known.
func kernelArchitecture(r io.ReaderAt, image *iso.Image) string {
	if _, ok := image.Files["images/cdboot.img"]; ok {
		return "s390x"
	}
	head := make([]byte, 4096)
	n, err := r.ReadAt(head, image.Files[iso.KernelFile].Offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return ""
	}
	head = head[:min(int64(n), image.Files[iso.KernelFile].Length)]
	at := func(offset int, magic string) bool {
		return offset+len(magic) <= len(head) && bytes.HasPrefix(head[offset:], []byte(magic))
	}
	switch {
	case at(0x202, "HdrS"):
		return "x86_64"
	case at(0x38, "ARM\x64"), at(0, "MZ") && at(4, "zimg"):
		return "aarch64"
	case at(0, "\x7fELF") && at(18, "\x15\x00"):
		return "ppc64le"
	}
	return ""
}
