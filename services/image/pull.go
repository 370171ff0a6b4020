package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/slipway-io/slipway/services/atomicfile"
)

const (
	// stall is how long a server may send nothing.
	stall = 30 * time.Second
	// tagFile keeps what the server called the file of which a part is there.
	tagFile = "tag"
)

// Source is an OS image to be pulled.
type Source struct {
	Identity
	// URL of the live ISO. A fragment sha256=HEX is the digest that it must have.
	URL string
}

func (s Source) parse() (address, sum string, err error) {
	u, err := url.Parse(s.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", "", fmt.Errorf("%w: the address of OS image %s is no http or https URL", errQuery, s.Version)
	}
	fragment := u.Fragment
	u.Fragment = ""
	if fragment == "" {
		return u.String(), "", nil
	}
	sum, ok := strings.CutPrefix(fragment, "sha256=")
	if !ok || !hexPattern.MatchString(sum) {
		return "", "", fmt.Errorf("%w: the address of OS image %s ends in #%s, expected #sha256= and 64 hexadecimal digits", errQuery, s.Version, fragment)
	}
	return u.String(), sum, nil
}

// Pull fetches an OS image into the store; what an interrupted pull has left is gone on with. Progress may be nil.
func (s *Store) Pull(ctx context.Context, client *http.Client, from Source, progress func(done, total int64)) (string, error) {
	address, sum, err := from.parse()
	if err != nil {
		return "", err
	}
	id := sha256.Sum256([]byte(from.URL))
	part := filepath.Join(s.dir, unfinished+hex.EncodeToString(id[:8]))
	if err := os.MkdirAll(part, 0o755); err != nil {
		return "", fmt.Errorf("pull OS image %s: %w", from.Version, err)
	}
	p := pull{client: client, address: address, part: part, progress: progress}
	if err := p.fetch(ctx); err != nil {
		return "", fmt.Errorf("pull OS image %s: %w", from.Version, err)
	}
	if err := os.Remove(filepath.Join(part, tagFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("pull OS image %s: %w", from.Version, err)
	}
	dir, _, err := s.finish(ctx, part, from.Identity, sum)
	if err != nil && ctx.Err() == nil {
		// What is wrong stays wrong: the next attempt begins anew.
		err = errors.Join(err, os.RemoveAll(part))
	}
	if err != nil {
		return "", fmt.Errorf("pull OS image %s: %w", from.Version, err)
	}
	return dir, nil
}

// pull is one fetch of one file.
type pull struct {
	client        *http.Client
	address, part string
	progress      func(done, total int64)
}

func (p *pull) fetch(ctx context.Context) error {
	to, err := os.OpenFile(filepath.Join(p.part, storedISO), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	err = p.append(ctx, to)
	return errors.Join(err, to.Sync(), to.Close())
}

func (p *pull) append(ctx context.Context, to *os.File) error {
	have, err := to.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.address, nil)
	if err != nil {
		return err
	}
	tag, err := os.ReadFile(filepath.Join(p.part, tagFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if have > 0 && len(tag) > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
		request.Header.Set("If-Range", string(tag))
	}
	watch := time.AfterFunc(stall, func() { cancel(fmt.Errorf("the server sent nothing for %s", stall)) })
	defer watch.Stop()
	response, err := p.client.Do(request)
	if err != nil {
		return errors.Join(hideURL(err), context.Cause(ctx))
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		return nil // everything is there, or more than the server has: the digest and the ISO's own size say which
	}
	if have, err = p.start(response, to, have); err != nil {
		return err
	}
	return p.copy(ctx, to, response.Body, have, response.ContentLength, watch)
}

// start decides whether an answer is the rest or the whole.
func (p *pull) start(response *http.Response, to *os.File, have int64) (int64, error) {
	var from int64
	switch response.StatusCode {
	case http.StatusPartialContent:
		if _, err := fmt.Sscanf(response.Header.Get("Content-Range"), "bytes %d-", &from); err != nil || from != have {
			return 0, fmt.Errorf("the server sent the range %q, not that from byte %d", response.Header.Get("Content-Range"), have)
		}
		return have, nil
	case http.StatusOK:
		tag := response.Header.Get("ETag")
		if tag == "" || strings.HasPrefix(tag, "W/") {
			tag = response.Header.Get("Last-Modified")
		}
		if err := to.Truncate(0); err != nil {
			return 0, err
		}
		if _, err := to.Seek(0, io.SeekStart); err != nil {
			return 0, err
		}
		return 0, atomicfile.Write(filepath.Join(p.part, tagFile), []byte(tag))
	}
	return 0, fmt.Errorf("the server answered %s", response.Status)
}

func (p *pull) copy(ctx context.Context, to io.Writer, body io.Reader, have, length int64, watch *time.Timer) error {
	total := have + length
	if length < 0 {
		total = -1
	}
	for {
		n, err := io.CopyN(to, body, 1<<20)
		have += n
		watch.Reset(stall)
		if p.progress != nil {
			p.progress(have, total)
		}
		switch {
		case errors.Is(err, io.EOF) && (total < 0 || have == total):
			return nil
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return fmt.Errorf("the connection ended after %d of %d bytes", have, total)
		case err != nil:
			return errors.Join(err, context.Cause(ctx))
		}
	}
}

// hideURL leaves the address out of an error of the HTTP client: it may carry a password.
func hideURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}
