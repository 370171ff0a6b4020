package web

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// Files serves the regular files below a directory: with strong ETags, without listings, and nothing leads out of it.
type Files struct {
	root *os.Root

	mu   sync.Mutex
	tags map[string]tag
}

// tag is the digest of a file as it was then.
type tag struct {
	size     int64
	modified time.Time
	digest   string
}

// tagsRemembered bounds what names that come and go leave behind.
const tagsRemembered = 1024

// NewFiles serves from the directory, which stays the caller's to close.
func NewFiles(root *os.Root) *Files { return &Files{root: root, tags: map[string]tag{}} }

// ServeHTTP answers with the file that the URL's path names.
func (f *Files) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/")
	file, info, err := f.open(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		Problem(w, http.StatusNotFound, "there is no such file")
		return
	case err != nil:
		Problem(w, http.StatusForbidden, "this cannot be read")
		return
	}
	defer file.Close()
	digest, err := f.digest(name, file, info)
	if err != nil {
		Problem(w, http.StatusServiceUnavailable, "the file cannot be read now")
		return
	}
	header := w.Header()
	header.Set("ETag", `"`+digest+`"`)
	header.Set("Cache-Control", "no-cache")
	header.Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", info.ModTime(), file)
}

func (f *Files) open(name string) (*os.File, fs.FileInfo, error) {
	if !fs.ValidPath(name) {
		return nil, nil, fs.ErrInvalid
	}
	info, err := f.root.Stat(name) // before it is opened: a FIFO would wait for its writer
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("open %s: is not a regular file", name)
	}
	file, err := f.root.Open(name)
	if err != nil {
		return nil, nil, err
	}
	if info, err = file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, nil, errors.Join(fmt.Errorf("open %s: is not a regular file", name), err, file.Close())
	}
	return file, info, nil
}

// digest reads a file once, and again when its size or time has changed.
func (f *Files) digest(name string, file *os.File, info fs.FileInfo) (string, error) {
	f.mu.Lock()
	known, ok := f.tags[name]
	f.mu.Unlock()
	if ok && known.size == info.Size() && known.modified.Equal(info.ModTime()) {
		return known.digest, nil
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, io.NewSectionReader(file, 0, info.Size())); err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	digest := hex.EncodeToString(hash.Sum(nil)[:16])
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.tags) >= tagsRemembered {
		clear(f.tags)
	}
	f.tags[name] = tag{info.Size(), info.ModTime(), digest}
	return digest, nil
}
