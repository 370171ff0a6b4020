package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// cutter is a proxy that breaks the first answer for each large blob in the middle.
type cutter struct {
	proxy *httputil.ReverseProxy
	mu    sync.Mutex
	seen  map[string]bool
	sent  int64 // bytes of blobs
	cuts  int
}

const cutAbove = 8 << 20

func (c *cutter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
		c.proxy.ServeHTTP(w, r)
		return
	}
	c.proxy.ServeHTTP(&cutting{ResponseWriter: w, c: c, path: r.URL.Path}, r)
}

// cutting counts an answer's bytes and ends the first one halfway.
type cutting struct {
	http.ResponseWriter
	c    *cutter
	path string
	left int64 // until the cut; negative: never
}

func (w *cutting) WriteHeader(status int) {
	w.left = -1
	var size int64
	if _, err := fmt.Sscan(w.Header().Get("Content-Length"), &size); err == nil && size > cutAbove && status == http.StatusOK {
		w.c.mu.Lock()
		if !w.c.seen[w.path] {
			w.c.seen[w.path], w.left = true, size/2
			w.c.cuts++
		}
		w.c.mu.Unlock()
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *cutting) Write(p []byte) (int, error) {
	last := w.left >= 0 && int64(len(p)) >= w.left
	if last {
		p = p[:w.left]
	}
	n, err := w.ResponseWriter.Write(p)
	w.c.mu.Lock()
	w.c.sent += int64(n)
	w.c.mu.Unlock()
	if w.left >= 0 {
		w.left -= int64(n)
	}
	if last {
		_ = http.NewResponseController(w.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

// cutDownloads mirrors one image through a proxy that cuts every large download once.
func cutDownloads(ctx context.Context, o options, set *imageSet) error {
	if err := set.tag(ctx, false); err != nil {
		return err
	}
	size, err := imageBytes(set.before)
	if err != nil {
		return err
	}
	fmt.Printf("\neach download of more than %d MiB cut at half, one image of %d bytes:\n", cutAbove>>20, size)
	for _, name := range strings.Split(o.names, ",") {
		target, err := startRegistry(ctx, o, "cut-"+name, targetHost, o.store)
		if err != nil {
			return err
		}
		c := &cutter{seen: map[string]bool{}, proxy: httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: sourceHost})}
		c.proxy.FlushInterval = -1
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		server := &http.Server{Handler: c, ReadHeaderTimeout: time.Minute}
		go func() { _ = server.Serve(listener) }() // ends with Close below
		p, err := newPeerFor(o, set.names[changes:changes+1], name, "cut-"+name)
		if err != nil {
			return err
		}
		s, err := p.run(ctx, listener.Addr().String(), targetHost)
		target.stop()
		_ = server.Close()
		if err != nil {
			return err
		}
		fmt.Printf("  %-8s exit %d, %d cuts, source sent %d bytes: %.2fx\n", name, s.code, c.cuts, c.sent, float64(c.sent)/float64(size))
	}
	return nil
}

// killed kills our engine when half of the bytes have moved, and lets it finish.
func killed(ctx context.Context, o options, set *imageSet, source *registry) error {
	if !strings.Contains(o.names, "slipway") {
		return nil
	}
	target, err := startRegistry(ctx, o, "killed", targetHost, o.store)
	if err != nil {
		return err
	}
	defer target.stop()
	p, err := newPeerFor(o, set.names, "slipway", "killed")
	if err != nil {
		return err
	}
	before, err := loopbackBytes()
	if err != nil {
		return err
	}
	command := p.commands(sourceHost, targetHost)[0]
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Dir = p.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	for now := before; now-before < set.unique; {
		if err := pause(ctx); err != nil {
			return err
		}
		if now, err = loopbackBytes(); err != nil {
			return err
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		return err
	}
	_ = cmd.Wait() // killed, as it should be
	s, err := p.sample(ctx, source, target)
	if err != nil {
		return err
	}
	after, err := loopbackBytes()
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stdout, "\nkilled (SIGKILL) halfway and started again: exit %d, %.3fx of the ideal bytes over both runs\n\n", s.code, float64(after-before)/float64(2*set.unique))
	return nil
}
