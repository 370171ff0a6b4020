package web

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"time"
)

const (
	// A connection may stand still that long. A whole answer may take any time: a rootfs over a slow link is minutes.
	stall = 2 * time.Minute
	chunk = 1 << 20 // what a client must take within stall
	// held is how much of an answer of unknown length waits for its end, so that its length can be told: firmware wants to know it.
	held = 64 << 10
)

// writer notes what was answered, tells its length, and moves the connection's deadline on with each piece that goes out.
type writer struct {
	http.ResponseWriter
	control *http.ResponseController
	status  int
	bytes   int64
	begun   bool // the header is out
	waiting bytes.Buffer
}

func newWriter(w http.ResponseWriter) *writer {
	return &writer{ResponseWriter: w, control: http.NewResponseController(w)}
}

// Unwrap lets http.ResponseController reach the connection.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// FlushError is what http.ResponseController looks for.
func (w *writer) FlushError() error {
	if err := w.begin(); err != nil {
		return err
	}
	return w.control.Flush()
}

// Flush is for handlers that look for http.Flusher.
func (w *writer) Flush() { _ = w.FlushError() }

func (w *writer) WriteHeader(status int) {
	if status < 200 || w.status != 0 {
		w.ResponseWriter.WriteHeader(status) // net/http complains about the second
		return
	}
	w.status = status
	header := w.Header()
	if header.Get("Content-Length") != "" || header.Get("Trailer") != "" || !hasBody(status) {
		w.begun = true
		w.ResponseWriter.WriteHeader(status)
	}
}

func hasBody(status int) bool {
	return status != http.StatusNoContent && status != http.StatusNotModified
}

// begin sends the header and what waits.
func (w *writer) begin() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.begun {
		return nil
	}
	w.begun = true
	w.ResponseWriter.WriteHeader(w.status)
	if w.waiting.Len() == 0 {
		return nil
	}
	_, err := w.send(w.waiting.Bytes())
	w.waiting = bytes.Buffer{}
	return err
}

// end tells the length of what waits, now that it is known, and sends it.
func (w *writer) end() {
	if w.status == 0 || w.begun {
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(w.waiting.Len()))
	_ = w.begin() // the client that is gone needs no error
}

// forget drops an answer that nobody has seen anything of, and says whether it was so.
func (w *writer) forget() bool {
	if w.begun {
		return false
	}
	w.status = 0
	w.waiting.Reset()
	return true
}

func (w *writer) extend() { _ = w.control.SetWriteDeadline(time.Now().Add(stall)) } // a recorder in a test has none

func (w *writer) send(p []byte) (int, error) {
	w.extend()
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

func (w *writer) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.begun && w.waiting.Len()+len(p) <= held {
		return w.waiting.Write(p)
	}
	if err := w.begin(); err != nil {
		return 0, err
	}
	return w.send(p)
}

// ReadFrom keeps the kernel's file-to-socket copy, in pieces so that each has its deadline.
func (w *writer) ReadFrom(r io.Reader) (total int64, err error) {
	to, ok := w.ResponseWriter.(io.ReaderFrom)
	if !ok || w.status == 0 || !w.begun {
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
		w.extend()
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
