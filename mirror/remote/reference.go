// Package remote moves manifests and blobs from and to registries: authentication, back-off, and resumption in both directions.
package remote

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// ErrReference says that a reference can't be read.
var ErrReference = errors.New("invalid image reference")

const (
	dockerHub    = "docker.io"
	dockerHubAPI = "registry-1.docker.io"
	maxReference = 1024
)

var (
	hostPattern   = regexp.MustCompile(`^([a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?$`)
	pathPattern   = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagPattern    = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	digestPattern = regexp.MustCompile(`^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$`)
)

// Repository is a repository of a registry: host with an optional port, and path.
type Repository struct {
	Host, Path string
}

// String is host/path.
func (r Repository) String() string { return r.Host + "/" + r.Path }

// Reference names an image: by tag, by digest, or by both, and then the digest decides.
type Reference struct {
	Repository
	Tag, Digest string
}

// String is the reference as people write it.
func (r Reference) String() string {
	s := r.Repository.String()
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest
	}
	return s
}

// Identifier is what to ask the registry for.
func (r Reference) Identifier() string {
	if r.Digest != "" {
		return r.Digest
	}
	return r.Tag
}

// ParseReference reads [host/]path[:tag][@digest]; docker.io is the host where there is none, and latest the tag where there is neither.
func ParseReference(text string) (Reference, error) {
	rest, scheme := strings.CutPrefix(text, "docker://")
	if scheme && strings.Contains(rest, "://") || len(text) > maxReference {
		return Reference{}, fmt.Errorf("%w: %.80q", ErrReference, text)
	}
	var ref Reference
	rest, digest, found := strings.Cut(rest, "@")
	if found {
		if !digestPattern.MatchString(digest) {
			return Reference{}, fmt.Errorf("%w: %q: %q is no digest", ErrReference, text, digest)
		}
		ref.Digest = digest
	}
	host, path, found := strings.Cut(rest, "/")
	if !found || !strings.ContainsAny(host, ".:[") && host != "localhost" {
		host, path = dockerHub, rest
	}
	if at := strings.LastIndex(path, ":"); at >= 0 {
		path, ref.Tag = path[:at], path[at+1:]
		if !tagPattern.MatchString(ref.Tag) {
			return Reference{}, fmt.Errorf("%w: %q: %q is no tag", ErrReference, text, ref.Tag)
		}
	}
	if ref.Tag == "" && ref.Digest == "" {
		ref.Tag = "latest"
	}
	if host == dockerHub && !strings.Contains(path, "/") {
		path = "library/" + path
	}
	if !hostPattern.MatchString(host) || !pathPattern.MatchString(path) || len(path) > 255 {
		return Reference{}, fmt.Errorf("%w: %q: want host/repository:tag or host/repository@sha256:…", ErrReference, text)
	}
	ref.Repository = Repository{Host: host, Path: path}
	return ref, nil
}

// ParseTarget reads host[/namespace], as it follows docker:// on the command line.
func ParseTarget(text string) (host, namespace string, err error) {
	host, namespace, _ = strings.Cut(strings.TrimSuffix(text, "/"), "/")
	if !hostPattern.MatchString(host) || namespace != "" && !pathPattern.MatchString(namespace) {
		return "", "", fmt.Errorf("%w: target %q: want host[:port][/namespace]", ErrReference, text)
	}
	return host, namespace, nil
}

// apiHost is where a registry answers.
func apiHost(host string) string {
	if host == dockerHub {
		return dockerHubAPI
	}
	return host
}

// ValidDigest tells whether text is a digest that this package can check.
func ValidDigest(text string) bool { return digestPattern.MatchString(text) }

// URL of a repository in distribution-spec's API.
func URL(r Repository) string { return "https://" + apiHost(r.Host) + "/v2/" + r.Path }
