package release

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	maxImageBytes   = 8 << 30
	maxImageEntries = 500_000
	zstdWindow      = 64 << 20
)

// limits bound what one layer may unpack to, whatever its compressed size promises.
type limits struct {
	bytes   int64
	entries int
}

// readTar calls entry for each entry of a tar stream that may be compressed.
func readTar(blob io.Reader, max limits, entry func(*tar.Header, io.Reader) error) error {
	plain, done, err := decompress(blob)
	if err != nil {
		return err
	}
	defer done()
	archive := tar.NewReader(&bounded{Reader: plain, left: max.bytes})
	var size int64
	for n := 0; ; n++ {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		if n >= max.entries {
			return fmt.Errorf("read archive: more than %d entries: %w", max.entries, ErrInvalid)
		}
		// What an entry unpacks to is not what it takes in the archive: holes of sparse files take nothing.
		if header.Size > max.bytes-size {
			return fmt.Errorf("read archive: more than %d bytes: %w", max.bytes, ErrInvalid)
		}
		size += header.Size
		if err := entry(header, archive); err != nil {
			return err
		}
	}
}

// decompress tells the format by its first bytes; media types are often wrong.
func decompress(blob io.Reader) (io.Reader, func(), error) {
	buffered := bufio.NewReaderSize(blob, 256<<10)
	magic, err := buffered.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, fmt.Errorf("read layer: %w", err)
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		plain, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, nil, fmt.Errorf("decompress layer: %w", err)
		}
		return plain, func() { plain.Close() }, nil
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		plain, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, nil, fmt.Errorf("decompress layer: %w", err)
		}
		return plain, plain.Close, nil
	}
	return buffered, func() {}, nil
}

// bounded refuses to read on where io.LimitReader would pretend an end.
type bounded struct {
	io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n, fmt.Errorf("layer is larger than it may be: %w", ErrInvalid)
	}
	return n, err
}
