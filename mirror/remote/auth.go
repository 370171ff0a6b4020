package remote

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Credentials for a registry; the zero value is nobody's.
type Credentials struct {
	Username, Password string
	// IdentityToken is an OAuth2 refresh token, in place of a password.
	IdentityToken string
	// From is the file or helper that has them; where nothing has, the files that were looked into.
	From string
}

// AuthFiles are files with credentials, in the format that podman, skopeo and docker share. The first that knows a repository decides.
type AuthFiles struct {
	paths []string
	files []authFile
}

type authFile struct {
	path        string
	Auths       map[string]authEntry `json:"auths"`
	CredHelpers map[string]string    `json:"credHelpers"`
	CredsStore  string               `json:"credsStore"`
}

type authEntry struct {
	Auth          string `json:"auth"`
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
}

// AuthPaths lists where podman and docker keep the credentials of a user. getenv is os.Getenv.
func AuthPaths(getenv func(string) string, uid int) []string {
	var paths []string
	if file := getenv("REGISTRY_AUTH_FILE"); file != "" {
		paths = append(paths, file)
	}
	if dir := getenv("XDG_RUNTIME_DIR"); dir != "" {
		paths = append(paths, filepath.Join(dir, "containers", "auth.json"))
	} else {
		// Root's podman login writes here, where no session has made a directory for it.
		paths = append(paths, filepath.Join("/run/containers", strconv.Itoa(uid), "auth.json"))
	}
	home := getenv("HOME")
	if dir := getenv("XDG_CONFIG_HOME"); dir != "" {
		paths = append(paths, filepath.Join(dir, "containers", "auth.json"))
	} else if home != "" {
		paths = append(paths, filepath.Join(home, ".config", "containers", "auth.json"))
	}
	if dir := getenv("DOCKER_CONFIG"); dir != "" {
		paths = append(paths, filepath.Join(dir, "config.json"))
	} else if home != "" {
		paths = append(paths, filepath.Join(home, ".docker", "config.json"))
	}
	return paths
}

// OpenAuth reads the files that exist. One that is there must be readable.
func OpenAuth(paths []string) (*AuthFiles, error) {
	a := &AuthFiles{paths: paths}
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read credentials: %w", err)
		}
		var file authFile
		if err := json.Unmarshal(raw, &file); err != nil {
			return nil, fmt.Errorf("read credentials %s: not JSON as podman login writes it", path) // the cause might quote a secret
		}
		file.path = path
		a.files = append(a.files, file)
	}
	return a, nil
}

// Credentials looks a repository up: the longest key that is the host or a path below it wins.
func (a *AuthFiles) Credentials(ctx context.Context, repo Repository) (Credentials, error) {
	if a == nil {
		return Credentials{}, nil
	}
	for _, file := range a.files {
		for key := repo.String(); key != "" && key != "."; key = parent(key) {
			if entry, ok := file.entry(key); ok {
				found, err := entry.credentials(key)
				found.From = file.path
				return found, err
			}
		}
		helper := file.CredHelpers[repo.Host]
		if helper == "" {
			helper = file.CredsStore
		}
		if helper == "" {
			continue
		}
		if found, ok, err := askHelper(ctx, helper, repo.Host); err != nil || ok {
			found.From = "docker-credential-" + helper
			return found, err
		}
	}
	return Credentials{From: strings.Join(a.paths, ", ")}, nil
}

func parent(key string) string {
	at := strings.LastIndex(key, "/")
	if at < 0 {
		return ""
	}
	return key[:at]
}

func (f authFile) entry(key string) (authEntry, bool) {
	names := []string{key, "https://" + key, "http://" + key}
	if key == dockerHub {
		names = append(names, "https://index.docker.io/v1/", "index.docker.io")
	}
	for _, name := range names {
		if entry, ok := f.Auths[name]; ok && entry != (authEntry{}) {
			return entry, true
		}
	}
	return authEntry{}, false
}

func (e authEntry) credentials(key string) (Credentials, error) {
	c := Credentials{Username: e.Username, Password: e.Password, IdentityToken: e.IdentityToken}
	if e.Auth == "" {
		return c, nil
	}
	raw, err := base64.StdEncoding.DecodeString(e.Auth)
	if err != nil {
		return Credentials{}, fmt.Errorf("read credentials for %s: auth is not base64", key)
	}
	user, password, found := strings.Cut(strings.TrimRight(string(raw), "\x00"), ":")
	if !found {
		return Credentials{}, fmt.Errorf("read credentials for %s: auth is not user:password", key)
	}
	c.Username, c.Password = user, password
	return c, nil
}

// askHelper runs docker-credential-NAME get, whose protocol is the host in and JSON out.
func askHelper(ctx context.Context, name, host string) (Credentials, bool, error) {
	if strings.ContainsAny(name, "/\\") {
		return Credentials{}, false, fmt.Errorf("read credentials for %s: helper %q is no name", host, name)
	}
	server := host
	if host == dockerHub {
		server = "https://index.docker.io/v1/"
	}
	cmd := exec.CommandContext(ctx, "docker-credential-"+name, "get")
	cmd.Stdin = strings.NewReader(server)
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		if strings.Contains(out.String(), "credentials not found") {
			return Credentials{}, false, nil
		}
		return Credentials{}, false, fmt.Errorf("ask credential helper %s about %s: %w", name, host, err)
	}
	var answer struct{ Username, Secret string }
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil {
		return Credentials{}, false, fmt.Errorf("ask credential helper %s about %s: its answer is no JSON", name, host)
	}
	if answer.Username == "<token>" {
		return Credentials{IdentityToken: answer.Secret}, true, nil
	}
	return Credentials{Username: answer.Username, Password: answer.Secret}, true, nil
}
