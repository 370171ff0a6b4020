package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/slipway-io/slipway/services/image/iso"
)

// ErrDiffers says that a file is not what its description says.
var ErrDiffers = errors.New("file differs from its description")

// Artifact is one file whose digest is known, or a part of one.
type Artifact struct {
	// Name of the file within its directory.
	Name, SHA256 string
	Size         int64

	// A part of the ISO; its digest is that of the whole.
	within *Artifact
	offset int64

	root  *os.Root
	stamp stamp

	mu       sync.Mutex
	verified bool
	handle   *os.File // shared by requests, which only read at offsets
}

// stamp is what a file must still look like for its verification to hold.
type stamp struct {
	Size    int64  `json:"size"`
	ModTime int64  `json:"modTime"` // nanoseconds since 1970
	SHA256  string `json:"sha256"`
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

// part is an area of an ISO.
func (a *Artifact) part(area iso.Area) *Artifact {
	return &Artifact{Name: a.Name, SHA256: a.SHA256, Size: area.Length, within: a, offset: area.Offset}
}

// file is what the bytes lie in.
func (a *Artifact) file() *Artifact {
	if a.within != nil {
		return a.within
	}
	return a
}

// span is the artifact as a stretch of its file.
func (a *Artifact) span() iso.Span {
	return iso.Span{FromBase: true, Offset: a.offset, Length: a.Size}
}

// identity is the same only for the same bytes.
func (a *Artifact) identity() string {
	if a.within == nil {
		return a.SHA256
	}
	return fmt.Sprintf("%s-%d-%d", a.SHA256, a.offset, a.Size)
}

func (a *Artifact) modified() time.Time { return time.Unix(0, a.file().stamp.ModTime) }

// shared gives a handle to read from at offsets, of the file as it was verified: the first to ask waits for the check.
func (a *Artifact) shared(ctx context.Context) (*os.File, error) {
	a = a.file()
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.verifyLocked(ctx, nil); err != nil {
		return nil, err
	}
	if a.handle != nil {
		return a.handle, a.same(a.handle)
	}
	f, err := a.openSame()
	if err != nil {
		return nil, err
	}
	a.handle = f
	return f, nil
}

// openSame opens the file if it still looks as it did at the start.
func (a *Artifact) openSame() (*os.File, error) {
	f, err := a.root.Open(a.Name)
	if err != nil {
		return nil, fmt.Errorf("open artifact: %w", err)
	}
	if err := a.same(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (a *Artifact) same(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("look at artifact: %w", err)
	}
	if info.Size() != a.stamp.Size || info.ModTime().UnixNano() != a.stamp.ModTime {
		return fmt.Errorf("%w: %s was changed", ErrDiffers, a.Name)
	}
	return nil
}

func (a *Artifact) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.handle == nil {
		return nil
	}
	err := a.handle.Close()
	a.handle = nil
	return err
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
