package redfish

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/slipway-io/slipway/services/bmc"
)

// authorization is what one request carries: a session's token or the account itself.
type authorization struct {
	token string
	basic *bmc.Credentials
}

func (a *authorization) apply(req *http.Request) {
	switch {
	case a == nil:
	case a.basic != nil:
		req.SetBasicAuth(a.basic.Username, a.basic.Password)
	default:
		req.Header.Set("X-Auth-Token", a.token)
	}
}

// session of the account: one, renewed when the BMC forgot it, deleted at the end.
type session struct {
	credentials bmc.Credentials

	mu sync.Mutex
	// collection is where sessions are made, empty where there are none and every request carries the account.
	collection string
	uri        string
	current    *authorization
	closed     bool
	refused    error
}

func (s *session) authorization(req *http.Request) (*authorization, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed && req.Method != http.MethodDelete {
		return nil, errors.New("the connection to the BMC is closed")
	}
	if s.refused != nil {
		return nil, s.refused
	}
	return s.current, nil
}

// open logs in: a session first, else the account with every request where the BMC has no sessions. A wrong password is
// tried in no second way.
func (s *session) open(ctx context.Context, l *link, collection string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.collection = collection
	return s.login(ctx, l)
}

// basic is the account with every request.
func (s *session) basic() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current != nil && s.current.basic != nil
}

// renew after a 401: by the first request that saw it, for all that carried the same token.
func (s *session) renew(ctx context.Context, l *link, seen *authorization) (*authorization, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.refused != nil:
		return nil, s.refused
	case s.closed:
		return nil, errors.New("the connection to the BMC is closed")
	case s.current != seen:
		return s.current, nil
	case seen.basic != nil:
		s.refused = refusedFault("the BMC refuses user name and password")
		return nil, s.refused
	}
	if err := s.login(ctx, l); err != nil {
		if bmc.Kind(err) == bmc.Refused {
			s.refused = err
		}
		return nil, err
	}
	return s.current, nil
}

func (s *session) login(ctx context.Context, l *link) error {
	if s.collection == "" {
		s.current = &authorization{basic: &s.credentials}
		return nil
	}
	body, err := json.Marshal(map[string]string{"UserName": s.credentials.Username, "Password": s.credentials.Password})
	if err != nil {
		return fmt.Errorf("write login: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.scheme+"://"+l.host+s.collection, bytes.NewReader(body))
	if err != nil {
		return &bmc.Fault{Kind: bmc.Protocol, Err: errors.New("the BMC's path for sessions is none")}
	}
	if err := l.mine(req); err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	response, err := l.exchange(req, nil, "identity")
	if err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	return s.take(&reply{status: response.StatusCode, header: response.Header, body: text})
}

func (s *session) take(answer *reply) error {
	token := answer.header.Get("X-Auth-Token")
	switch status := answer.status; {
	case status/100 == 2 && token != "":
		s.current, s.uri = &authorization{token: token}, localPath(answer.header.Get("Location"))
		if s.uri == "" {
			var made struct {
				ID string `json:"@odata.id"`
			}
			_ = json.Unmarshal(answer.body, &made) // a session without an address ends by itself
			s.uri = localPath(made.ID)
		}
		return nil
	case answer.says("SessionLimitExceeded"):
		return &bmc.Fault{Kind: bmc.SessionLimit, Err: errors.New("log in: the BMC's table of sessions is full: end some in its web page, or wait for them to end")}
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return refusedFault("log in: the BMC refuses user name and password (%d)", status)
	case status == http.StatusNotFound || status == http.StatusMethodNotAllowed || status == http.StatusNotImplemented:
		s.collection = ""
		s.current = &authorization{basic: &s.credentials}
		return nil
	default:
		return answer.fault("log in")
	}
}

func refusedFault(format string, args ...any) error {
	return &bmc.Fault{Kind: bmc.Refused, Err: fmt.Errorf(format, args...)}
}

// farewells is how often a busy BMC is told that a session is over.
const farewells = 3

// close deletes the session: BMCs have few places for them.
func (s *session) close(ctx context.Context, l *link, wait func(context.Context, time.Duration) error) error {
	s.mu.Lock()
	uri, current := s.uri, s.current
	done := s.closed || s.refused != nil
	s.closed = true
	s.mu.Unlock()
	defer l.transport.Load().CloseIdleConnections()
	if done || uri == "" || current == nil || current.basic != nil {
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, l.scheme+"://"+l.host+uri, nil)
	if err != nil {
		return fmt.Errorf("log out: %w", err)
	}
	if err := l.mine(req); err != nil {
		return err
	}
	for try := 1; ; try++ {
		response, err := l.exchange(req, current, "identity")
		if err != nil {
			return fmt.Errorf("log out: %w", err)
		}
		if response.StatusCode < 500 {
			return nil
		}
		if try == farewells {
			return (&reply{status: response.StatusCode, header: response.Header}).fault("log out")
		}
		if err := wait(ctx, time.Second); err != nil {
			return fmt.Errorf("log out: %w", err)
		}
	}
}

// localPath takes the path out of what a BMC gives as an address; another host's is the caller's to refuse.
func localPath(address string) string {
	u, err := url.Parse(address)
	if err != nil || !strings.HasPrefix(u.Path, "/") {
		return ""
	}
	return u.EscapedPath()
}
