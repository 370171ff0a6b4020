package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"net/http"
	"os"
	"syscall"
	"time"
)

var (
	errDigest = errors.New("the root file system does not fit this kernel and initramfs: its digest is another one")
	errStall  = errors.New("the server stopped sending")
)

// fetch gets one file over an unreliable network into memory. It goes on for ever when the network or the server
// is at fault, continuing where it was; a wrong digest and a full memory end it.
type fetch struct {
	url, sha256, out string
	log              *slog.Logger

	firstWait, maxWait, stall time.Duration // zero: the usual ones

	client *http.Client
	file   *os.File
	sum    hash.Hash
	have   int64
	told   time.Time
}

func (f *fetch) run(ctx context.Context) error {
	if f.firstWait == 0 {
		f.firstWait, f.maxWait, f.stall = time.Second, 30*time.Second, 30*time.Second
	}
	// As with CoreOS, the server's name is not checked: the digest came with the initramfs.
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		TLSClientConfig:       &tls.Config{InsecureSkipVerify: true},
		ResponseHeaderTimeout: f.stall,
		DisableCompression:    true,
	}
	transport.RegisterProtocol("file", http.NewFileTransport(http.Dir("/"))) // a CD or a USB stick
	f.client = &http.Client{Transport: transport}
	defer f.client.CloseIdleConnections()
	file, err := os.OpenFile(f.out, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	f.file, f.sum = file, sha256.New()

	wait := f.firstWait
	for attempt := 1; ; attempt++ {
		before := f.have
		err := f.attempt(ctx)
		if err == nil || errors.Is(err, errDigest) {
			return err
		}
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), err)
		}
		if errors.Is(err, syscall.ENOSPC) {
			return fmt.Errorf("this machine has too little memory for the root file system: %w", err)
		}
		if f.have > before {
			wait = f.firstWait
		}
		f.log.Warn("fetch the root file system: trying again", "attempt", attempt, "error", err, "bytes", f.have, "wait", wait)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, f.maxWait)
	}
}

// attempt is one request, for what is not there yet.
func (f *fetch) attempt(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
	if err != nil {
		return err
	}
	if f.have > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", f.have))
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := f.accept(resp); err != nil {
		return err
	}
	watch := time.AfterFunc(f.stall, func() { cancel(errStall) })
	defer watch.Stop()
	if err := f.copy(resp.Body, f.have+resp.ContentLength, func() { watch.Reset(f.stall) }); err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	if got := hex.EncodeToString(f.sum.Sum(nil)); got != f.sha256 {
		return fmt.Errorf("%w (wanted %s, got %s)", errDigest, f.sha256, got)
	}
	f.log.Info("root file system fetched and checked", "bytes", f.have)
	return nil
}

// accept decides what an answer is good for: the rest, the whole from the start, or nothing.
func (f *fetch) accept(resp *http.Response) error {
	var from int64
	switch resp.StatusCode {
	case http.StatusPartialContent:
		if _, err := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-", &from); err == nil && from == f.have && f.have > 0 {
			return nil
		}
		if err := f.restart(); err != nil {
			return err
		}
		return fmt.Errorf("the server sent another range than asked for: %q", resp.Header.Get("Content-Range"))
	case http.StatusOK:
		return f.restart()
	case http.StatusRequestedRangeNotSatisfiable:
		if err := f.restart(); err != nil {
			return err
		}
	}
	return fmt.Errorf("the server answered %s", resp.Status)
}

func (f *fetch) restart() error {
	f.have = 0
	f.sum.Reset()
	if _, err := f.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return f.file.Truncate(0)
}

func (f *fetch) copy(body io.Reader, total int64, progress func()) error {
	buf := make([]byte, 256<<10)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			progress()
			if _, err := f.file.Write(buf[:n]); err != nil {
				return err
			}
			f.sum.Write(buf[:n])
			f.have += int64(n)
			f.tell(total)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (f *fetch) tell(total int64) {
	if time.Since(f.told) < 5*time.Second {
		return
	}
	f.told = time.Now()
	if total > f.have {
		f.log.Info("fetching the root file system", "percent", f.have*100/total)
	}
}
