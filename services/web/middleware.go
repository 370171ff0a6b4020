package web

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const requestIDHeader = "X-Request-Id"

// front is what every request of one listener passes.
type front struct {
	mux     *http.ServeMux
	other   *http.ServeMux // the routes that only the other listener has, to say so
	limits  map[string]int64
	log     *slog.Logger
	metrics *metrics
}

type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	bytes    prometheus.Counter
	inFlight prometheus.Gauge
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipway_http_requests_total", Help: "HTTP requests answered.",
		}, []string{"route", "method", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "slipway_http_request_duration_seconds", Help: "Time from a request's header to the last byte of its answer.",
			Buckets: []float64{.001, .005, .025, .1, .5, 2.5, 10, 60, 300},
		}, []string{"route"}),
		bytes:    prometheus.NewCounter(prometheus.CounterOpts{Name: "slipway_http_sent_bytes_total", Help: "Bytes of answers' bodies."}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "slipway_http_requests_in_flight", Help: "HTTP requests being answered."}),
	}
	if registerer == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.seconds, m.bytes, m.inFlight} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

func (f *front) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	start := time.Now()
	w := newWriter(out)
	id := requestID(r)
	w.Header().Set(requestIDHeader, id)
	_, pattern := f.mux.Handler(r)
	f.metrics.inFlight.Inc()
	defer func() {
		reason := recover()
		f.metrics.inFlight.Dec()
		if reason != nil && reason != http.ErrAbortHandler {
			f.log.Error("handler panicked", "id", id, "route", pattern, "reason", fmt.Sprint(reason), "stack", string(debug.Stack()))
			if w.forget() {
				Problem(w, http.StatusInternalServerError, "internal error, request "+id)
				reason = nil
			}
		}
		if reason == nil {
			w.end()
		}
		f.note(w, r, pattern, id, time.Since(start))
		if reason != nil {
			panic(http.ErrAbortHandler) // the answer is broken off, so that the client sees it
		}
	}()
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = http.MaxBytesReader(w, body{r.Body, w.control}, f.limits[pattern])
	}
	if pattern == "" {
		f.unknown(w, r)
		return
	}
	f.mux.ServeHTTP(w, r)
}

// unknown turns the mux's plain 404 and 405 into problems.
func (f *front) unknown(w http.ResponseWriter, r *http.Request) {
	if _, pattern := f.other.Handler(r); pattern != "" {
		Problem(w, http.StatusNotFound, r.URL.Path+" is served over HTTPS only")
		return
	}
	probe := &probe{header: http.Header{}}
	f.mux.ServeHTTP(probe, r)
	if allow := probe.header.Get("Allow"); probe.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", allow)
		Problem(w, http.StatusMethodNotAllowed, fmt.Sprintf("method %s is not allowed for %s, but %s", r.Method, r.URL.Path, allow))
		return
	}
	Problem(w, http.StatusNotFound, "path "+r.URL.Path+" was not found")
}

// probe takes the mux's own answer to read its status.
type probe struct {
	header http.Header
	status int
}

func (p *probe) Header() http.Header         { return p.header }
func (p *probe) Write(b []byte) (int, error) { return len(b), nil }
func (p *probe) WriteHeader(status int)      { p.status = status }

// note counts and logs. Queries are never logged, nor what a route calls a key or token: they carry secrets.
func (f *front) note(w *writer, r *http.Request, pattern, id string, took time.Duration) {
	status := w.status
	if status == 0 {
		status = http.StatusOK
	}
	f.metrics.requests.WithLabelValues(pattern, methodLabel(r.Method), strconv.Itoa(status)).Inc()
	f.metrics.seconds.WithLabelValues(pattern).Observe(took.Seconds())
	f.metrics.bytes.Add(float64(w.bytes))
	level := slog.LevelDebug
	switch {
	case status >= 500:
		level = slog.LevelWarn
	case status >= 400:
		level = slog.LevelInfo
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	f.log.Log(r.Context(), level, "request", "id", id, "ip", host, "method", methodLabel(r.Method), "path", safePath(r, pattern),
		"status", status, "bytes", w.bytes, "duration", took.Round(time.Microsecond))
}

// safePath replaces the path elements that the pattern names as secret.
func safePath(r *http.Request, pattern string) string {
	path := r.URL.Path
	for _, element := range strings.Split(pattern, "/") {
		name := strings.TrimSuffix(strings.Trim(element, "{}"), "...")
		lower := strings.ToLower(name)
		if !strings.HasPrefix(element, "{") || (!strings.Contains(lower, "key") && !strings.Contains(lower, "token")) {
			continue
		}
		if value := r.PathValue(name); value != "" {
			path = strings.ReplaceAll(path, value, "…")
		}
	}
	return path
}

// requestID takes a client's own id when it is one that may stand in a log.
func requestID(r *http.Request) string {
	id := r.Header.Get(requestIDHeader)
	plain := func(c rune) bool {
		return c == '-' || c == '_' || c == '.' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
	}
	if id != "" && len(id) <= 64 && strings.IndexFunc(id, func(c rune) bool { return !plain(c) }) < 0 {
		return id
	}
	return strings.ToLower(rand.Text()[:16])
}

// methodLabel bounds the metric's label.
func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "other"
}
