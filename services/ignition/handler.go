package ignition

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Payloads finds the node Ignition that a token stands for.
type Payloads interface {
	// Payload gives what the NodePool (namespace/name; may be empty) serves to the token's holder.
	// A token that is not or no longer good is ErrForbidden, a NodePool that is gone ErrNotFound.
	Payload(ctx context.Context, token []byte, nodePool string) ([]byte, error)
}

// Answers of Payloads that are the asker's fault.
var (
	ErrForbidden = errors.New("the Ignition token is not valid")
	ErrNotFound  = errors.New("there is no such NodePool")
)

// A source may fail often enough for a whole rack behind one address, and not often enough to guess.
const (
	failuresPerSecond = 1
	failuresAtOnce    = 30
	sourcesRemembered = 4096
)

// Handler answers GET /ignition.
type Handler struct {
	payloads Payloads
	log      *slog.Logger

	mu      sync.Mutex
	sources map[netip.Addr]*refused
}

// refused is what is remembered of an address that was refused.
type refused struct {
	failures *rate.Limiter
	logged   map[int]bool
}

// NewHandler serves what payloads has.
func NewHandler(payloads Payloads, log *slog.Logger) *Handler {
	return &Handler{payloads: payloads, log: log, sources: map[netip.Addr]*refused{}}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		problem(w, http.StatusMethodNotAllowed, "only GET and HEAD are answered here")
		return
	}
	from := remote(r)
	if h.exhausted(from) {
		w.Header().Set("Retry-After", "5")
		problem(w, http.StatusTooManyRequests, "too many requests were refused, come back later")
		return
	}
	nodePool := r.Header.Get("NodePool")
	token, err := bearer(r)
	if err != nil {
		w.Header().Set("WWW-Authenticate", "Bearer")
		h.refuse(w, r, from, http.StatusUnauthorized, err.Error())
		return
	}
	payload, err := h.payloads.Payload(r.Context(), token, nodePool)
	switch {
	case errors.Is(err, ErrForbidden):
		h.refuse(w, r, from, http.StatusForbidden, ErrForbidden.Error())
		return
	case errors.Is(err, ErrNotFound):
		h.refuse(w, r, from, http.StatusNotFound, ErrNotFound.Error())
		return
	case err != nil:
		h.log.Error("ignition payload", "nodePool", nodePool, "remote", from, "err", err)
		problem(w, http.StatusServiceUnavailable, "the Ignition of the NodePool is not ready")
		return
	}
	h.log.Info("ignition served", "nodePool", nodePool, "remote", from, "bytes", len(payload))
	w.Header().Set("Content-Type", ContentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(payload)))
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodGet {
		if _, err := w.Write(payload); err != nil {
			h.log.Debug("ignition write", "remote", from, "err", err)
		}
	}
}

// bearer takes the token out of "Authorization: Bearer <base64>".
func bearer(r *http.Request) ([]byte, error) {
	scheme, encoded, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return nil, errors.New("the Authorization header with a bearer token is missing")
	}
	token, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	if err != nil || len(token) == 0 {
		return nil, errors.New("the bearer token is not base64")
	}
	return token, nil
}

// refuse answers with a problem and logs the first of its kind from an address.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, from netip.Addr, status int, detail string) {
	h.mu.Lock()
	known, ok := h.sources[from]
	if !ok {
		if len(h.sources) >= sourcesRemembered {
			clear(h.sources)
		}
		known = &refused{failures: rate.NewLimiter(failuresPerSecond, failuresAtOnce), logged: map[int]bool{}}
		h.sources[from] = known
	}
	known.failures.Allow()
	first := !known.logged[status]
	known.logged[status] = true
	h.mu.Unlock()
	if first {
		h.log.Warn("ignition refused", "remote", from, "status", status, "reason", detail, "nodePool", r.Header.Get("NodePool"))
	}
	problem(w, status, detail)
}

func (h *Handler) exhausted(from netip.Addr) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	known, ok := h.sources[from]
	return ok && known.failures.TokensAt(time.Now()) < 1
}

func remote(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return address.Unmap().WithZone("")
}

// problem writes a problem document (RFC 9457).
func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// The connection may be gone; then there is nobody to tell.
	_ = json.NewEncoder(w).Encode(map[string]any{
		"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": detail,
	})
}
