package ignition

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

type payloads map[string]string

func (p payloads) Payload(_ context.Context, token []byte, nodePool string) ([]byte, error) {
	switch {
	case string(token) == "broken":
		return nil, errors.New("store is down")
	case nodePool == "clusters/gone":
		return nil, ErrNotFound
	}
	content, ok := p[string(token)]
	if !ok {
		return nil, ErrForbidden
	}
	return []byte(content), nil
}

func TestHandler(t *testing.T) {
	bearer := func(token string) string { return "Bearer " + base64.StdEncoding.EncodeToString([]byte(token)) }
	for name, c := range map[string]struct {
		method, authorization, nodePool string
		status                          int
		body                            string
	}{
		"good":            {http.MethodGet, bearer("good"), "clusters/demo", 200, "{}"},
		"head":            {http.MethodHead, bearer("good"), "clusters/demo", 200, ""},
		"small letters":   {http.MethodGet, "bearer " + strings.TrimPrefix(bearer("good"), "Bearer "), "", 200, "{}"},
		"no header":       {http.MethodGet, "", "", 401, "missing"},
		"other scheme":    {http.MethodGet, "Basic abc", "", 401, "missing"},
		"not base64":      {http.MethodGet, "Bearer !!", "", 401, "base64"},
		"empty token":     {http.MethodGet, "Bearer ", "", 401, "base64"},
		"stale token":     {http.MethodGet, bearer("stale"), "clusters/demo", 403, "not valid"},
		"gone pool":       {http.MethodGet, bearer("good"), "clusters/gone", 404, "no such NodePool"},
		"store is broken": {http.MethodGet, bearer("broken"), "", 503, "not ready"},
		"post":            {http.MethodPost, bearer("good"), "", 405, "only GET"},
	} {
		t.Run(name, func(t *testing.T) {
			var logged bytes.Buffer
			handler := NewHandler(payloads{"good": "{}"}, slog.New(slog.NewTextHandler(&logged, nil)))
			r := httptest.NewRequest(c.method, "/ignition", nil)
			r.RemoteAddr = "[fe80::1%eth0]:99"
			r.Header.Set("Authorization", c.authorization)
			r.Header.Set("NodePool", c.nodePool)
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if w.Code != c.status || !strings.Contains(w.Body.String(), c.body) {
				t.Fatalf("got %d %s", w.Code, w.Body)
			}
			if w.Code >= 400 {
				var document struct{ Status int }
				if err := json.Unmarshal(w.Body.Bytes(), &document); err != nil || document.Status != c.status ||
					w.Header().Get("Content-Type") != "application/problem+json" {
					t.Errorf("not a problem document: %s", w.Body)
				}
			}
			for _, secret := range []string{"stale", bearer("stale"), bearer("good")[7:]} {
				if strings.Contains(logged.String(), secret) {
					t.Errorf("the token is in the log: %s", logged.String())
				}
			}
		})
	}
}

func TestHandlerLogsOnceAndSlowsGuessers(t *testing.T) {
	var logged bytes.Buffer
	handler := NewHandler(payloads{"good": "{}"}, slog.New(slog.NewTextHandler(&logged, nil)))
	ask := func(from, token string) int {
		r := httptest.NewRequest(http.MethodGet, "/ignition", nil)
		r.RemoteAddr = from
		r.Header.Set("Authorization", "Bearer "+base64.StdEncoding.EncodeToString([]byte(token)))
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Code
	}
	slowed := 0
	for range 200 {
		if ask("10.7.0.50:1000", "guess") == http.StatusTooManyRequests {
			slowed++
		}
	}
	if slowed < 150 {
		t.Errorf("only %d of 200 guesses were turned away", slowed)
	}
	if count := strings.Count(logged.String(), "ignition refused"); count != 1 {
		t.Errorf("logged %d times", count)
	}
	if code := ask("10.7.0.51:1000", "good"); code != 200 {
		t.Errorf("another host got %d", code)
	}
}
