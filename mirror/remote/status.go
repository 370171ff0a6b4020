package remote

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// StatusError is a registry's answer that is not what was hoped for.
type StatusError struct {
	Method, Path string // without the query, which may have secrets
	Status       int
	Code         string // OCI error code
	Message      string
}

// Error says what was asked and what was answered.
func (e *StatusError) Error() string {
	text := fmt.Sprintf("%s %s: registry answers %d", e.Method, e.Path, e.Status)
	if e.Code != "" {
		text += " " + e.Code
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// Is makes errors.Is(err, ErrNotFound) work.
func (e *StatusError) Is(target error) bool {
	return target == ErrNotFound && e.Status == http.StatusNotFound
}

func statusError(resp *http.Response) *StatusError {
	e := &StatusError{Method: resp.Request.Method, Path: resp.Request.URL.Host + resp.Request.URL.Path, Status: resp.StatusCode}
	var answer struct {
		Errors []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
	}
	// Bodies of errors are a help where they can be read, nothing more.
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxErrorBody)).Decode(&answer); err == nil && len(answer.Errors) > 0 {
		e.Code, e.Message = answer.Errors[0].Code, answer.Errors[0].Message
	}
	return e
}

func retryAfter(resp *http.Response) time.Duration {
	text := resp.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(text); err == nil && seconds >= 0 {
		return min(time.Duration(seconds)*time.Second, longestQuiet)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(time.Until(at), 0), longestQuiet)
	}
	return 0
}

// retry tells whether time heals an error, and how long to wait before the next attempt.
func retry(err error, attempt int) (time.Duration, bool) {
	pause := min(firstWait<<min(attempt-1, 10), longestWait)
	pause = pause/2 + rand.N(pause/2)
	var refused *refusal
	if errors.As(err, &refused) {
		switch refused.Status {
		case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusRequestTimeout:
			return max(pause, refused.after), true
		}
		return 0, false
	}
	var certificate *tls.CertificateVerificationError
	var dns *net.DNSError
	if errors.As(err, &certificate) || errors.As(err, &dns) && dns.IsNotFound ||
		errors.Is(err, context.Canceled) || errors.Is(err, ErrDigest) || errors.Is(err, ErrNotFound) {
		return 0, false
	}
	var transport *url.Error
	return pause, errors.As(err, &transport) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errStalled)
}
