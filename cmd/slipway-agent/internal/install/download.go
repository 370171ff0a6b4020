package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Limits of a download that has lost its connection.
const (
	// stall ends a connection that brings nothing.
	stall = 20 * time.Second
	// patience is how long a download may go without any progress, an appliance's restart included.
	patience = 15 * time.Minute
)

// download reads a URL to its end across lost connections.
type download struct {
	ctx  context.Context
	http *http.Client
	url  string
	note func(format string, args ...any)
	// size is -1 until it is known.
	offset, size int64
	body         io.ReadCloser
	cancel       context.CancelFunc
	watchdog     *time.Timer
	progressed   time.Time
	pause        time.Duration
}

func newDownload(ctx context.Context, client *http.Client, url string, note func(string, ...any)) *download {
	return &download{ctx: ctx, http: client, url: url, note: note, size: -1, progressed: time.Now()}
}

// Read implements io.Reader.
func (d *download) Read(p []byte) (int, error) {
	for {
		if d.size >= 0 && d.offset >= d.size {
			return 0, io.EOF
		}
		if d.body == nil {
			if err := d.connect(); err != nil {
				if again := d.retry(err); again != nil {
					return 0, again
				}
				continue
			}
		}
		d.watchdog.Reset(stall)
		n, err := d.body.Read(p)
		if n > 0 {
			d.offset += int64(n)
			d.progressed, d.pause = time.Now(), 0
			return n, nil
		}
		if errors.Is(err, io.EOF) && d.size < 0 {
			return 0, io.EOF
		}
		if err == nil {
			continue
		}
		d.hangUp()
		if again := d.retry(fmt.Errorf("connection lost at byte %d: %w", d.offset, err)); again != nil {
			return 0, again
		}
	}
}

// final errors do not go away by trying again.
type final struct{ error }

func (d *download) connect() error {
	ctx, cancel := context.WithCancel(d.ctx)
	d.watchdog = time.AfterFunc(stall, cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url, http.NoBody)
	if err != nil {
		cancel()
		return final{err}
	}
	if d.offset > 0 {
		request.Header.Set("Range", "bytes="+strconv.FormatInt(d.offset, 10)+"-")
	}
	response, err := d.http.Do(request)
	if err != nil {
		cancel()
		return err
	}
	if err := d.accept(response); err != nil {
		cancel()
		return errors.Join(err, response.Body.Close())
	}
	d.body, d.cancel = response.Body, cancel
	return nil
}

// accept checks that the answer goes on where we are.
func (d *download) accept(response *http.Response) error {
	switch {
	case response.StatusCode == http.StatusOK && d.offset == 0:
		if response.ContentLength >= 0 {
			d.size = response.ContentLength
		}
		return nil
	case response.StatusCode == http.StatusPartialContent && d.offset > 0:
		start := fmt.Sprintf("bytes %d-", d.offset)
		given := response.Header.Get("Content-Range")
		if !strings.HasPrefix(given, start) || d.size >= 0 && !strings.HasSuffix(given, "/"+strconv.FormatInt(d.size, 10)) {
			return final{fmt.Errorf("the image has changed (%s instead of %s…)", given, start)}
		}
		return nil
	case response.StatusCode >= http.StatusInternalServerError || response.StatusCode == http.StatusTooManyRequests:
		return fmt.Errorf("answer %s", response.Status)
	}
	return final{fmt.Errorf("answer %s at byte %d", response.Status, d.offset)}
}

// retry waits before the next try; it gives the error that ends the download.
func (d *download) retry(cause error) error {
	var stop final
	if errors.As(cause, &stop) || d.ctx.Err() != nil || time.Since(d.progressed) > patience {
		return fmt.Errorf("download disk image: %w", errors.Join(cause, d.ctx.Err()))
	}
	const longestPause = 5 * time.Second
	d.pause = min(longestPause, max(250*time.Millisecond, 2*d.pause))
	d.note("download waits %s and goes on: %v", d.pause, cause)
	select {
	case <-time.After(d.pause):
		return nil
	case <-d.ctx.Done():
		return fmt.Errorf("download disk image: %w", d.ctx.Err())
	}
}

func (d *download) hangUp() {
	if d.body == nil {
		return
	}
	d.watchdog.Stop()
	d.cancel()
	// The connection is broken or unwanted; there is nothing to learn from its end.
	_ = d.body.Close()
	d.body = nil
}

// Close implements io.Closer.
func (d *download) Close() error {
	d.hangUp()
	return nil
}
