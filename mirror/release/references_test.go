package release

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

const goodDigest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func streamOf(tags ...string) string {
	return fmt.Sprintf(`{"kind":"ImageStream","apiVersion":"image.openshift.io/v1","spec":{"tags":[%s]}}`, strings.Join(tags, ","))
}

func tagOf(name, kind, from string) string {
	return fmt.Sprintf(`{"name":%q,"from":{"kind":%q,"name":%q}}`, name, kind, from)
}

func TestParseReferences(t *testing.T) {
	image := "registry.slipway.io/release/etcd@" + goodDigest
	got, err := parseReferences([]byte(streamOf(tagOf("etcd", "DockerImage", image))))
	if err != nil || got["etcd"] != image {
		t.Errorf("got %v, %v", got, err)
	}
	for name, raw := range map[string]string{
		"no JSON":         "ImageStream",
		"other kind":      `{"kind":"List"}`,
		"no components":   streamOf(),
		"bad name":        streamOf(tagOf("../etcd", "DockerImage", image)),
		"twice":           streamOf(tagOf("etcd", "DockerImage", image), tagOf("etcd", "DockerImage", image)),
		"other from":      streamOf(tagOf("etcd", "ImageStreamTag", image)),
		"by tag":          streamOf(tagOf("etcd", "DockerImage", "registry.slipway.io/release/etcd:1")),
		"without a host":  streamOf(tagOf("etcd", "DockerImage", "etcd@"+goodDigest)),
		"short digest":    streamOf(tagOf("etcd", "DockerImage", "registry.slipway.io/release/etcd@sha256:aa")),
		"other algorithm": streamOf(tagOf("etcd", "DockerImage", "registry.slipway.io/release/etcd@sha512:"+strings.Repeat("a", 128))),
	} {
		if _, err := parseReferences([]byte(raw)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
}

func TestParseMetadata(t *testing.T) {
	if got, err := parseMetadata([]byte(`{"kind":"cincinnati-metadata-v0","version":"1.36.3-rc.1","previous":[]}`)); err != nil || got != "1.36.3-rc.1" {
		t.Errorf("got %q, %v", got, err)
	}
	for _, raw := range []string{``, `{}`, `{"kind":"cincinnati-metadata-v0","version":"../1"}`, `{"kind":"cincinnati-metadata-v0"}`} {
		if _, err := parseMetadata([]byte(raw)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", raw, err)
		}
	}
}

func FuzzParseReferences(f *testing.F) {
	f.Add([]byte(streamOf(tagOf("etcd", "DockerImage", "registry.slipway.io/release/etcd@"+goodDigest))))
	f.Add([]byte(streamOf(tagOf("x", "", ""))))
	f.Fuzz(func(t *testing.T, raw []byte) {
		components, err := parseReferences(raw)
		if err != nil {
			return
		}
		for name, ref := range components {
			image, err := parseDigest(ref)
			if err != nil || !componentName.MatchString(name) {
				t.Errorf("component %q as %q: %v", name, ref, err)
			}
			if _, err := local(image.String()); err != nil {
				t.Errorf("component %q as %q is not reachable: %v", name, ref, err)
			}
		}
	})
}
