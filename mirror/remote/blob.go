package remote

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// stall is how long a body may bring nothing before it is given up and continued by another request.
	stall = time.Minute
	// progress resets the count of attempts.
	progress = 64 << 10
	// readSize keeps one read from asking the limiter for more than its burst.
	readSize = 64 << 10
)

var errStalled = errors.New("nothing has moved for a minute")

// Open reads a blob from offset on. A connection that breaks is continued where it broke, with a range request.
// Read from its beginning it ends with ErrDigest in place of io.EOF where the content is not what the digest promises.
func (c *Client) Open(ctx context.Context, repo Repository, blob Descriptor, offset int64) (io.ReadCloser, error) {
	if repo.IsLayout() {
		return inLayout(repo, func(l *layoutDir) (io.ReadCloser, error) { return l.open(blob, offset) })
	}
	d := &download{client: c, ctx: ctx, blob: blob, at: offset}
	if offset == 0 {
		d.hash = NewHash(blob.Digest)
	}
	err := c.look(ctx, repo, true, func(place Repository) error {
		d.repo = place
		return d.request()
	})
	if err != nil {
		return nil, fmt.Errorf("get blob %s of %s: %w", blob.Digest, repo, err)
	}
	return d, nil
}

// download is a blob's content across the requests that it takes.
type download struct {
	client *Client
	ctx    context.Context
	repo   Repository
	blob   Descriptor
	at     int64
	hash   hash.Hash // nil where the beginning was not read

	body    io.ReadCloser
	cancel  context.CancelFunc
	watch   *time.Timer
	stalled chan struct{}
	failed  int   // attempts since there was progress
	good    int64 // where progress was last counted
}

// request asks for the content from where it is.
func (d *download) request() error {
	if d.at > 0 && d.at == d.blob.Size { // nothing is left to ask for
		d.body, d.cancel, d.watch, d.stalled = http.NoBody, func() {}, time.NewTimer(stall), make(chan struct{})
		return nil
	}
	ctx, cancel := context.WithCancel(d.ctx)
	k := call{method: http.MethodGet, repo: d.repo, path: d.repo.Path + "/blobs/" + d.blob.Digest,
		scopes: pull(d.repo), want: []int{http.StatusOK}, header: http.Header{}}
	if d.at > 0 {
		k.header.Set("Range", fmt.Sprintf("bytes=%d-%d", d.at, d.blob.Size-1))
		k.want = append(k.want, http.StatusPartialContent)
	}
	resp, err := d.client.do(ctx, k)
	if err != nil {
		cancel()
		return err
	}
	if err := d.position(resp); err != nil {
		resp.Body.Close()
		cancel()
		return err
	}
	stalled := make(chan struct{})
	d.body, d.cancel, d.stalled = resp.Body, cancel, stalled
	d.watch = time.AfterFunc(stall, func() { close(stalled); cancel() })
	return nil
}

// position makes sure that the answer continues where we are.
func (d *download) position(resp *http.Response) error {
	if resp.StatusCode == http.StatusPartialContent {
		if !strings.HasPrefix(resp.Header.Get("Content-Range"), "bytes "+strconv.FormatInt(d.at, 10)+"-") {
			return fmt.Errorf("asked for bytes from %d, got %q", d.at, resp.Header.Get("Content-Range"))
		}
		return nil
	}
	if resp.ContentLength >= 0 && resp.ContentLength != d.blob.Size {
		return fmt.Errorf("%w: it has %d bytes, want %d", ErrDigest, resp.ContentLength, d.blob.Size)
	}
	// A registry without ranges starts from the beginning again.
	_, err := io.CopyN(io.Discard, resp.Body, d.at)
	return err
}

func (d *download) Read(p []byte) (int, error) {
	p = p[:min(len(p), readSize)]
	for {
		if d.body == nil {
			if err := d.request(); err != nil {
				return 0, fmt.Errorf("get blob %s of %s: %w", d.blob.Digest, d.repo, err)
			}
		}
		n, err := d.body.Read(p)
		if n > 0 {
			return d.take(p[:n])
		}
		if err == nil {
			continue
		}
		if d.at == d.blob.Size && errors.Is(err, io.EOF) {
			return 0, d.end()
		}
		if err := d.broken(err); err != nil {
			return 0, fmt.Errorf("get blob %s of %s: %w", d.blob.Digest, d.repo, err)
		}
	}
}

func (d *download) take(p []byte) (int, error) {
	d.watch.Reset(stall)
	if d.hash != nil {
		d.hash.Write(p)
	}
	d.at += int64(len(p))
	if d.at > d.blob.Size {
		return 0, fmt.Errorf("get blob %s of %s: %w: more than %d bytes", d.blob.Digest, d.repo, ErrDigest, d.blob.Size)
	}
	if d.client.limiter != nil {
		// The watch must not take our own waiting for a stall.
		d.watch.Stop()
		err := d.client.limiter.WaitN(d.ctx, len(p))
		d.watch.Reset(stall)
		if err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func (d *download) end() error {
	if d.hash == nil {
		return io.EOF
	}
	if got := HashDigest(d.hash, d.blob.Digest); got != d.blob.Digest {
		return fmt.Errorf("get blob %s of %s: %w: got %s", d.blob.Digest, d.repo, ErrDigest, got)
	}
	return io.EOF
}

// broken takes a failed body away and waits for the next attempt; it returns the reason where there is none.
func (d *download) broken(reason error) error {
	select {
	case <-d.stalled:
		reason = errStalled
	default:
	}
	if err := d.Close(); err != nil {
		d.client.log.Debug("broken body", "registry", d.repo.Host, "err", err)
	}
	if d.ctx.Err() != nil {
		return d.ctx.Err()
	}
	if d.at-d.good >= progress {
		d.failed, d.good = 0, d.at
	}
	d.failed++
	if d.failed >= d.client.attempts {
		return reason
	}
	d.client.log.Info("download is continued", "repository", d.repo.String(), "digest", d.blob.Digest, "offset", d.at, "size", d.blob.Size, "err", reason)
	if d.failed == 1 {
		return nil // a cut connection: at once
	}
	pause, _ := retry(reason, d.failed)
	return d.client.wait(d.ctx, pause)
}

// Close gives the connection back.
func (d *download) Close() error {
	if d.body == nil {
		return nil
	}
	d.watch.Stop()
	d.cancel()
	err := d.body.Close()
	d.body = nil
	return err
}

// Has tells whether a repository has a blob.
func (c *Client) Has(ctx context.Context, repo Repository, digest string) (bool, error) {
	resp, err := c.do(ctx, call{method: http.MethodHead, repo: repo, path: repo.Path + "/blobs/" + digest, scopes: pull(repo), want: []int{http.StatusOK}})
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("ask %s for blob %s: %w", repo, digest, err)
	}
	resp.Body.Close()
	return true, nil
}
