package registry

import (
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestLogin(t *testing.T) {
	for _, public := range [][]string{{"*"}, {"release/*", "a"}, nil} {
		anonymous := public != nil
		s := newSite(t, "127.0.0.1", Access{Public: public, Users: []User{user(t, "reader", "secret", []string{"*"}, nil)}})
		if _, err := s.PutManifest("a", ociManifest, manifestOf(digestOf(sha256Name, nil)), "v1"); err != nil {
			t.Fatal(err)
		}
		byNobody := map[bool]int{true: http.StatusOK, false: http.StatusUnauthorized}[anonymous]
		challenge := s.want(t, http.StatusUnauthorized, "", http.MethodGet, "/v2/", "").Header.Get("WWW-Authenticate")
		realm := regexp.MustCompile(`^Bearer realm="https://[^/"]+(/[^"]+)"`).FindStringSubmatch(challenge)
		if realm == nil {
			t.Fatalf("challenge %q", challenge)
		}
		s.want(t, byNobody, "", http.MethodGet, "/v2/a/manifests/v1", "")
		s.want(t, byNobody, "", http.MethodGet, "/v2/_catalog", "")
		s.want(t, byNobody, "", http.MethodGet, realm[1], "") // an anonymous token, if that is of any use
		s.want(t, http.StatusOK, "reader", http.MethodGet, "/v2/", "")
		s.want(t, http.StatusOK, "reader", http.MethodGet, "/v2/a/manifests/v1", "")
		s.want(t, http.StatusForbidden, "reader", http.MethodPost, "/v2/a/blobs/uploads/", "")
		s.want(t, http.StatusUnauthorized, "", http.MethodPost, "/v2/a/blobs/uploads/", "")
		s.want(t, http.StatusUnauthorized, "nobody", http.MethodGet, "/v2/a/manifests/v1", "")
		s.want(t, http.StatusUnauthorized, "nobody", http.MethodGet, realm[1], "")
		s.want(t, http.StatusMethodNotAllowed, "reader", http.MethodPost, realm[1], "grant_type=password")
		s.want(t, http.StatusUnauthorized, "", http.MethodGet, "/v2/a/manifests/v1", "", "Authorization", "Bearer x")
		s.want(t, http.StatusUnauthorized, "", http.MethodGet, "/v2/a/manifests/v1", "", "Authorization", "Negotiate x")

		token := "Bearer " + s.token(t, "reader", realm[1])
		s.want(t, http.StatusOK, "", http.MethodGet, "/v2/a/manifests/v1", "", "Authorization", token)
		s.want(t, http.StatusForbidden, "", http.MethodPost, "/v2/a/blobs/uploads/", "", "Authorization", token)
		s.clock.Time = s.clock.Add(tokenLife + time.Second)
		s.want(t, http.StatusUnauthorized, "", http.MethodGet, "/v2/a/manifests/v1", "", "Authorization", token)
		token = "Bearer " + s.token(t, "reader", realm[1])
		s.Allow(Access{Public: public, Users: []User{user(t, "reader", "another", []string{"*"}, nil)}}) // the password changed
		s.want(t, http.StatusUnauthorized, "", http.MethodGet, "/v2/a/manifests/v1", "", "Authorization", token)
		s.want(t, http.StatusUnauthorized, "reader", http.MethodGet, "/v2/a/manifests/v1", "")
	}
}

func (s *site) token(t *testing.T, user, path string) string {
	t.Helper()
	var answer struct{ Token string }
	if err := json.Unmarshal([]byte(text(t, s.want(t, http.StatusOK, user, http.MethodGet, path, ""))), &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Token
}

// TestApachePasswords takes a line that `htpasswd -nbB ann secret` of Apache wrote.
func TestApachePasswords(t *testing.T) {
	users, err := ParseHtpasswd([]byte("ann:$2y$05$WE2HSGwcoghFe5Nc4fiEsOcNyKZEwqKTZOAL9I8CK4ncZON8k25Ue\n\n"))
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, "127.0.0.1", Access{Users: users})
	s.want(t, http.StatusOK, "ann", http.MethodGet, "/v2/", "")
	s.want(t, http.StatusOK, "ann", http.MethodGet, "/v2/", "") // remembered
}

func TestForgedTokens(t *testing.T) {
	s := newSite(t, "127.0.0.1", pushers(t))
	a := s.access.Load()
	token := s.writeToken(a, "pusher")
	if name, valid := s.readToken(a, token); !valid || name != "pusher" {
		t.Fatal("the token itself is not valid")
	}
	if name, valid := s.readToken(a, s.writeToken(a, "")); !valid || name != "" {
		t.Error("an anonymous token is not valid")
	}
	other := func(at int) string { // the token with another character there
		return token[:at] + map[bool]string{true: "B", false: "A"}[token[at] == 'A'] + token[at+1:]
	}
	for _, forged := range []string{"", "x", other(len(token) - 1), other(0), token + "AAAA", s.writeToken(a, "somebody")} {
		if _, valid := s.readToken(a, forged); valid {
			t.Errorf("%q is valid", forged)
		}
	}
}

func TestParseUsers(t *testing.T) {
	const hash = "$2y$05$WwXkCkbMkDnLpcCrM3Fuh.yNbz5DWEYTKXzS2gfy0xCFhO1hlIZ1m"
	users, err := ParseHtpasswd([]byte("# people\nann:" + hash + "\n\n  bob:" + hash + "\r\n"))
	if err != nil || len(users) != 2 || users[1].Name != "bob" || string(users[1].Hash) != hash {
		t.Fatalf("users %+v, %v", users, err)
	}
	if err := ParseRights([]byte("# who\nbob pull release/* tools\nbob push team/bob/*\n"), users); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		user       int
		repository string
		pull, push bool
	}{
		{0, "any/thing", true, true},
		{1, "release/etcd", true, false}, {1, "release", false, false}, {1, "tools", true, false}, {1, "tools/x", false, false},
		{1, "team/bob/x", true, true}, {1, "team/bobby/x", false, false}, {1, "other", false, false},
	} {
		who := caller{User: users[c.user]}
		if who.pulls(c.repository) != c.pull || who.pushes(c.repository) != c.push {
			t.Errorf("%s in %s: pull %t push %t", who.Name, c.repository, who.pulls(c.repository), who.pushes(c.repository))
		}
	}
	for _, bad := range []string{"ann", "ann:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "ann:$apr1$x$y", ":" + hash, "ann:" + hash + "\nann:" + hash} {
		if _, err := ParseHtpasswd([]byte(bad)); !errors.Is(err, ErrInvalid) || strings.Contains(err.Error(), "$apr1") {
			t.Errorf("htpasswd %q: %v, want ErrInvalid without the hash", bad, err)
		}
	}
	for _, bad := range []string{"eve pull *", "ann pull", "ann delete *", "ann push Team/*", "ann push team*", "ann pull ../x"} {
		if err := ParseRights([]byte(bad), users); !errors.Is(err, ErrInvalid) {
			t.Errorf("rights %q: %v, want ErrInvalid", bad, err)
		}
	}
}
