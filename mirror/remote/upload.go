package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Source opens a blob's content from an offset on. It may be called several times, one after the other.
type Source func(ctx context.Context, offset int64) (io.ReadCloser, error)

// Upload is one blob on its way into a repository.
type Upload struct {
	Repository Repository
	Blob       Descriptor
	Source     Source
	// Location of an upload that was begun before; empty starts one.
	Location string
	// Begun is told each location, so that another run can continue; nil tells nobody.
	Begun func(location string)
	// Known is whether Location is fresh from Mount: nothing was sent to it yet.
	Known bool
}

// Mount asks for a blob of another repository of the same registry. Where the registry can't, it opens an upload, whose location is returned.
func (c *Client) Mount(ctx context.Context, repo Repository, digest, from string) (mounted bool, location string, err error) {
	scopes := push(repo)
	path := repo.Path + "/blobs/uploads/?mount=" + escape(digest)
	if from != "" {
		scopes = append(scopes, "repository:"+from+":pull")
		path += "&from=" + escape(from)
	}
	resp, err := c.do(ctx, call{method: http.MethodPost, repo: repo, path: path, scopes: scopes, want: []int{http.StatusCreated, http.StatusAccepted}})
	if err != nil {
		return false, "", fmt.Errorf("mount blob %s from %s into %s: %w", digest, from, repo, err)
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusCreated, resp.Header.Get("Location"), nil
}

// Upload pushes a blob; a connection that breaks is continued at the offset that the registry names.
func (c *Client) Upload(ctx context.Context, u Upload) error {
	if err := c.upload(ctx, &u); err != nil {
		return fmt.Errorf("push blob %s to %s: %w", u.Blob.Digest, u.Repository, err)
	}
	return nil
}

func (c *Client) upload(ctx context.Context, u *Upload) error {
	offset := int64(0)
	if u.Location != "" && !u.Known {
		offset = c.resume(ctx, u)
		if u.Location == "" { // it may have been finished, and the run killed before it knew
			if there, err := c.Has(ctx, u.Repository, u.Blob.Digest); err == nil && there {
				return nil
			}
		}
	}
	good := offset
	for attempt := 1; ; attempt++ {
		if u.Location == "" {
			if err := c.begin(ctx, u); err != nil {
				return err
			}
			offset = 0
		}
		err := c.put(ctx, u, offset)
		if err == nil {
			return nil
		}
		var broken *sourceError
		if errors.As(err, &broken) || ctx.Err() != nil {
			if ctx.Err() == nil {
				c.cancel(ctx, u)
			}
			return err
		}
		pause, again := retry(err, attempt)
		if rejected(err) {
			pause, again = 0, true
		}
		if !again || attempt >= c.attempts {
			return err
		}
		if err := c.wait(ctx, pause); err != nil {
			return err
		}
		// The answer may be what got lost.
		if there, headErr := c.Has(ctx, u.Repository, u.Blob.Digest); headErr == nil && there {
			return nil
		}
		offset = c.resume(ctx, u)
		if offset-good >= progress {
			attempt, good = 0, offset
		}
		c.log.Info("upload is continued", "repository", u.Repository.String(), "digest", u.Blob.Digest, "offset", offset, "size", u.Blob.Size, "err", err)
	}
}

// rejected tells that the upload itself is no good any more, or its token, and a new try may be.
func rejected(err error) bool {
	var status *StatusError
	return errors.As(err, &status) && (status.Status == http.StatusNotFound || status.Status == http.StatusRequestedRangeNotSatisfiable || status.Status == http.StatusUnauthorized)
}

func (c *Client) begin(ctx context.Context, u *Upload) error {
	resp, err := c.do(ctx, call{method: http.MethodPost, repo: u.Repository, path: u.Repository.Path + "/blobs/uploads/",
		scopes: push(u.Repository), want: []int{http.StatusAccepted}})
	if err != nil {
		return err
	}
	resp.Body.Close()
	u.Location = resp.Header.Get("Location")
	if u.Location == "" {
		return errors.New("the registry names no place for the upload")
	}
	u.begun()
	return nil
}

func (u *Upload) begun() {
	if u.Begun != nil {
		u.Begun(u.Location)
	}
}

// resume asks how much of an upload has arrived. An upload that can't be continued is dropped, and its location emptied.
func (c *Client) resume(ctx context.Context, u *Upload) int64 {
	resp, err := c.do(ctx, call{method: http.MethodGet, repo: u.Repository, at: u.Location, scopes: push(u.Repository), want: []int{http.StatusNoContent}})
	if err != nil {
		u.Location = ""
		return 0
	}
	resp.Body.Close()
	if next := resp.Header.Get("Location"); next != "" {
		u.Location = next
	}
	_, end, found := strings.Cut(strings.TrimPrefix(resp.Header.Get("Range"), "bytes="), "-")
	last, err := strconv.ParseInt(end, 10, 64)
	if !found || err != nil || last <= 0 { // "0-0" is what registries say of nothing
		return 0
	}
	if last+1 > u.Blob.Size {
		c.cancel(ctx, u)
		return 0
	}
	return last + 1
}

// put sends what is missing and closes the upload.
func (c *Client) put(ctx context.Context, u *Upload, offset int64) error {
	if offset == 0 {
		return c.finish(ctx, u, 0)
	}
	if offset < u.Blob.Size {
		body, ctx := u.body(ctx, offset)
		defer body.end()
		resp, err := c.do(ctx, call{method: http.MethodPatch, repo: u.Repository, at: u.Location, once: true, scopes: push(u.Repository),
			header: http.Header{"Content-Type": {"application/octet-stream"}, "Content-Range": {fmt.Sprintf("%d-%d", offset, u.Blob.Size-1)}},
			body:   func() io.Reader { return body }, length: u.Blob.Size - offset, want: []int{http.StatusAccepted}})
		if err := body.judge(err); err != nil {
			return err
		}
		resp.Body.Close()
		if next := resp.Header.Get("Location"); next != "" {
			u.Location = next
		}
	}
	return c.finish(ctx, u, u.Blob.Size)
}

// finish closes the upload, with all of the content where nothing was sent yet.
func (c *Client) finish(ctx context.Context, u *Upload, offset int64) error {
	separator := "?"
	if strings.Contains(u.Location, "?") {
		separator = "&"
	}
	k := call{method: http.MethodPut, repo: u.Repository, at: u.Location + separator + "digest=" + escape(u.Blob.Digest), once: true,
		scopes: push(u.Repository), header: http.Header{"Content-Type": {"application/octet-stream"}}, want: []int{http.StatusCreated, http.StatusNoContent}}
	var body *content
	if offset < u.Blob.Size {
		body, ctx = u.body(ctx, offset)
		defer body.end()
		k.body, k.length = func() io.Reader { return body }, u.Blob.Size-offset
	}
	resp, err := c.do(ctx, k)
	if err := body.judge(err); err != nil {
		return err
	}
	resp.Body.Close()
	return nil
}

// cancel frees what an upload holds at the registry; where that fails, the registry's own clean-up does it.
func (c *Client) cancel(ctx context.Context, u *Upload) {
	resp, err := c.do(ctx, call{method: http.MethodDelete, repo: u.Repository, at: u.Location, once: true, scopes: push(u.Repository), want: []int{http.StatusNoContent, http.StatusOK, http.StatusAccepted}})
	if err != nil {
		c.log.Debug("upload is left behind", "repository", u.Repository.String(), "err", err)
	} else {
		resp.Body.Close()
	}
	u.Location = ""
}

// sourceError is an error of the side that the content comes from.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// FromSource tells whether an upload failed because its content could not be had.
func FromSource(err error) bool {
	var broken *sourceError
	return errors.As(err, &broken)
}

// content opens the source when the registry is ready for it, and remembers which side failed.
// The transport may still read when the request has already failed, hence the lock and the context of its own.
type content struct {
	open    func() (io.ReadCloser, error)
	cancel  context.CancelFunc // of reading
	abort   context.CancelFunc // of the request
	failed  atomic.Pointer[error]
	watch   *time.Timer // runs while the registry takes nothing
	stalled atomic.Bool

	mu     sync.Mutex
	reader io.ReadCloser
	left   int64
	closed bool
}

// body of a request, and the context in which it must be made.
func (u *Upload) body(ctx context.Context, offset int64) (*content, context.Context) {
	ctx, abort := context.WithCancel(ctx)
	reading, cancel := context.WithCancel(ctx)
	b := &content{open: func() (io.ReadCloser, error) { return u.Source(reading, offset) }, cancel: cancel, abort: abort, left: u.Blob.Size - offset}
	b.watch = time.AfterFunc(time.Hour, func() {
		b.stalled.Store(true)
		abort()
	})
	b.watch.Stop()
	return b, ctx
}

func (b *content) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, io.ErrClosedPipe
	}
	b.watch.Stop()
	n, err := b.read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.failed.CompareAndSwap(nil, &err)
		return 0, err
	}
	if err == nil {
		b.watch.Reset(stall)
	}
	return n, err
}

func (b *content) read(p []byte) (int, error) {
	if b.reader == nil {
		reader, err := b.open()
		if err != nil {
			return 0, err
		}
		b.reader = reader
	}
	n, err := b.reader.Read(p)
	b.left -= int64(n)
	if err == nil && b.left <= 0 {
		// The verdict on the content comes after its last byte, and the registry must not see that byte without it.
		var more int
		more, err = b.reader.Read(make([]byte, 1))
		if more > 0 {
			err = errors.New("the content is longer than its size")
		}
	}
	if errors.Is(err, io.EOF) && b.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Close closes the source. The transport calls it as well.
func (b *content) Close() error {
	if b == nil {
		return nil
	}
	b.cancel()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.watch.Stop()
	if b.reader == nil {
		return nil
	}
	err := b.reader.Close()
	b.reader = nil
	return err
}

// end frees everything, once the request is answered.
func (b *content) end() {
	if b == nil {
		return
	}
	_ = b.Close() // what could be wrong with the source was told while it was read
	b.abort()
}

// judge tells which side an error came from.
func (b *content) judge(err error) error {
	if err == nil || b == nil {
		return err
	}
	if b.stalled.Load() {
		return errStalled
	}
	if failed := b.failed.Load(); failed != nil {
		return &sourceError{*failed}
	}
	return err
}
