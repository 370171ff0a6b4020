package release

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
	maxLinks = 40 // symbolic links followed on the way to one entry, as in the kernel
)

// extractor writes the entries of one layer below a root that nothing leaves: neither an entry's path nor, later, a link.
type extractor struct {
	root    *os.Root
	written map[string]bool // by this layer, with the folders above: whiteouts hide only what lies below the layer
}

func (x extractor) entry(header *tar.Header, content io.Reader) error {
	file := strings.TrimPrefix(path.Clean(header.Name), "/")
	if file == "." || header.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if !fs.ValidPath(file) {
		return fmt.Errorf("extract %q: path leaves the image: %w", header.Name, ErrInvalid)
	}
	parent, err := x.parent(path.Dir(file))
	if err == nil {
		err = x.write(parent, path.Base(file), header, content)
	}
	if err != nil {
		return fmt.Errorf("extract %q: %w", header.Name, err)
	}
	return nil
}

// write puts an entry into parent, a folder whose path has no symbolic links.
func (x extractor) write(parent, base string, header *tar.Header, content io.Reader) error {
	file := path.Join(parent, base)
	if base == opaque {
		return x.empty(parent)
	}
	if hidden, ok := strings.CutPrefix(base, whiteout); ok {
		if hidden == "" || hidden == "." || hidden == ".." {
			return fmt.Errorf("whiteout without a name: %w", ErrInvalid)
		}
		return x.hide(path.Join(parent, hidden))
	}
	for at := file; at != "." && !x.written[at]; at = path.Dir(at) {
		x.written[at] = true
	}
	if header.Typeflag == tar.TypeDir {
		return x.folder(file, header.FileInfo().Mode())
	}
	if err := x.root.RemoveAll(file); err != nil {
		return err
	}
	switch header.Typeflag {
	case tar.TypeReg:
		return x.file(file, header.FileInfo().Mode(), content)
	case tar.TypeSymlink:
		return x.root.Symlink(inside(parent, header.Linkname), file)
	case tar.TypeLink:
		return x.link(file, header.Linkname)
	}
	return fmt.Errorf("entry of type %q: %w", header.Typeflag, ErrInvalid)
}

func (x extractor) folder(file string, mode fs.FileMode) error {
	info, err := x.root.Lstat(file)
	if err == nil && !info.IsDir() {
		if err := x.root.RemoveAll(file); err != nil {
			return err
		}
	}
	// The owner keeps its rights, or files below could not be written; nobody else gains one.
	perm := mode.Perm()&0o755 | 0o700
	if err := x.root.Mkdir(file, perm); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return x.root.Chmod(file, perm)
}

func (x extractor) file(file string, mode fs.FileMode, content io.Reader) error {
	perm := mode.Perm() & 0o755
	out, err := x.root.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm|0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.Copy(out, content); err != nil {
		return err
	}
	if err := out.Chmod(perm); err != nil {
		return err
	}
	if err := out.Sync(); err != nil {
		return err
	}
	return out.Close()
}

// link makes a hard link to a regular file only: a symbolic link that is moved would point elsewhere.
func (x extractor) link(file, target string) error {
	target = strings.TrimPrefix(path.Clean(target), "/")
	if !fs.ValidPath(target) {
		return fmt.Errorf("link to %q leaves the image: %w", target, ErrInvalid)
	}
	info, err := x.root.Lstat(target)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("hard link to %q, which is no file: %w", target, ErrInvalid)
	}
	return x.root.Link(target, file)
}

// parent finds or makes the folder that path leads to through links of the image, and returns its path without links.
func (x extractor) parent(dir string) (string, error) {
	real, rest := ".", strings.Split(dir, "/")
	for links := 0; len(rest) > 0; {
		step := rest[0]
		rest = rest[1:]
		if step == "." || step == "" {
			continue
		}
		if step == ".." {
			real = path.Dir(real)
			continue
		}
		next := path.Join(real, step)
		info, err := x.root.Lstat(next)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if err := x.root.Mkdir(next, 0o755); err != nil {
				return "", err
			}
			real = next
		case err != nil:
			return "", err
		case info.IsDir():
			real = next
		case info.Mode().Type() == fs.ModeSymlink:
			target, err := x.root.Readlink(next)
			if err != nil {
				return "", err
			}
			if links++; links > maxLinks {
				return "", fmt.Errorf("too many links: %w", ErrInvalid)
			}
			rest = append(strings.Split(target, "/"), rest...)
		default:
			return "", fmt.Errorf("%s is no folder: %w", next, ErrInvalid)
		}
	}
	return real, nil
}

func (x extractor) empty(dir string) error {
	entries, err := fs.ReadDir(x.root.FS(), dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := x.hide(path.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (x extractor) hide(file string) error {
	if x.written[file] {
		return nil
	}
	return x.root.RemoveAll(file)
}

// inside rewrites a link's target, which the image means within its own root, so that it is relative and stays there.
func inside(parent, target string) string {
	if !path.IsAbs(target) {
		target = path.Join("/", parent, target)
	}
	target = strings.TrimPrefix(path.Clean(target), "/")
	up := ""
	if parent != "." {
		up = strings.Repeat("../", strings.Count(parent, "/")+1)
	}
	if up+target == "" {
		return "."
	}
	return up + target
}
