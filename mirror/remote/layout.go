package remote

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// LayoutHost stands in place of a registry where content is in a directory, an OCI image layout; the path is the directory's.
// Such a repository is written oci://directory.
const LayoutHost = "oci:/"

const (
	layoutScheme = LayoutHost + "/"
	maxLayout    = 16 << 20 // of index.json
	maxNames     = 10_000   // in it
	refName      = "org.opencontainers.image.ref.name"
)

// ParseSource reads a reference that a person has written: to a registry, or oci://directory[:name] to a layout on the disk. What comes from
// elsewhere, like the images that a catalog names, is read by ParseReference: it must not lead to this machine's files.
func ParseSource(text string) (Reference, error) {
	dir, found := strings.CutPrefix(text, layoutScheme)
	if !found {
		return ParseReference(text)
	}
	ref := Reference{Repository: Repository{Host: LayoutHost}}
	dir, ref.Digest, _ = strings.Cut(dir, "@")
	if at := strings.LastIndexByte(dir, ':'); at > strings.LastIndexByte(dir, '/') {
		dir, ref.Tag = dir[:at], dir[at+1:]
	}
	dir = strings.TrimRight(dir, "/")
	if dir == "" || len(text) > maxReference || strings.ContainsRune(text, 0) || ref.Digest != "" && !ValidDigest(ref.Digest) {
		return Reference{}, fmt.Errorf("%w: %q: want oci://directory, oci://directory:name or oci://directory@sha256:…", ErrReference, text)
	}
	ref.Path = dir
	return ref, nil
}

// IsLayout tells whether the repository is a directory.
func (r Repository) IsLayout() bool { return r.Host == LayoutHost }

// layoutDir is an OCI image layout that is open (image-spec 1.1, image-layout.md).
type layoutDir struct {
	root  *os.Root
	index []Descriptor
}

func openLayout(dir string) (*layoutDir, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	l := &layoutDir{root: root}
	if err := l.load(); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return l, nil
}

func (l *layoutDir) load() error {
	raw, err := l.read("oci-layout", 4<<10)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("it is no OCI layout: it has no file oci-layout; skopeo copy docker://… oci:directory makes one")
	}
	if err != nil {
		return err
	}
	var version struct {
		Version string `json:"imageLayoutVersion"`
	}
	if err := json.Unmarshal(raw, &version); err != nil || !strings.HasPrefix(version.Version, "1.") {
		return fmt.Errorf("it is an OCI layout of version %.20q, want 1.0.0", version.Version)
	}
	if raw, err = l.read("index.json", maxLayout); err != nil {
		return err
	}
	l.index, err = decodeLayout(raw)
	return err
}

// decodeLayout reads a layout's index.json.
func decodeLayout(raw []byte) ([]Descriptor, error) {
	var index struct {
		Manifests []Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, fmt.Errorf("read index.json: %w", err)
	}
	if len(index.Manifests) > maxNames {
		return nil, fmt.Errorf("read index.json: it names more than %d manifests", maxNames)
	}
	for _, d := range index.Manifests {
		if !ValidDigest(d.Digest) || d.Size < 0 {
			return nil, fmt.Errorf("read index.json: it names %.100q of %d bytes", d.Digest, d.Size)
		}
	}
	return index.Manifests, nil
}

func (l *layoutDir) close() error { return l.root.Close() }

// read reads a plain file of bounded size.
func (l *layoutDir) read(name string, most int64) ([]byte, error) {
	file, err := l.file(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, most+1))
	if err == nil && int64(len(raw)) > most {
		err = fmt.Errorf("%s is larger than %d bytes", name, most)
	}
	return raw, err
}

func (l *layoutDir) file(name string) (*os.File, error) {
	file, err := l.root.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no plain file", name)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// find is the digest of what a name or a digest means; without either, of the one image that is there.
func (l *layoutDir) find(identifier string) (string, error) {
	if ValidDigest(identifier) {
		return identifier, nil
	}
	var found, names []string
	for _, d := range l.index {
		name := d.Annotations[refName]
		if identifier == "" || name == identifier {
			found = append(found, d.Digest)
		}
		names = append(names, name)
	}
	slices.Sort(found)
	if found = slices.Compact(found); len(found) == 1 {
		return found[0], nil
	}
	if len(found) == 0 {
		return "", fmt.Errorf("%w: no %q among its images %q", ErrNotFound, identifier, names)
	}
	return "", fmt.Errorf("it has %d images, name one as oci://directory:name or by digest: %q", len(found), names)
}

func (l *layoutDir) manifest(identifier string) (Manifest, error) {
	digest, err := l.find(identifier)
	if err != nil {
		return Manifest{}, err
	}
	data, err := l.read(blobFile(digest), MaxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return Manifest{}, fmt.Errorf("%w: manifest %s", ErrNotFound, digest)
	}
	if err != nil {
		return Manifest{}, err
	}
	if !Matches(digest, data) {
		return Manifest{}, fmt.Errorf("%w: manifest %s", ErrDigest, digest)
	}
	named := ""
	for _, d := range l.index {
		if d.Digest == digest {
			named = d.MediaType
		}
	}
	return Manifest{MediaType: manifestType(orType(named, data), data), Digest: digest, Data: data}, nil
}

// orType is the media type that the index names; what lies below an image index may say nothing of itself, and then has what its fields mean.
func orType(named string, data []byte) string {
	var fields struct {
		Manifests json.RawMessage `json:"manifests"`
	}
	switch {
	case named != "":
		return named
	case json.Unmarshal(data, &fields) == nil && fields.Manifests != nil:
		return OCIIndex
	}
	return OCIManifest
}

func (l *layoutDir) tags() []string {
	var names []string
	for _, d := range l.index {
		if name := d.Annotations[refName]; tagPattern.MatchString(name) {
			names = append(names, name)
		}
	}
	return names
}

// referrers of a manifest: what the layout names beside it and says that it belongs to it.
func (l *layoutDir) referrers(digest string) ([]Descriptor, error) {
	var found []Descriptor
	for _, d := range l.index {
		if d.Digest == digest {
			continue
		}
		m, err := l.manifest(d.Digest)
		if err != nil {
			return nil, err
		}
		var artifact struct {
			Subject *Descriptor `json:"subject"`
		}
		if json.Unmarshal(m.Data, &artifact) == nil && artifact.Subject != nil && artifact.Subject.Digest == digest {
			found = append(found, d)
		}
	}
	return found, nil
}

// open opens a blob from offset on, which ends with ErrDigest where it is not what its digest promises; that needs its beginning.
func (l *layoutDir) open(blob Descriptor, offset int64) (io.ReadCloser, error) {
	file, err := l.file(blobFile(blob.Digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: blob %s", ErrNotFound, blob.Digest)
	}
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && info.Size() != blob.Size {
		err = fmt.Errorf("%w: blob %s has %d bytes, want %d", ErrDigest, blob.Digest, info.Size(), blob.Size)
	}
	if err == nil {
		_, err = file.Seek(offset, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	b := &layoutBlob{File: file, digest: blob.Digest}
	if offset == 0 {
		b.hash = NewHash(blob.Digest)
	}
	return b, nil
}

type layoutBlob struct {
	*os.File
	digest string
	hash   hash.Hash
}

func (b *layoutBlob) Read(p []byte) (int, error) {
	n, err := b.File.Read(p)
	if b.hash == nil {
		return n, err
	}
	b.hash.Write(p[:n])
	if errors.Is(err, io.EOF) && HashDigest(b.hash, b.digest) != b.digest {
		return n, fmt.Errorf("%w: blob %s", ErrDigest, b.digest)
	}
	return n, err
}

// WriteTo is not the file's own: that would pass the digest by.
func (b *layoutBlob) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{b})
}

func blobFile(digest string) string { return "blobs/" + strings.Replace(digest, ":", "/", 1) }

// inLayout answers a question from the layout that a repository is.
func inLayout[T any](repo Repository, ask func(*layoutDir) (T, error)) (T, error) {
	var answer T
	l, err := openLayout(repo.Path)
	if err == nil {
		answer, err = ask(l)
		err = errors.Join(err, l.close())
	}
	if err != nil {
		return answer, fmt.Errorf("read %s: %w", repo, err)
	}
	return answer, nil
}
