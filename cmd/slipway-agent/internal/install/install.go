// Package install writes a disk image to a disk so that the disk boots either completely or not at all.
package install

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"

	"github.com/klauspost/compress/zstd"
)

// Image is what is downloaded, with the digests (hex) of both of its forms; sizes may be 0 when they are not known.
type Image struct {
	URL                      string
	SHA256, CompressedSHA256 string
	Size, CompressedSize     int64
}

// Job is one installation.
type Job struct {
	Device string
	Image  Image
	// Ignition is the host's config; nil leaves the image as it is.
	Ignition []byte
	// Network are NetworkManager keyfiles by name, which the installed system starts with. They go where Ignition goes.
	Network map[string][]byte
	HTTP    *http.Client
	// Percent is told how far the writing is, from 0 to 100.
	Percent func(int)
	// Note gets lines for people.
	Note func(format string, args ...any)
}

// flushEvery bounds what waits in memory, so that percents tell the truth.
const flushEvery = 128 << 20

// Run writes the disk. Whenever it ends early the disk's head is empty, and no firmware boots it.
func Run(ctx context.Context, job Job) (err error) {
	if len(job.Image.SHA256) != 2*sha256.Size || len(job.Image.CompressedSHA256) != 2*sha256.Size {
		return errors.New("the image comes without its digests")
	}
	disk, err := openDevice(job.Device)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, disk.file.Close()) }()
	if job.Image.Size > disk.size {
		return fmt.Errorf("disk %s has %d bytes, the image %d", job.Device, disk.size, job.Image.Size)
	}
	if err := disk.wipe(); err != nil {
		return err
	}
	held, err := job.pour(ctx, disk)
	if err != nil {
		return err
	}
	if err := disk.sync(); err != nil {
		return err
	}
	if job.Ignition != nil {
		boot, err := bootPartition(held.head)
		if err != nil {
			return err
		}
		if err := placeConfig(disk, boot, job); err != nil {
			return err
		}
	}
	return held.release(ctx, disk)
}

// held are the image's ends, which are written last.
type held struct {
	head, tail []byte
	tailAt     int64
}

// release makes the disk bootable.
func (h *held) release(ctx context.Context, disk *device) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, end := range []struct {
		data []byte
		at   int64
	}{{h.tail, h.tailAt}, {h.head, 0}} {
		if len(end.data) == 0 {
			continue
		}
		if _, err := disk.file.WriteAt(end.data, end.at); err != nil {
			return fmt.Errorf("write disk at %d: %w", end.at, err)
		}
		if err := disk.sync(); err != nil {
			return err
		}
		if err := disk.holds(end.data, end.at); err != nil {
			return err
		}
	}
	return nil
}

// counter counts what passes, and hashes it when it has a hash.
type counter struct {
	from io.Reader
	hash hash.Hash
	n    int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	if c.hash != nil {
		// A hash takes everything.
		_, _ = c.hash.Write(p[:n])
	}
	c.n += int64(n)
	return n, err
}

// pour downloads, unpacks and writes all but the image's ends, and checks what came.
//
// The digest of the download pins every byte. Unpacking is checked by the checksum that zstd itself keeps of its content;
// only without one is the raw image hashed too, which costs more than all the rest on a slow processor.
func (job Job) pour(ctx context.Context, disk *device) (*held, error) {
	source := newDownload(ctx, job.HTTP, job.Image.URL, job.Note)
	defer source.Close()
	buffered := bufio.NewReaderSize(source, chunk)
	summed := checksummed(buffered)
	packed := &counter{from: buffered, hash: sha256.New()}
	const window = 128 << 20
	unpacker, err := zstd.NewReader(packed, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxWindow(window))
	if err != nil {
		return nil, fmt.Errorf("unpack image: %w", err)
	}
	defer unpacker.Close()
	raw := &counter{from: unpacker}
	if !summed || job.Image.Size == 0 {
		raw.hash = sha256.New()
	}
	ends, err := job.write(raw, disk)
	if err != nil {
		return nil, err
	}
	// The decoder may stop before the download's end; the digest is of all of it.
	if _, err := io.Copy(io.Discard, packed); err != nil {
		return nil, err
	}
	for _, sum := range []struct {
		what, want string
		of         *counter
	}{{"compressed image", job.Image.CompressedSHA256, packed}, {"image", job.Image.SHA256, raw}} {
		if sum.of.hash == nil {
			continue
		}
		if got := hex.EncodeToString(sum.of.hash.Sum(nil)); got != sum.want {
			return nil, fmt.Errorf("the %s has digest %s instead of %s", sum.what, got, sum.want)
		}
	}
	if job.Image.Size > 0 && raw.n != job.Image.Size {
		return nil, fmt.Errorf("the image has %d bytes instead of %d", raw.n, job.Image.Size)
	}
	return ends, nil
}

// checksummed says that a zstd stream keeps a checksum of its content; what is no such stream fails later.
func checksummed(from *bufio.Reader) bool {
	start, err := from.Peek(zstd.HeaderMaxSize)
	if err != nil {
		return false
	}
	var header zstd.Header
	return header.Decode(start) == nil && header.HasCheckSum
}

func (job Job) write(from io.Reader, disk *device) (*held, error) {
	ends, buffer := &held{}, make([]byte, chunk)
	percent, unflushed, at := -1, 0, int64(0)
	for {
		n, err := io.ReadFull(from, buffer)
		if at+int64(n) > disk.size {
			return nil, fmt.Errorf("the image is larger than the disk's %d bytes", disk.size)
		}
		if writeErr := ends.next(disk, buffer[:n], at); writeErr != nil {
			return nil, writeErr
		}
		at += int64(n)
		unflushed += n
		if unflushed >= flushEvery {
			if err := disk.sync(); err != nil {
				return nil, err
			}
			unflushed = 0
		}
		if now := job.percent(at); now != percent {
			percent = now
			job.Percent(now)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("unpack image: %w", err)
		}
	}
	if len(ends.head) < chunk {
		return nil, errors.New("the image is smaller than its own partition table")
	}
	return ends, nil
}

// percent of the image that is written; 0 as long as its size is not known.
func (job Job) percent(at int64) int {
	if job.Image.Size <= 0 {
		return 0
	}
	return int(min(100, at*100/job.Image.Size))
}

// next writes the chunk before and holds the given one; the first is held until the end.
func (h *held) next(disk *device, data []byte, at int64) error {
	if len(data) == 0 {
		return nil
	}
	if at == 0 {
		h.head = append([]byte(nil), data...)
		return nil
	}
	if len(h.tail) > 0 {
		if err := disk.write(h.tail, h.tailAt); err != nil {
			return err
		}
	}
	h.tail, h.tailAt = append(h.tail[:0], data...), at
	return nil
}
