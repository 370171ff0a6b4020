package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	maxTokenAnswer = 1 << 20
	// tokenMargin is how long a token must still be good when a request begins.
	tokenMargin = 15 * time.Second
	// tokenDefault is what the token specification says of answers without expires_in.
	tokenDefault = 60 * time.Second
)

// challenge is what a registry wants to see (RFC 7235 WWW-Authenticate).
type challenge struct {
	scheme     string // lower case
	parameters map[string]string
}

// parseChallenge reads the first challenge of a header that this package can meet.
func parseChallenge(headers []string) (challenge, bool) {
	for _, header := range headers {
		scheme, rest, _ := strings.Cut(strings.TrimSpace(header), " ")
		c := challenge{scheme: strings.ToLower(scheme), parameters: map[string]string{}}
		if c.scheme != "bearer" && c.scheme != "basic" {
			continue
		}
		for rest != "" {
			key, value, found := strings.Cut(rest, "=")
			if !found {
				break
			}
			key = strings.ToLower(strings.Trim(key, " ,"))
			if strings.HasPrefix(value, `"`) {
				value, rest, _ = strings.Cut(value[1:], `"`)
			} else {
				value, rest, _ = strings.Cut(value, ",")
			}
			c.parameters[key] = value
		}
		return c, true
	}
	return challenge{}, false
}

// door remembers how one registry wants to be asked.
type door struct {
	mu        sync.Mutex
	plain     bool // speaks HTTP without TLS
	challenge *challenge
	tokens    map[string]token // by scopes
}

type token struct {
	value string
	until time.Time
}

// authorization is the header for a request with these scopes; empty before the registry's first challenge.
func (c *Client) authorization(ctx context.Context, d *door, repo Repository, scopes []string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.challenge == nil {
		return "", nil
	}
	credentials, err := c.keychain.Credentials(ctx, repo)
	if err != nil {
		return "", err
	}
	if d.challenge.scheme == "basic" {
		if credentials.Username == "" {
			return "", nil
		}
		probe := &http.Request{Header: http.Header{}}
		probe.SetBasicAuth(credentials.Username, credentials.Password)
		return probe.Header.Get("Authorization"), nil
	}
	key := strings.Join(scopes, " ") + " " + credentials.Username
	if known, ok := d.tokens[key]; ok && time.Until(known.until) > tokenMargin {
		return "Bearer " + known.value, nil
	}
	fresh, err := c.fetchToken(ctx, d.challenge.parameters, credentials, scopes)
	if err != nil {
		return "", fmt.Errorf("get token for %s: %w", repo, err)
	}
	d.tokens[key] = fresh
	return "Bearer " + fresh.value, nil
}

// refused takes a registry's 401 in: what it wants, and that the tokens so far are no good. It tells whether another try makes sense.
func (d *door) refused(resp *http.Response) bool {
	c, ok := parseChallenge(resp.Header.Values("WWW-Authenticate"))
	if !ok {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	again := c.scheme == "bearer" || d.challenge == nil
	d.challenge = &c
	d.tokens = map[string]token{}
	return again
}

func (c *Client) fetchToken(ctx context.Context, parameters map[string]string, credentials Credentials, scopes []string) (token, error) {
	realm, err := url.Parse(parameters["realm"])
	if err != nil || realm.Host == "" || realm.Scheme != "https" && realm.Scheme != "http" {
		return token{}, errors.New("the registry names no token service")
	}
	if realm.Scheme == "http" && !c.insecure {
		return token{}, fmt.Errorf("token service %s is without TLS; turn TLS verification off to use it", realm.Host)
	}
	query := url.Values{"service": {parameters["service"]}}
	for _, scope := range slices.Sorted(maps.Keys(scopeSet(scopes))) {
		query.Add("scope", scope)
	}
	var req *http.Request
	if credentials.IdentityToken != "" {
		query.Set("grant_type", "refresh_token")
		query.Set("refresh_token", credentials.IdentityToken)
		query.Set("client_id", "slipway")
		query.Set("scope", strings.Join(query["scope"], " "))
		req, err = http.NewRequestWithContext(ctx, http.MethodPost, realm.String(), strings.NewReader(query.Encode()))
		if err == nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
	} else {
		realm.RawQuery = query.Encode()
		req, err = http.NewRequestWithContext(ctx, http.MethodGet, realm.String(), nil)
		if err == nil && credentials.Username != "" {
			req.SetBasicAuth(credentials.Username, credentials.Password)
		}
	}
	if err != nil {
		return token{}, err
	}
	return c.askToken(req)
}

func (c *Client) askToken(req *http.Request) (token, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return token{}, withoutQuery(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return token{}, &StatusError{Method: req.Method, Path: req.URL.Host + req.URL.Path, Status: resp.StatusCode}
	}
	var answer struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxTokenAnswer)).Decode(&answer); err != nil {
		return token{}, errors.New("the token service's answer is no JSON")
	}
	if answer.Token == "" {
		answer.Token = answer.AccessToken
	}
	if answer.Token == "" {
		return token{}, errors.New("the token service's answer has no token")
	}
	life := tokenDefault
	if answer.ExpiresIn > 0 {
		life = time.Duration(min(answer.ExpiresIn, 86400)) * time.Second
	}
	return token{value: answer.Token, until: time.Now().Add(life)}, nil
}

func scopeSet(scopes []string) map[string]bool {
	set := map[string]bool{}
	for _, scope := range scopes {
		set[scope] = true
	}
	return set
}

// withoutQuery keeps tokens in URLs out of errors.
func withoutQuery(err error) error {
	var broken *url.Error
	if !errors.As(err, &broken) {
		return err
	}
	at, _, _ := strings.Cut(broken.URL, "?")
	return &url.Error{Op: broken.Op, URL: at, Err: broken.Err}
}
