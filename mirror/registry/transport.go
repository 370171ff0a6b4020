package registry

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
)

// inProcess carries requests to a handler in this process, bodies streaming both ways.
type inProcess struct {
	handler http.Handler
}

// RoundTrip serves the request; the handler ends when the body was read or closed, or when the request's context ends.
func (t inProcess) RoundTrip(req *http.Request) (*http.Response, error) {
	inner := req.Clone(req.Context())
	inner.RemoteAddr = "in-process"
	inner.RequestURI = req.URL.RequestURI()
	if inner.Body == nil {
		inner.Body = http.NoBody
	}
	body, pipe := io.Pipe()
	w := &response{header: http.Header{}, body: pipe, headOnly: req.Method == http.MethodHead, started: make(chan struct{})}
	// Closing the pipe's far end unblocks a handler whose client has stopped listening.
	unhook := make(chan struct{})
	go func() {
		select {
		case <-req.Context().Done():
			body.CloseWithError(req.Context().Err())
		case <-unhook:
		}
	}()
	go func() {
		defer close(unhook)
		defer inner.Body.Close()
		w.finish(t.serve(w, inner))
	}()
	select {
	case <-w.started:
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
	length, err := strconv.ParseInt(w.sent.Get("Content-Length"), 10, 64)
	if err != nil {
		length = -1
	}
	return &http.Response{
		Status:        strconv.Itoa(w.status) + " " + http.StatusText(w.status),
		StatusCode:    w.status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        w.sent,
		Body:          body,
		ContentLength: length,
		Request:       req,
	}, nil
}

func (t inProcess) serve(w http.ResponseWriter, req *http.Request) (err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("serve %s %s: panic: %v", req.Method, req.URL.Path, reason)
		}
	}()
	t.handler.ServeHTTP(w, req)
	return nil
}

// response is the handler's side of the pipe.
type response struct {
	header   http.Header
	sent     http.Header // as it was when the handler began to answer
	status   int
	body     *io.PipeWriter
	headOnly bool
	once     sync.Once
	started  chan struct{}
}

func (w *response) Header() http.Header { return w.header }

func (w *response) WriteHeader(status int) {
	w.once.Do(func() {
		w.status = status
		w.sent = w.header.Clone()
		close(w.started)
	})
}

func (w *response) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.headOnly {
		return len(p), nil
	}
	return w.body.Write(p)
}

func (w *response) finish(err error) {
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
	}
	w.WriteHeader(http.StatusOK)
	w.body.CloseWithError(err)
}
