package remote

import (
	"slices"
	"testing"
)

// As containers-auth.json(5) and docker have them.
func TestAuthPaths(t *testing.T) {
	for name, c := range map[string]struct {
		env  map[string]string
		want []string
	}{
		"session": {map[string]string{"HOME": "/home/ann", "XDG_RUNTIME_DIR": "/run/user/7"},
			[]string{"/run/user/7/containers/auth.json", "/home/ann/.config/containers/auth.json", "/home/ann/.docker/config.json"}},
		"root without a session": {map[string]string{"HOME": "/root"},
			[]string{"/run/containers/7/auth.json", "/root/.config/containers/auth.json", "/root/.docker/config.json"}},
		"all named": {map[string]string{"HOME": "/h", "REGISTRY_AUTH_FILE": "/a.json", "XDG_RUNTIME_DIR": "/r", "XDG_CONFIG_HOME": "/c", "DOCKER_CONFIG": "/d"},
			[]string{"/a.json", "/r/containers/auth.json", "/c/containers/auth.json", "/d/config.json"}},
		"nothing": {nil, []string{"/run/containers/7/auth.json"}},
	} {
		if got := AuthPaths(func(key string) string { return c.env[key] }, 7); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
