package remote

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestReferences(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	for text, want := range map[string]string{
		"busybox":                             "docker.io/library/busybox:latest",
		"a/b:v1":                              "docker.io/a/b:v1",
		"localhost/a":                         "localhost/a:latest",
		"quay.io/a/b:v1@" + digest:            "quay.io/a/b:v1@" + digest,
		"[fd07::2]:5000/a/b":                  "[fd07::2]:5000/a/b:latest",
		"docker://reg.local:5000/a@" + digest: "reg.local:5000/a@" + digest,
	} {
		got, err := ParseReference(text)
		if err != nil || got.String() != want {
			t.Errorf("%s: %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "UPPER/x", "a/b:", "a@sha256:1", "quay.io/", "quay.io/../b", "http://x/y", "a/b:c:d", "[::1/a"} {
		if got, err := ParseReference(text); !errors.Is(err, ErrReference) {
			t.Errorf("%q: %+v, %v; want ErrReference", text, got, err)
		}
	}
	if host, namespace, err := ParseTarget("[::1]:5000/mirror/one"); err != nil || host != "[::1]:5000" || namespace != "mirror/one" {
		t.Errorf("target: %s %s %v", host, namespace, err)
	}
}

func TestMirrors(t *testing.T) {
	m, err := ReadMirrors([]byte(`
unqualified-search-registries = ["docker.io"]
[[registry]]
location = "quay.io"
[[registry.mirror]]
location = "reg.local:5000/quay"
[[registry]]
prefix = "quay.io/team"
location = "elsewhere.io/team"
[[registry.mirror]]
location = "reg.local:5000/team"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "[fd07::2]:5000/team"
pull-from-mirror = "tag-only"
[[registry]]
prefix = "*.example.com"
blocked = true
[[registry.mirror]]
location = "reg.local:5000/example"
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		repo     string
		byDigest bool
		want     string
	}{
		{"quay.io/other/app", false, "reg.local:5000/quay/other/app quay.io/other/app"},
		{"quay.io/team/app", true, "reg.local:5000/team/app elsewhere.io/team/app"},
		{"quay.io/team/app", false, "[fd07::2]:5000/team/app elsewhere.io/team/app"},
		{"quay.io/teams/app", false, "reg.local:5000/quay/teams/app quay.io/teams/app"},
		{"a.example.com/x", false, "reg.local:5000/example/x"},
		{"example.com/x", false, "example.com/x"},
	} {
		var got []string
		for _, place := range m.Places(split(c.repo), c.byDigest) {
			got = append(got, place.String())
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s by digest %v: %v, want %s", c.repo, c.byDigest, got, c.want)
		}
	}
	for _, text := range []string{"[[registry]]\n", "[[registry]]\nlocation = 'a'\ninsecure = true\n", "[[registry]]\nlocation = 'a'\n[[registry.mirror]]\npull-from-mirror = 'never'\n", "registry = 1"} {
		if _, err := ReadMirrors([]byte(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestSourceBehindAMirror(t *testing.T) {
	f := serve(t, plain)
	push := client(t, Config{})
	data, blob := random(t, 1000)
	if err := push.Upload(t.Context(), Upload{Repository: Repository{Host: f.host, Path: "quay/a/b"}, Blob: blob, Source: from(data)}); err != nil {
		t.Fatal(err)
	}
	m, err := ReadMirrors([]byte("[[registry]]\nlocation = 'nowhere.invalid'\nblocked = true\n[[registry.mirror]]\nlocation = '" + f.host + "/none'\n[[registry.mirror]]\nlocation = '" + f.host + "/quay'\n"))
	if err != nil {
		t.Fatal(err)
	}
	c := client(t, Config{Mirrors: m})
	body, err := c.Open(t.Context(), Repository{Host: "nowhere.invalid", Path: "a/b"}, blob, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func FuzzMirrors(f *testing.F) {
	f.Add("[[registry]]\nlocation = 'quay.io'\n[[registry.mirror]]\nlocation = 'reg.local:5000/quay'\n", "quay.io/a/b")
	f.Fuzz(func(_ *testing.T, text, name string) {
		if m, err := ReadMirrors([]byte(text)); err == nil {
			m.Places(split(name), true)
			m.Places(split(name), false)
		}
	})
}

func FuzzReference(f *testing.F) {
	f.Add("quay.io/a/b:v1")
	f.Add("[::1]:5000/a@sha256:" + strings.Repeat("0", 64))
	f.Fuzz(func(t *testing.T, text string) {
		ref, err := ParseReference(text)
		if err != nil {
			return
		}
		again, err := ParseReference(ref.String())
		if err != nil || again != ref {
			t.Fatalf("%q reads as %+v, written as %s reads as %+v, %v", text, ref, ref, again, err)
		}
	})
}

func FuzzChallenge(f *testing.F) {
	f.Add(`Bearer realm="https://auth/token",service="reg",scope="repository:a:pull,push"`)
	f.Add(`Basic realm=x`)
	f.Fuzz(func(_ *testing.T, header string) { parseChallenge([]string{header}) })
}
