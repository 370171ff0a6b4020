package redfish

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/slipway-io/slipway/services/bmc"
)

const (
	// atOnce is how many requests a BMC gets at a time; they are small computers.
	atOnce = 2
	// maxBody bounds what is read of one answer: attribute registries have a few MiB.
	maxBody = 16 << 20
	// requestTimeout bounds one request with its body; slow BMCs take tens of seconds.
	requestTimeout = 60 * time.Second
)

// link is the one way to a BMC, for gofish too: it bounds requests, bodies and time, keeps to one host, brings the
// session's token and says what went wrong as a bmc.Fault.
type link struct {
	scheme, host string
	transport    atomic.Pointer[http.Transport]
	slots        chan struct{}
	session      session
	asked        func(method, result string, took time.Duration)
}

func newLink(config bmc.Config) *link {
	scheme := "https"
	if config.Address.HTTP {
		scheme = "http"
	}
	l := &link{scheme: scheme, host: config.Address.HostPort(), slots: make(chan struct{}, atOnce), asked: config.Asked}
	if l.asked == nil {
		l.asked = func(string, string, time.Duration) {}
	}
	l.transport.Store(newTransport(config.TLS))
	l.session = session{credentials: config.Credentials}
	return l
}

// newTransport never shares a transport or a TLS configuration: gofish's own client would change the process's (bmc.md §2.1).
func newTransport(trust *tls.Config) *http.Transport {
	trust = trust.Clone()
	if trust == nil {
		trust = &tls.Config{}
	}
	trust.MinVersion = max(trust.MinVersion, tls.VersionTLS12)
	trust.ClientSessionCache = tls.NewLRUClientSessionCache(2)
	return &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 15 * time.Second}).DialContext,
		TLSClientConfig:       trust,
		TLSHandshakeTimeout:   20 * time.Second,
		ResponseHeaderTimeout: requestTimeout,
		MaxConnsPerHost:       atOnce,
		MaxIdleConnsPerHost:   atOnce,
		// Not over the next power poll: sessions are kept, connections and their memory are not.
		IdleConnTimeout:        15 * time.Second,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
		ReadBufferSize:         4 << 10,
		WriteBufferSize:        4 << 10,
	}
}

// client keeps to the BMC's own host: X-Auth-Token is no header that net/http would take off on the way to another.
func (l *link) client() *http.Client {
	return &http.Client{Transport: l, Timeout: requestTimeout, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if len(via) > 3 {
			return &bmc.Fault{Kind: bmc.Protocol, Err: errors.New("the BMC redirects in a circle")}
		}
		return l.mine(req)
	}}
}

func (l *link) mine(req *http.Request) error {
	if req.URL.Host != l.host || req.URL.Scheme != l.scheme || req.URL.User != nil {
		return &bmc.Fault{Kind: bmc.Protocol, Err: fmt.Errorf("the BMC points to another host, %s: not followed", req.URL.Host)}
	}
	return nil
}

// RoundTrip has the whole body read when it returns.
func (l *link) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := l.mine(req); err != nil {
		return nil, err
	}
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	case <-req.Context().Done():
		return nil, &bmc.Fault{Kind: bmc.Unreachable, Err: fmt.Errorf("wait for the BMC's other answers: %w", req.Context().Err())}
	}
	token, err := l.session.authorization(req)
	if err != nil {
		return nil, err
	}
	response, err := l.exchange(req, token, "identity")
	if err != nil {
		return nil, err
	}
	switch {
	case response.StatusCode == http.StatusNotAcceptable:
		// HPE Gen10+ has its registries compressed only and says 406 otherwise (sushy connector).
		return l.again(req, token, "")
	case response.StatusCode == http.StatusUnauthorized && token != nil:
		token, err = l.session.renew(req.Context(), l, token)
		if err != nil {
			return nil, err
		}
		return l.again(req, token, "identity")
	}
	return response, nil
}

func (l *link) again(req *http.Request, auth *authorization, encoding string) (*http.Response, error) {
	again := req.Clone(req.Context())
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return nil, fmt.Errorf("repeat request: %w", err)
		}
		again.Body = body
	}
	return l.exchange(again, auth, encoding)
}

// exchange is one request, whoever wants it.
func (l *link) exchange(req *http.Request, auth *authorization, encoding string) (*http.Response, error) {
	began := time.Now()
	response, err := l.send(req, auth, encoding)
	result := string(bmc.Kind(err))
	if err == nil {
		result = strconv.Itoa(response.StatusCode/100) + "xx"
	}
	l.asked(req.Method, result, time.Since(began))
	return response, err
}

func (l *link) send(req *http.Request, auth *authorization, encoding string) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Del("Connection")
	req.Close = false
	// Compression makes entity tags weak (sushy connector).
	req.Header.Del("Accept-Encoding")
	if encoding != "" {
		req.Header.Set("Accept-Encoding", encoding)
	}
	req.Header.Set("OData-Version", "4.0")
	auth.apply(req)
	response, err := l.transport.Load().RoundTrip(req)
	if err != nil {
		return nil, classify(err)
	}
	defer response.Body.Close()
	body, err := readBody(response)
	if err != nil {
		return nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	response.ContentLength = int64(len(body))
	return response, nil
}

func readBody(response *http.Response) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody+1))
	switch {
	case err != nil && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)):
		return nil, classify(err)
	case err != nil:
		return nil, &bmc.Fault{Kind: bmc.Protocol, Err: fmt.Errorf("the BMC's answer is cut after %d bytes: %w", len(body), err)}
	case len(body) > maxBody:
		return nil, &bmc.Fault{Kind: bmc.Protocol, Err: fmt.Errorf("the BMC's answer has more than %d bytes", maxBody)}
	}
	return body, nil
}
