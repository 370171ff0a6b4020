package web

import (
	"io"
	"net/http"
	"time"
)

const (
	// A connection may stand still that long. A whole answer may take any time: a rootfs over a slow link is minutes.
	stall = 2 * time.Minute
	chunk = 1 << 20 // what a client must take within stall
)

// writer notes what was answered and moves the connection's deadline on with each piece that goes out.
type writer struct {
	http.ResponseWriter
	control *http.ResponseController
	status  int
	bytes   int64
}

func newWriter(w http.ResponseWriter) *writer {
	return &writer{ResponseWriter: w, control: http.NewResponseController(w)}
}

// Unwrap lets http.ResponseController reach the connection.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush is for handlers that look for http.Flusher.
func (w *writer) Flush() { _ = w.control.Flush() }

func (w *writer) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) started() {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	_ = w.control.SetWriteDeadline(time.Now().Add(stall)) // a recorder in a test has none
}

func (w *writer) Write(p []byte) (int, error) {
	w.started()
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// ReadFrom keeps the kernel's file-to-socket copy, in pieces so that each has its deadline.
func (w *writer) ReadFrom(r io.Reader) (total int64, err error) {
	to, ok := w.ResponseWriter.(io.ReaderFrom)
	if !ok {
		return io.Copy(struct{ io.Writer }{w}, r)
	}
	limit := int64(-1)
	limited, isLimited := r.(*io.LimitedReader)
	if isLimited {
		r, limit = limited.R, limited.N
	}
	for limit != 0 {
		piece := int64(chunk)
		if limit > 0 {
			piece = min(piece, limit)
		}
		w.started()
		n, err := to.ReadFrom(&io.LimitedReader{R: r, N: piece})
		total, w.bytes = total+n, w.bytes+n
		if limit > 0 {
			limit -= n
			limited.N -= n
		}
		if err != nil || n < piece {
			return total, err
		}
	}
	return total, nil
}

// body gives a request's body the same patience.
type body struct {
	io.ReadCloser
	control *http.ResponseController
}

func (b body) Read(p []byte) (int, error) {
	_ = b.control.SetReadDeadline(time.Now().Add(stall))
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.forever()
	}
	return n, err
}

func (b body) Close() error {
	defer b.forever()
	return b.ReadCloser.Close()
}

// forever ends the deadline with the body: it would end a handler that waits, too.
func (b body) forever() { _ = b.control.SetReadDeadline(time.Time{}) }
