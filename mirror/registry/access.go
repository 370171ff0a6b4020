package registry

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

const (
	tokenLife = 30 * time.Minute
	maxChecks = 2 // of passwords at once: each keeps a core busy for a tenth of a second
	maxProven = 1024
)

// User may log in. Pull and Push hold repositories: "*" is all, "team/*" all below team, "*/app" every app below others; who may push may pull.
type User struct {
	Name       string
	Hash       []byte // bcrypt
	Pull, Push []string
}

// Access is who may do what.
type Access struct {
	Anonymous bool     // everybody may pull everything
	Public    []string // what everybody may pull in any case, written as a user's rights
	Users     []User
}

// access is Access made ready, with the passwords that were proven.
type access struct {
	public  []string
	users   map[string]User
	unknown []byte // a hash for names that there are not, so that they take as long
	mu      sync.Mutex
	proven  map[[sha256.Size]byte]struct{}
}

// Allow replaces who may do what; requests that run go on.
func (r *Registry) Allow(a Access) {
	users := make(map[string]User, len(a.Users))
	for _, u := range a.Users {
		users[u.Name] = u
	}
	ready := &access{public: a.Public, users: users, proven: map[[sha256.Size]byte]struct{}{}}
	if a.Anonymous {
		ready.public = []string{"*"}
	}
	if len(a.Users) > 0 {
		ready.unknown = a.Users[0].Hash
	}
	r.access.Store(ready)
}

// ParseHtpasswd reads lines "name:bcrypt hash" of users who may pull and push everything. Other hashes are refused: they are weak.
func ParseHtpasswd(raw []byte) ([]User, error) {
	var users []User
	for n, line := range bytes.Split(raw, []byte("\n")) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		name, hash, found := bytes.Cut(line, []byte(":"))
		if _, err := bcrypt.Cost(hash); !found || len(name) == 0 || err != nil {
			return nil, fmt.Errorf("htpasswd line %d: want name:hash with a bcrypt hash, as `htpasswd -B` writes it: %w", n+1, ErrInvalid)
		}
		if slices.ContainsFunc(users, func(u User) bool { return u.Name == string(name) }) {
			return nil, fmt.Errorf("htpasswd line %d: user %q is there twice: %w", n+1, name, ErrInvalid)
		}
		users = append(users, User{Name: string(name), Hash: hash, Pull: []string{"*"}, Push: []string{"*"}})
	}
	return users, nil
}

// ParseRights reads lines "name pull|push repository…" and gives the users that they name these rights and no others.
func ParseRights(raw []byte, users []User) error {
	named := map[string]bool{}
	for n, line := range strings.Split(string(raw), "\n") {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		at := slices.IndexFunc(users, func(u User) bool { return u.Name == fields[0] })
		if at < 0 {
			return fmt.Errorf("rights line %d: user %q is not in htpasswd: %w", n+1, fields[0], ErrInvalid)
		}
		if len(fields) < 3 || (fields[1] != "pull" && fields[1] != "push") {
			return fmt.Errorf("rights line %d: want `name pull repository…` or `name push repository…`: %w", n+1, ErrInvalid)
		}
		for _, pattern := range fields[2:] {
			if pattern != "*" && checkRepository(strings.TrimSuffix(pattern, "/*")) != nil {
				return fmt.Errorf("rights line %d: %q is no repository, and not of the form team/* or *: %w", n+1, pattern, ErrInvalid)
			}
		}
		u := &users[at]
		if !named[u.Name] {
			named[u.Name], u.Pull, u.Push = true, nil, nil
		}
		if fields[1] == "pull" {
			u.Pull = append(u.Pull, fields[2:]...)
		} else {
			u.Push = append(u.Push, fields[2:]...)
		}
	}
	return nil
}

// caller is who asks. One without a name is anonymous.
type caller struct {
	User
	public []string
}

func (c caller) pulls(repository string) bool {
	return matches(c.public, repository) || matches(c.Pull, repository) || matches(c.Push, repository)
}

func (c caller) pushes(repository string) bool { return matches(c.Push, repository) }

func matches(patterns []string, repository string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		below, tree := strings.CutSuffix(pattern, "*")
		end, anywhere := strings.CutPrefix(pattern, "*")
		return pattern == repository || tree && strings.HasPrefix(repository, below) || anywhere && end != "" && strings.HasSuffix(repository, end)
	})
}

// identify finds out who sends a request. Credentials that are wrong are not taken for none.
func (r *Registry) identify(req *http.Request) (caller, bool) {
	a := r.access.Load()
	anonymous := caller{public: a.public}
	header := req.Header.Get("Authorization")
	if header == "" {
		return anonymous, true
	}
	if token, found := strings.CutPrefix(header, "Bearer "); found {
		name, valid := r.readToken(a, token)
		if !valid {
			return caller{}, false
		}
		return caller{User: a.users[name], public: a.public}, true
	}
	name, password, found := req.BasicAuth()
	if !found {
		return caller{}, false
	}
	if name == "" && password == "" {
		return anonymous, true
	}
	if !r.proves(a, name, password) {
		return caller{}, false
	}
	return caller{User: a.users[name], public: a.public}, true
}

// proves checks a password. One that was right is remembered, because checking is slow on purpose.
func (r *Registry) proves(a *access, name, password string) bool {
	user, known := a.users[name]
	hash := user.Hash
	if !known {
		hash = a.unknown
	}
	mac := hmac.New(sha256.New, r.key)
	fmt.Fprintf(mac, "password\x00%q\x00%q\x00%q", name, password, hash)
	proof := [sha256.Size]byte(mac.Sum(nil))
	a.mu.Lock()
	_, proven := a.proven[proof]
	a.mu.Unlock()
	if proven {
		return known
	}
	r.checks <- struct{}{}
	err := bcrypt.CompareHashAndPassword(hash, []byte(password))
	<-r.checks
	if err != nil || !known {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.proven) >= maxProven {
		clear(a.proven)
	}
	a.proven[proof] = struct{}{}
	return true
}

// writeToken lets the named user in until it expires, or the password changes, or this process ends.
func (r *Registry) writeToken(a *access, name string) string {
	body := strconv.FormatInt(r.now().Add(tokenLife).Unix(), 10) + ":" + name
	return base64.RawURLEncoding.EncodeToString(append(r.sign(a, name, body), body...))
}

func (r *Registry) readToken(a *access, token string) (name string, valid bool) {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) < sha256.Size {
		return "", false
	}
	body := string(raw[sha256.Size:])
	expires, name, found := strings.Cut(body, ":")
	at, err := strconv.ParseInt(expires, 10, 64)
	if err != nil || !found || !hmac.Equal(raw[:sha256.Size], r.sign(a, name, body)) {
		return "", false
	}
	_, known := a.users[name]
	return name, (known || name == "") && r.now().Unix() < at
}

func (r *Registry) sign(a *access, name, body string) []byte {
	mac := hmac.New(sha256.New, r.key)
	fmt.Fprintf(mac, "token\x00%q\x00%q", body, a.users[name].Hash)
	return mac.Sum(nil)
}
