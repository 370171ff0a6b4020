package tftp

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// cleanName roots a name. Backslashes are what some firmware puts between path elements.
func cleanName(name string) (string, bool) {
	if len(name) > 512 || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", false
	}
	name = strings.TrimLeft(strings.ReplaceAll(name, `\`, "/"), "/")
	for _, element := range strings.Split(name, "/") {
		if element == ".." {
			return "", false
		}
	}
	name = path.Clean(name)
	return name, name != "." && fs.ValidPath(name)
}

// Directory serves the regular files of a directory and below; nothing leads out of it, symbolic links neither.
type Directory struct{ root *os.Root }

// OpenDirectory opens the directory once; Close it after the server's end.
func OpenDirectory(dir string) (*Directory, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open TFTP directory: %w", err)
	}
	return &Directory{root}, nil
}

// Close releases the directory.
func (d *Directory) Close() error { return d.root.Close() }

// Open opens a regular file.
func (d *Directory) Open(name string) (io.ReadCloser, int64, error) {
	info, err := d.root.Stat(name) // before it is opened: a FIFO would wait for its writer
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("open %s: is not a regular file", name)
	}
	file, err := d.root.Open(name)
	if err != nil {
		return nil, 0, err
	}
	if info, err = file.Stat(); err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("open %s: is not a regular file", name)
	}
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, info.Size(), nil
}
