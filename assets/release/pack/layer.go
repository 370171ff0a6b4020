package pack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// File is one file of an image: the content of Source, else Data, else a symbolic link to Link.
type File struct {
	Path   string // within the image, without a leading slash
	Mode   fs.FileMode
	Source string
	Data   []byte
	Link   string
}

// layer is a blob in the layout with the digest of its uncompressed form.
type layer struct {
	descriptor v1.Descriptor
	diffID     v1.Hash
}

// addLayer writes the files as one tar+gzip blob whose bytes depend on nothing but the files' paths, modes and content.
func (l *Layout) addLayer(files []File) (layer, error) {
	blob, err := l.createBlob()
	if err != nil {
		return layer{}, err
	}
	defer blob.discard()
	zipped := gzip.NewWriter(blob)
	diff := sha256.New()
	archive := tar.NewWriter(io.MultiWriter(zipped, diff))
	if err := writeFiles(archive, files); err != nil {
		return layer{}, err
	}
	if err := archive.Close(); err != nil {
		return layer{}, fmt.Errorf("end layer: %w", err)
	}
	if err := zipped.Close(); err != nil {
		return layer{}, fmt.Errorf("end compression of layer: %w", err)
	}
	descriptor, err := blob.commit(types.OCILayer)
	if err != nil {
		return layer{}, err
	}
	return layer{descriptor: descriptor, diffID: hashOf(diff)}, nil
}

func writeFiles(archive *tar.Writer, files []File) error {
	byPath := make(map[string]File, len(files))
	folders := map[string]bool{}
	for _, f := range files {
		if !fs.ValidPath(f.Path) || f.Path == "." {
			return fmt.Errorf("pack %q: not a clean relative path", f.Path)
		}
		if _, twice := byPath[f.Path]; twice {
			return fmt.Errorf("pack %s: named twice", f.Path)
		}
		byPath[f.Path] = f
		for dir := path.Dir(f.Path); dir != "."; dir = path.Dir(dir) {
			folders[dir] = true
		}
	}
	names := slices.Sorted(maps.Keys(folders))
	for name := range byPath {
		if folders[name] {
			return fmt.Errorf("pack %s: is a file and a folder", name)
		}
		names = append(names, name)
	}
	slices.Sort(names) // a folder's name is a prefix of its files' names, so it comes first
	for _, name := range names {
		if folders[name] {
			header := &tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755}
			if err := writeHeader(archive, header); err != nil {
				return err
			}
			continue
		}
		if err := writeFile(archive, byPath[name]); err != nil {
			return err
		}
	}
	return nil
}

func writeHeader(archive *tar.Writer, header *tar.Header) error {
	header.ModTime = time.Unix(0, 0)
	header.Format = tar.FormatPAX
	if err := archive.WriteHeader(header); err != nil {
		return fmt.Errorf("pack %s: %w", header.Name, err)
	}
	return nil
}

func writeFile(archive *tar.Writer, f File) error {
	if f.Link != "" {
		return writeHeader(archive, &tar.Header{Typeflag: tar.TypeSymlink, Name: f.Path, Linkname: f.Link, Mode: 0o777})
	}
	content, size := io.Reader(bytes.NewReader(f.Data)), int64(len(f.Data))
	if f.Source != "" {
		file, err := os.Open(f.Source)
		if err != nil {
			return fmt.Errorf("pack %s: %w", f.Path, err)
		}
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			return fmt.Errorf("pack %s: %w", f.Path, err)
		}
		content, size = file, info.Size()
	}
	header := &tar.Header{Typeflag: tar.TypeReg, Name: f.Path, Size: size, Mode: int64(f.Mode.Perm())}
	if err := writeHeader(archive, header); err != nil {
		return err
	}
	if _, err := io.Copy(archive, content); err != nil {
		return fmt.Errorf("pack %s: %w", f.Path, err)
	}
	return nil
}

func hashOf(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
}
